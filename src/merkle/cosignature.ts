import { createPublicKey, hash, verify } from 'node:crypto';
import { concat, isBase64, utf8 } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import type { NoteKey } from './note.ts';

/** Cosignatures of witnesses (C2SP tlog-cosignature), type 0x04: a witness has seen this checkpoint at a time, and that the log only grew until then.
 *
 *  | part | form |
 *  |---|---|
 *  | signature | POSIX time, 8 bytes ‖ Ed25519 signature, 64 bytes |
 *  | signed | `cosignature/v1` LF `time ` decimal LF text of the checkpoint |
 *  | key id | SHA-256(name LF 0x04 ‖ key)[:4] |
 *  | key as text | name `+` key id, 8 hex digits `+` base64(0x04 ‖ key, 32 bytes) |  */

const cosignatureType = 0x04;
const timeBytes = 8;
const signatureBytes = 64;
const keyBytes = 32;
/** SubjectPublicKeyInfo of an Ed25519 key up to the key (RFC 8410). */
const spkiStart = Buffer.from('302a300506032b6570032100', 'hex');

/** The key of a witness, from its text. @throws NusecError BAD_REQUEST (also for the other types that the specification knows) */
export function readWitnessKey(text: string): NoteKey {
  const [, name = '', keyIdHex = '', base64 = ''] = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/.exec(text) ?? [];
  const bytes = new Uint8Array(Buffer.from(base64, 'base64'));
  if (bytes[0] !== cosignatureType || bytes.length !== 1 + keyBytes || !isBase64(base64))
    throw malformed('not the key of a witness of type 4 (Ed25519)');
  if (witnessKeyId(name, bytes.subarray(1)) !== keyIdHex) throw malformed(`the key id of the witness ${name} is not that of its key`);
  const key = createPublicKey({ key: Buffer.concat([spkiStart, bytes.subarray(1)]), format: 'der', type: 'spki' });
  return {
    name,
    keyIdHex,
    verify(checkpoint, signature) {
      const seconds = cosignedAt(signature);
      if (seconds === undefined) return false;
      return verify(null, utf8(`cosignature/v1\ntime ${seconds}\n${checkpoint}`), key, signature.subarray(timeBytes));
    },
  };
}

/** @returns 8 hex digits */
function witnessKeyId(name: string, key: Uint8Array): string {
  return hash('sha256', concat(utf8(`${name}\n`), Uint8Array.of(cosignatureType), key), 'hex').slice(0, 8);
}

/** When a witness has signed, in seconds since 1970. @returns undefined when it is not a cosignature */
export function cosignedAt(signature: Uint8Array): bigint | undefined {
  if (signature.length !== timeBytes + signatureBytes) return undefined;
  const seconds = Buffer.from(signature.buffer, signature.byteOffset, timeBytes).readBigUInt64BE();
  return seconds < 2n ** 63n ? seconds : undefined;
}

const malformed = (detail: string): NusecError => new NusecError('BAD_REQUEST', detail);
