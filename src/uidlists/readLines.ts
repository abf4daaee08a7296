import { NusecError } from '../errors.ts';
import { uidBytes } from './tree.ts';

/** Reads a UID list as it streams by: one UID of 24 or 32 hex digits per line. Empty lines and lines that begin with # are skipped. */

/** One list; a job has far fewer. */
const maxUids = 10_000_000;
/** Of the text, unpacked: ten million lines, and comments. */
export const maxTextBytes = 512 * 1024 * 1024;
const shortUidDigits = 24;
const uidDigits = 2 * uidBytes;
const firstUids = 4096;

const nibbles = new Int8Array(256).fill(-1);
for (const [index, digit] of [...'0123456789abcdefABCDEF'].entries()) nibbles[digit.charCodeAt(0)] = index > 15 ? index - 6 : index;
const [newline, space, tab, carriageReturn, hash] = [0x0a, 0x20, 0x09, 0x0d, 0x23];

/** @returns the UIDs in the order of their lines, 16 bytes each; a shorter UID has zeros on the right
 *  @throws NusecError BAD_REQUEST naming the line, or when there is no UID; BODY_TOO_LARGE */
export async function readUidLines(text: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const reader = createReader();
  let total = 0;
  for await (const chunk of text) {
    total += chunk.length;
    if (total > maxTextBytes) throw new NusecError('BODY_TOO_LARGE', `a UID list has at most ${maxTextBytes} bytes of text`);
    reader.take(chunk);
  }
  reader.take(Uint8Array.of(newline));
  return reader.uids();
}

/** One byte after the other: most of ten million lines are split between two pieces somewhere, and none is made a string. */
function createReader() {
  let uids = new Uint8Array(firstUids * uidBytes);
  let [count, line, digits] = [0, 1, 0];
  let state: 'before' | 'digits' | 'after' | 'comment' = 'before';

  const endLine = (): void => {
    const isUid = state === 'digits' || state === 'after';
    if (isUid && digits !== shortUidDigits && digits !== uidDigits) throw notUid(line);
    if (isUid) {
      if (count === maxUids) throw new NusecError('BODY_TOO_LARGE', `a UID list has at most ${maxUids} UIDs`);
      count += 1;
      if (count * uidBytes === uids.length) uids = larger(uids);
    }
    [line, digits, state] = [line + 1, 0, 'before'];
  };
  const takeDigit = (value: number): void => {
    if (value < 0 || state === 'after' || digits === uidDigits) throw notUid(line);
    const at = count * uidBytes + (digits >> 1);
    uids[at] = digits % 2 === 0 ? value * 16 : (uids[at] as number) + value;
    [digits, state] = [digits + 1, 'digits'];
  };
  return {
    take(chunk: Uint8Array): void {
      for (const byte of chunk) {
        if (byte === newline) endLine();
        else if (state === 'comment') continue;
        else if (byte === space || byte === tab || byte === carriageReturn) state = state === 'digits' ? 'after' : state;
        else if (byte === hash && state === 'before') state = 'comment';
        else takeDigit(nibbles[byte] as number);
      }
    },
    uids(): Uint8Array {
      if (count === 0) throw new NusecError('BAD_REQUEST', 'the UID list is empty');
      return uids.subarray(0, count * uidBytes);
    },
  };
}

function larger(uids: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(2 * uids.length);
  out.set(uids);
  return out;
}

const notUid = (line: number): NusecError => new NusecError('BAD_REQUEST', `line ${line} is not a UID of 24 or 32 hex digits`);
