import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { concat, fromHex, utf8 } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { type ByteLink, connectTcp } from './byteLink.ts';
import { type ChipIdentity, type DebugPort, type FlashMap, identityOf } from './debugPort.ts';

/** A debug probe behind OpenOCD: its Tcl port takes one command at a time and ends each answer with 0x1A. What is particular to a chip is in the
 *  configuration that OpenOCD was started with (docs/cortex-m.md):
 *
 *  | Tcl | what |
 *  |---|---|
 *  | `$nusec_flash` | dictionary: `bl2` and `primary`, and `config` where there are configuration words, each {address bytes} |
 *  | `nusec_identity` | gives {uid productId lifeCycle debugState}, the numbers as in docs/devauth.md §5 |
 *  | `nusec_load_devauth` | writes the DevAuth code to SRAM of the halted chip, gives the address of its vector table |
 *  | `nusec_write_flash file address` | erases and programs, sector by sector as needed |
 *
 *  The DevAuth code is read by OpenOCD, not by us: whoever names a probe must not get to see files of the programmer.
 */

const endByte = 0x1a;
/** Programming of a bootloader takes the longest. */
const replyTimeoutMs = 30_000;
const maxReplyBytes = 1024 * 1024;
/** Read or written by one command. */
const pieceBytes = 16 * 1024;
const wordBytes = 4;
const cpuId = 0xe000_ed00;
/** Thumb state, which is the only one (Armv8-M ARM, DDI0553, D1.2.291). */
const thumb = 0x0100_0000;
const maxErrorLetters = 120;

/** Connects to the Tcl port of an OpenOCD on this machine.
 *  @throws NusecError LINK_FAILED; BAD_REQUEST when its configuration describes no chip */
export async function connectOpenOcd(host: string, port: number): Promise<DebugPort> {
  const link = await connectTcp(host, port);
  try {
    const call = caller(link);
    return portOf(call, flashMap(await call('set nusec_flash')), link.close);
  } catch (error) {
    await link.close();
    throw error;
  }
}

type Call = (command: string) => Promise<string>;

function portOf(call: Call, flash: FlashMap, close: () => Promise<void>): DebugPort {
  /** A refusal has its reason in the chip: no chip, or a locked one. */
  const open: Call = async command => {
    try {
      return await call(command);
    } catch (error) {
      if ((await accessOf(call)) === 'locked') throw new NusecError('DEBUG_LOCKED', 'the debug port of the chip is locked');
      throw error;
    }
  };
  const readUid = async (): Promise<ChipIdentity> => identityIn(await open('nusec_identity'));
  return {
    flash,
    connect: async () => void (await accessOf(call)),
    readUid,
    readMemory: (address, length) => readWords(open, address, length),
    writeMemory: async (address, data) => {
      await open('halt');
      if (!isFlash(flash, address)) return writeWords(open, address, data);
      await writeFlash(open, address, data);
      await open('resume');
    },
    loadDevAuth: async () => {
      await open('halt');
      const address = Number(await open('nusec_load_devauth'));
      if (!Number.isSafeInteger(address)) throw unreadable('nusec_load_devauth');
      return address;
    },
    run: async address => {
      await open('halt');
      const vectors = await readWords(open, address, 2 * wordBytes);
      const [stack, start] = [0, wordBytes].map(at => new DataView(vectors.buffer).getUint32(at, true));
      await open(`reg msp ${stack}; reg pc ${start}; reg xpsr ${thumb}; resume`);
    },
    reset: async () => void (await open('reset run')),
    status: async () => {
      if ((await accessOf(call)) === 'locked') return { lifeCycle: 'deployed', debugState: 'locked', stage: 'none' };
      const { lifeCycle, debugState } = await readUid();
      return { lifeCycle, debugState, stage: 'none' };
    },
    close,
  };
}

/** Wakes the debug port of whatever chip is there now. A chip whose port answers and whose memory does not is locked.
 *  @throws NusecError LINK_FAILED when no chip is there */
async function accessOf(call: Call): Promise<'open' | 'locked'> {
  const wake = `expr {[catch {dap init}] ? "absent" : [catch {[target current] arp_examine; read_memory ${cpuId} 32 1}] ? "locked" : "open"}`;
  const access = await call(wake);
  if (access === 'absent') throw new NusecError('LINK_FAILED', 'no chip answers on the debug port');
  return access === 'open' ? 'open' : 'locked';
}

/** In words, because each access takes the same time whatever its width. */
async function readWords(call: Call, address: number, length: number): Promise<Uint8Array> {
  const first = address - (address % wordBytes);
  const end = address + length;
  const pieces: Uint8Array[] = [];
  for (let at = first; at < end; at += pieceBytes) {
    const words = Math.ceil(Math.min(pieceBytes, end - at) / wordBytes);
    const values = (await call(`read_memory ${at} 32 ${words}`)).split(' ').map(Number);
    if (values.length !== words || values.some(value => !Number.isInteger(value))) throw unreadable('memory');
    const piece = new DataView(new ArrayBuffer(words * wordBytes));
    for (const [index, value] of values.entries()) piece.setUint32(index * wordBytes, value, true);
    pieces.push(new Uint8Array(piece.buffer));
  }
  return concat(...pieces).slice(address - first, end - first);
}

/** @param address of a word; bytes behind the last one are written as zero */
async function writeWords(call: Call, address: number, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.length; at += pieceBytes) {
    const words = Math.ceil(Math.min(pieceBytes, data.length - at) / wordBytes);
    const piece = new DataView(new ArrayBuffer(words * wordBytes));
    new Uint8Array(piece.buffer).set(data.subarray(at, at + pieceBytes));
    const values = Array.from({ length: words }, (_, index) => piece.getUint32(index * wordBytes, true));
    await call(`write_memory ${address + at} 32 {${values.join(' ')}}`);
  }
}

/** OpenOCD's flash drivers read files. */
async function writeFlash(call: Call, address: number, data: Uint8Array): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-flash-'));
  try {
    const file = join(folder, 'image.bin');
    writeFileSync(file, data, { mode: 0o600 });
    await call(`nusec_write_flash {${file}} ${address}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One command at a time; the link is closed when an answer does not come, because later answers could no longer be matched to commands. */
function caller(link: ByteLink): Call {
  let turn: Promise<unknown> = Promise.resolve();
  let settle: ((reply: string | undefined) => void) | undefined;
  let pending: Uint8Array = new Uint8Array();
  link.onClose(() => settle?.(undefined));
  link.onData(bytes => {
    pending = concat(pending, bytes);
    const end = pending.indexOf(endByte);
    if (end < 0 && pending.length > maxReplyBytes) return void link.close();
    if (end < 0) return;
    const reply = new TextDecoder('latin1').decode(pending.subarray(0, end));
    pending = pending.slice(end + 1);
    settle?.(reply);
  });
  const exchange = async (command: string): Promise<string> => {
    const answer = Promise.withResolvers<string | undefined>();
    settle = answer.resolve;
    const timer = setTimeout(() => void link.close(), replyTimeoutMs);
    try {
      // The port says nothing about success, so the command reports it itself.
      await link.write(concat(utf8(`format "%d %s" [catch {${command}} nusec_result] $nusec_result`), Uint8Array.of(endByte)));
      return accepted(await answer.promise);
    } finally {
      clearTimeout(timer);
      settle = undefined;
    }
  };
  return command => {
    const answer = turn.then(() => exchange(command));
    turn = answer.catch(() => undefined);
    return answer;
  };
}

function accepted(reply: string | undefined): string {
  if (reply === undefined) throw new NusecError('LINK_FAILED', 'OpenOCD closed its Tcl port');
  const text = reply.slice(2).trim();
  if (reply.startsWith('0 ')) return text;
  throw new NusecError('BAD_REQUEST', `OpenOCD: ${text.split('\n')[0]?.slice(0, maxErrorLetters)}`);
}

/** `bl2 {0x08000000 131072} primary {…}` @throws NusecError BAD_REQUEST */
function flashMap(dictionary: string): FlashMap {
  const area = (name: string) => {
    const found = new RegExp(String.raw`(?:^|\s)${name} \{(\w+) (\w+)\}`).exec(dictionary);
    const [address, bytes] = [Number(found?.[1]), Number(found?.[2])];
    if (!Number.isSafeInteger(address) || !Number.isSafeInteger(bytes)) throw unreadable(`nusec_flash, ${name}`);
    return { address, bytes };
  };
  const hasConfig = /(?:^|\s)config \{/.test(dictionary);
  return { bl2: area('bl2'), primary: area('primary'), ...(hasConfig && { config: area('config') }) };
}

const isFlash = ({ bl2, primary, config }: FlashMap, address: number): boolean =>
  [bl2, primary, ...(config ? [config] : [])].some(area => address >= area.address && address < area.address + area.bytes);

/** @throws NusecError BAD_REQUEST, CBOR_MALFORMED */
function identityIn(text: string): ChipIdentity {
  const [uidHex = '', ...numbers] = text.split(/\s+/);
  const [productId, lifeCycle, debugState] = numbers.map(Number);
  if (!/^[0-9a-f]{32}$/.test(uidHex) || numbers.length !== 3) throw unreadable('nusec_identity');
  return identityOf(fromHex(uidHex), productId ?? -1, lifeCycle ?? -1, debugState ?? -1);
}

const unreadable = (what: string): NusecError => new NusecError('BAD_REQUEST', `OpenOCD gives something unreadable: ${what}`);
