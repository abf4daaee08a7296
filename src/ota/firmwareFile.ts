import { NusecError } from '../errors.ts';

/** Firmware as tools write it, made the bytes that go to flash: Intel HEX, Motorola S-record, ELF (32 bits, little endian), or raw. */

/** Flash of a microcontroller; a gap between two parts counts too. */
const maxFlashBytes = 4 * 1024 * 1024;
/** What erased flash reads as. */
const erased = 0xff;

type Part = { readonly address: number; readonly data: Uint8Array };

/** @returns from the lowest address to the highest, gaps as erased flash; a file of no known format as it is
 *  @throws NusecError IMAGE_MALFORMED naming line or part, BODY_TOO_LARGE */
export function flashBytesOf(file: Uint8Array): Uint8Array {
  if (file[0] === 0x7f && asText(file.subarray(1, 4)) === 'ELF') return joined(readElf(file));
  const first = asText(file.subarray(0, 2));
  if (!/^(:[0-9A-Fa-f]|S[0-9])/.test(first) || !isText(file)) return file;
  const lines = asText(file).split(/\r\n|\n|\r/);
  return joined(first.startsWith(':') ? readIntelHex(lines) : readSRecords(lines));
}

const asText = (bytes: Uint8Array): string => new TextDecoder('latin1').decode(bytes);
const isText = (file: Uint8Array): boolean => file.every(byte => byte === 0x0a || byte === 0x0d || (byte >= 0x20 && byte < 0x7f));
const malformed = (detail: string): NusecError => new NusecError('IMAGE_MALFORMED', detail);

function joined(parts: readonly Part[]): Uint8Array {
  const sorted = parts.filter(({ data }) => data.length > 0).sort((a, b) => a.address - b.address);
  const [first, last] = [sorted[0], sorted.at(-1)];
  if (first === undefined || last === undefined) throw malformed('the firmware file has no data');
  const length = last.address + last.data.length - first.address;
  if (length > maxFlashBytes)
    throw new NusecError(
      'BODY_TOO_LARGE',
      `firmware from ${hex(first.address)} on spans ${length} bytes: parts far apart are separate files`,
    );
  const out = new Uint8Array(length).fill(erased);
  let end = first.address;
  for (const { address, data } of sorted) {
    if (address < end) throw malformed(`two parts of the firmware overlap at ${hex(address)}`);
    out.set(data, address - first.address);
    end = address + data.length;
  }
  return out;
}

const hex = (value: number): string => `0x${value.toString(16)}`;

/** The bytes of one line, and that their sum is as it must be. */
function bytesOfLine(digits: string, line: number): Uint8Array {
  if (digits.length % 2 !== 0 || !/^[0-9A-Fa-f]+$/.test(digits)) throw malformed(`line ${line} is not hex digits in pairs`);
  return new Uint8Array(Buffer.from(digits, 'hex'));
}

/** Intel HEX: count, address u16, type, data, checksum (two's complement of the sum). Types 0 data, 1 end, 2 segment, 4 upper address, 3 and 5 start. */
function readIntelHex(lines: readonly string[]): readonly Part[] {
  const parts: Part[] = [];
  let base = 0;
  let isOver = false;
  lines.forEach((text, index) => {
    const line = index + 1;
    if (text.trim() === '') return;
    if (isOver || !text.startsWith(':')) throw malformed(`line ${line} follows the end, or does not begin with a colon`);
    const bytes = bytesOfLine(text.trim().slice(1), line);
    const [count = 0, high = 0, low = 0, type] = bytes;
    if (bytes.length !== count + 5) throw malformed(`line ${line} has another length than it says`);
    if (bytes.reduce((sum, byte) => sum + byte, 0) % 256 !== 0) throw malformed(`line ${line} has a wrong checksum`);
    const data = bytes.slice(4, 4 + count);
    const value = data.length === 2 ? ((data[0] ?? 0) << 8) | (data[1] ?? 0) : 0;
    if (type === 0) parts.push({ address: base + ((high << 8) | low), data });
    else if (type === 1) isOver = true;
    else if (type === 2 && count === 2) base = value * 16;
    else if (type === 4 && count === 2) base = value * 0x1_0000;
    else if (type !== 3 && type !== 5) throw malformed(`line ${line} is of unknown type ${type}`);
  });
  if (!isOver) throw malformed('the end of the Intel HEX file is missing');
  return parts;
}

/** Address bytes of the data records S1, S2, S3. */
const addressBytes: Readonly<Record<string, number>> = { 1: 2, 2: 3, 3: 4 };

/** Motorola S-record: S, type, count, address, data, checksum (ones' complement of the sum). S7, S8, S9 end the file. */
function readSRecords(lines: readonly string[]): readonly Part[] {
  const parts: Part[] = [];
  let isOver = false;
  lines.forEach((text, index) => {
    const line = index + 1;
    if (text.trim() === '') return;
    if (isOver || !/^S[0-9]/.test(text)) throw malformed(`line ${line} follows the end, or is no S-record`);
    const bytes = bytesOfLine(text.trim().slice(2), line);
    if (bytes.length !== (bytes[0] ?? 0) + 1) throw malformed(`line ${line} has another length than it says`);
    if (bytes.reduce((sum, byte) => sum + byte, 0) % 256 !== 0xff) throw malformed(`line ${line} has a wrong checksum`);
    const type = text[1] ?? '';
    const width = addressBytes[type];
    if (width === undefined) {
      isOver ||= ['7', '8', '9'].includes(type);
      return;
    }
    if (bytes.length < width + 2) throw malformed(`line ${line} has no address`);
    const address = bytes.slice(1, 1 + width).reduce((sum, byte) => sum * 256 + byte, 0);
    parts.push({ address, data: bytes.slice(1 + width, -1) });
  });
  if (!isOver) throw malformed('the end of the S-record file is missing');
  return parts;
}

const elfHeaderBytes = 52;
const programHeaderBytes = 32;
const loadable = 1;

/** ELF: what program headers of type PT_LOAD put into flash, at its physical address (p_paddr). */
function readElf(file: Uint8Array): readonly Part[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < elfHeaderBytes || file[4] !== 1 || file[5] !== 1)
    throw malformed('only ELF of 32 bits, little endian, goes to a microcontroller');
  const [start, size, count] = [view.getUint32(28, true), view.getUint16(42, true), view.getUint16(44, true)];
  if (size < programHeaderBytes || start + count * size > file.length) throw malformed('the program headers are not in the ELF file');
  return Array.from({ length: count }, (_, index) => start + index * size).flatMap(at => {
    const field = (offset: number): number => view.getUint32(at + offset, true);
    const [type, offset, address, length] = [field(0), field(4), field(12), field(16)];
    if (type !== loadable) return [];
    if (offset + length > file.length) throw malformed(`the part for ${hex(address)} is not in the ELF file`);
    return [{ address, data: file.slice(offset, offset + length) }];
  });
}
