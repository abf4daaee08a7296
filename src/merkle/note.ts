import { createPublicKey, hash, verify } from 'node:crypto';
import { concat, fromHex, toHex, utf8 } from '../bytes.ts';
import { NusecError } from '../errors.ts';

/** Signed notes (C2SP signed-note): a text, an empty line, and a line for each signature.
 *
 *  | part | form |
 *  |---|---|
 *  | text | UTF-8, ends with a newline, no other control characters |
 *  | signature line | `— ` key name, space, base64(key id, 4 bytes ‖ signature) |
 *
 *  A key is known by name and id together; signatures of unknown keys are ignored. */

/** A note with 16 signatures of the largest kind that the specification knows fits. */
const maxNoteBytes = 128 * 1024;
const maxSignatures = 64;
const keyIdBytes = 4;
const lineStart = '— ';

export type NoteSignature = { readonly name: string /** 8 hex digits. */; readonly keyIdHex: string; readonly signature: Uint8Array };
export type Note = { readonly text: string; readonly signatures: readonly NoteSignature[] };

/** A key that notes are checked with. */
export type NoteKey = {
  readonly name: string;
  readonly keyIdHex: string;
  verify(text: string, signature: Uint8Array): boolean;
};

/** One signature line, with its newline. */
const signatureLine = ({ name, keyIdHex, signature }: NoteSignature): string =>
  `${lineStart}${name} ${Buffer.from(concat(fromHex(keyIdHex), signature)).toString('base64')}\n`;

export const formatNote = ({ text, signatures }: Note): string => `${text}\n${signatures.map(signatureLine).join('')}`;

/** @throws NusecError CHECKPOINT_MALFORMED */
export function parseNote(note: string): Note {
  const end = note.lastIndexOf('\n\n');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a note must not have
  const isText = Buffer.byteLength(note) <= maxNoteBytes && note.endsWith('\n') && !/[\x00-\x09\x0b-\x1f\ufffd]/.test(note);
  if (!isText || end === -1) throw malformed('a note has a text, an empty line and signatures');
  const signatures = parseSignatureLines(note.slice(end + 2));
  if (signatures.length === 0) throw malformed('a note has at least one signature');
  return { text: note.slice(0, end + 1), signatures };
}

/** Signature lines alone, as a witness answers. @throws NusecError CHECKPOINT_MALFORMED */
export function parseSignatureLines(lines: string): NoteSignature[] {
  const found = lines.split('\n');
  if (found.pop() !== '' || found.length > maxSignatures) throw malformed('signature lines');
  return found.map(parseSignatureLine);
}

function parseSignatureLine(line: string): NoteSignature {
  const match = /^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/.exec(line);
  const bytes = new Uint8Array(Buffer.from(match?.[2] ?? '', 'base64'));
  if (match === null || bytes.length <= keyIdBytes || Buffer.from(bytes).toString('base64') !== match[2])
    throw malformed('a signature line');
  return { name: match[1] as string, keyIdHex: toHex(bytes.subarray(0, keyIdBytes)), signature: bytes.subarray(keyIdBytes) };
}

/** The signatures of known keys, each checked.
 *  @throws NusecError CHECKPOINT_REFUSED when one of them is not valid: such a note is not to be trusted in any part */
export function verifiedBy(note: Note, keys: readonly NoteKey[]): { readonly key: NoteKey; readonly signature: Uint8Array }[] {
  return note.signatures.flatMap(({ name, keyIdHex, signature }) => {
    const key = keys.find(known => known.name === name && known.keyIdHex === keyIdHex);
    if (key === undefined) return [];
    if (!key.verify(note.text, signature)) throw new NusecError('CHECKPOINT_REFUSED', `the signature of ${name} is not valid`);
    return [{ key, signature }];
  });
}

/** Id of an ECDSA key in notes: the first bytes of the SHA-256 of its SubjectPublicKeyInfo. @returns 8 hex digits */
export const ecdsaKeyId = (spki: Uint8Array): string => hash('sha256', spki, 'hex').slice(0, 2 * keyIdBytes);

/** A P-256 key: DER {r, s} over SHA-256 of the text (signature type 0x02). @param spki 91 bytes */
export function ecdsaNoteKey(name: string, spki: Uint8Array): NoteKey {
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  return { name, keyIdHex: ecdsaKeyId(spki), verify: (text, signature) => verify('sha256', utf8(text), key, signature) };
}

/** A P-256 key in the form that witnesses are given: name `+` key id `+` base64(0x02 ‖ SubjectPublicKeyInfo). */
export function ecdsaVerifierKey(name: string, spki: Uint8Array): string {
  return `${name}+${ecdsaKeyId(spki)}+${Buffer.from(concat(Uint8Array.of(0x02), spki)).toString('base64')}`;
}

const malformed = (what: string): NusecError => new NusecError('CHECKPOINT_MALFORMED', `not a signed note: ${what}`);
