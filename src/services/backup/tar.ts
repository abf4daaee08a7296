import { closeSync, createReadStream, fsyncSync, mkdirSync, openSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { NusecError } from '../../errors.ts';
import { isBackupPath } from './manifest.ts';

/** The tar archive of a backup (POSIX ustar), written and read as a stream. Only plain files, with the names that a backup has. */

const blockBytes = 512;
const zeros = (bytes: number): Buffer => Buffer.alloc(bytes);
const paddingOf = (bytes: number): number => (blockBytes - (bytes % blockBytes)) % blockBytes;

/** | offset | bytes | field |
 *  |---|---|---|
 *  | 0 | 100 | name |
 *  | 100 | 8 | mode |
 *  | 124 | 12 | size, octal; from 8 GiB on big-endian with the highest bit set |
 *  | 148 | 8 | sum of all bytes of the header, these 8 as spaces |
 *  | 156 | 1 | `0`: a plain file |
 *  | 257 | 8 | `ustar`, NUL, `00` |
 */
const field = { name: 0, mode: 100, owner: 108, group: 116, size: 124, time: 136, sum: 148, type: 156, magic: 257 } as const;
const sizeBytes = 12;
const maxOctalSize = 8 ** 11;

function headerOf(path: string, bytes: number): Buffer {
  const header = zeros(blockBytes);
  header.write(path, field.name, 'latin1');
  header.write('0000600\0', field.mode, 'latin1');
  for (const offset of [field.owner, field.group]) header.write('0000000\0', offset, 'latin1');
  if (bytes < maxOctalSize) header.write(`${bytes.toString(8).padStart(sizeBytes - 1, '0')}\0`, field.size, 'latin1');
  else {
    header[field.size] = 0x80;
    header.writeBigUInt64BE(BigInt(bytes), field.size + sizeBytes - 8);
  }
  header.write('00000000000\0', field.time, 'latin1');
  header.write('0', field.type, 'latin1');
  header.write('ustar\x0000', field.magic, 'latin1');
  header.write(`${sumOf(header).toString(8).padStart(6, '0')}\0 `, field.sum, 'latin1');
  return header;
}

/** The field of the sum counts as spaces. */
function sumOf(header: Buffer): number {
  return header.reduce((sum, byte, at) => sum + (at >= field.sum && at < field.sum + 8 ? 0x20 : byte), 0);
}

/** Bytes of the archive of these files. */
export async function* pack(folder: string, paths: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const path of paths) {
    const { size } = statSync(join(folder, path));
    yield headerOf(path, size);
    yield* createReadStream(join(folder, path)) as AsyncIterable<Uint8Array>;
    yield zeros(paddingOf(size));
  }
  yield zeros(2 * blockBytes);
}

/** Writes the files of an archive into a folder, each durable.
 *  @throws NusecError BACKUP_DAMAGED (no archive of a backup, or cut off) */
export async function unpack(archive: AsyncIterable<Uint8Array>, folder: string): Promise<void> {
  const source = reader(archive);
  for (;;) {
    const header = await source.exactly(blockBytes);
    if (header.every(byte => byte === 0)) return;
    const { path, bytes } = readHeader(header);
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    const file = openSync(join(folder, path), 'wx', 0o600);
    try {
      for await (const part of source.upTo(bytes)) writeSync(file, part);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    await source.exactly(paddingOf(bytes));
  }
}

function readHeader(header: Buffer): { readonly path: string; readonly bytes: number } {
  const text = (offset: number, bytes: number): string => header.toString('latin1', offset, offset + bytes).replace(/[\0 ].*$/s, '');
  const path = text(field.name, 100);
  const isBig = ((header[field.size] ?? 0) & 0x80) !== 0;
  const bytes = isBig ? Number(header.readBigUInt64BE(field.size + sizeBytes - 8)) : Number.parseInt(text(field.size, sizeBytes) || '0', 8);
  const isPlain = header[field.type] === 0x30 || header[field.type] === 0;
  if (Number.parseInt(text(field.sum, 8), 8) !== sumOf(header) || !isPlain || !isBackupPath(path) || !Number.isSafeInteger(bytes))
    throw new NusecError('BACKUP_DAMAGED', 'it is not the archive of a backup');
  return { path, bytes };
}

/** Reads a stream in pieces of the length that is asked for. */
function reader(stream: AsyncIterable<Uint8Array>) {
  const chunks = stream[Symbol.asyncIterator]();
  let rest: Buffer = zeros(0);
  const more = async (): Promise<void> => {
    const { done, value } = await chunks.next();
    if (done) throw new NusecError('BACKUP_DAMAGED', 'the archive is cut off');
    rest = rest.length === 0 ? Buffer.from(value) : Buffer.concat([rest, value]);
  };
  async function* upTo(bytes: number): AsyncGenerator<Buffer> {
    for (let left = bytes; left > 0; ) {
      while (rest.length === 0) await more();
      const part = rest.subarray(0, Math.min(left, rest.length));
      rest = rest.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }
  return {
    upTo,
    async exactly(bytes: number): Promise<Buffer> {
      const parts: Buffer[] = [];
      for await (const part of upTo(bytes)) parts.push(part);
      return Buffer.concat(parts);
    },
  };
}
