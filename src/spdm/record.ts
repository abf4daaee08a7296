import { type CipherGCMTypes, createCipheriv, createDecipheriv, createSecretKey } from 'node:crypto';
import { concat } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { openReader, u16, u32 } from './codec.ts';
import type { TrafficKey } from './keySchedule.ts';
import type { Aead } from './suite.ts';

/** Secured message records (DSP0277 §6; the two bindings DSP0276 for MCTP, DSP0287 for TCP):
 *  session id u32 | sequence (MCTP 2 bytes, TCP none) | length u16 | AEAD(length u16 | data | padding) | tag[16]. */

export type Binding = 'mctp' | 'tcp';

/** One direction of a session. `sequence` counts from 0 under each key; a record with any other sequence does not decrypt. */
export type RecordKey = TrafficKey & { readonly aead: Aead; readonly maxRecords: number; sequence: number };

const tagBytes = 16;
const sequenceBytes = { mctp: 2, tcp: 0 } as const;
/** DSP0276: 1 to 32 random bytes. */
const maxPaddingBytes = { mctp: 32, tcp: 0 } as const;
/** Below the AES-GCM limit of about 2^24.5 full records under one key (RFC 8446 §5.5). */
export const recordLimitExponent = 24;
const maxRecordBytes = 0xffff;

/** @param data what the record carries, beginning with the inner transport head  @param randomBytes for the padding
 *  @throws SPDM_RECORD when data is longer than a record holds or the key is used up */
export function sealRecord(
  binding: Binding,
  sessionId: number,
  key: RecordKey,
  data: Uint8Array,
  randomBytes: (length: number) => Uint8Array,
): Uint8Array {
  const plaintext = concat(u16(data.length), data, padding(binding, randomBytes));
  if (plaintext.length + tagBytes > maxRecordBytes) throw new NusecError('SPDM_RECORD', 'data too long for one record');
  const sequence = nextSequence(key);
  const head = concat(u32(sessionId), sequenceField(binding, sequence), u16(plaintext.length + tagBytes));
  const cipher = createCipheriv(key.aead.name as CipherGCMTypes, createSecretKey(key.key), recordNonce(key.iv, sequence), {
    authTagLength: tagBytes,
  });
  cipher.setAAD(head, { plaintextLength: plaintext.length });
  return concat(head, cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
}

/** @returns the data, beginning with the inner transport head  @throws SPDM_RECORD for whatever is not exactly the next record of that key */
export function openRecord(binding: Binding, sessionId: number, key: RecordKey, record: Uint8Array): Uint8Array {
  const sequence = nextSequence(key);
  const expectedHead = concat(u32(sessionId), sequenceField(binding, sequence));
  const headBytes = expectedHead.length + 2;
  const length = (record[headBytes - 2] ?? 0) | ((record[headBytes - 1] ?? 0) << 8);
  if (record.length !== headBytes + length || length < tagBytes + 2) throw new NusecError('SPDM_RECORD', 'record length');
  if (!expectedHead.every((byte, i) => byte === record[i]))
    throw new NusecError('SPDM_RECORD', 'record of another session or out of sequence');
  return readPlaintext(decrypt(key, sequence, record, headBytes));
}

/** @returns the session id a record claims  @throws SPDM_MALFORMED */
export function recordSessionId(record: Uint8Array): number {
  return openReader(record, 'secured record').u32();
}

/** iv XOR sequence (u64 LE in bytes 0–7, DSP0277 §6.3). */
function recordNonce(iv: Uint8Array, sequence: number): Uint8Array {
  const nonce = iv.slice();
  for (let i = 0; i < 4; i += 1) nonce[i]! ^= (sequence >>> (8 * i)) & 0xff;
  return nonce;
}

function nextSequence(key: RecordKey): number {
  if (key.sequence >= key.maxRecords) throw new NusecError('SPDM_RECORD', 'too many records under one key');
  key.sequence += 1;
  return key.sequence - 1;
}

function sequenceField(binding: Binding, sequence: number): Uint8Array {
  return u16(sequence & 0xffff).subarray(0, sequenceBytes[binding]);
}

function padding(binding: Binding, randomBytes: (length: number) => Uint8Array): Uint8Array {
  const most = maxPaddingBytes[binding];
  return most === 0 ? new Uint8Array() : randomBytes(1 + ((randomBytes(1)[0] ?? 0) % most));
}

function decrypt(key: RecordKey, sequence: number, record: Uint8Array, headBytes: number): Uint8Array {
  const decipher = createDecipheriv(key.aead.name as CipherGCMTypes, createSecretKey(key.key), recordNonce(key.iv, sequence), {
    authTagLength: tagBytes,
  });
  const body = record.subarray(headBytes, record.length - tagBytes);
  decipher.setAAD(record.subarray(0, headBytes), { plaintextLength: body.length });
  decipher.setAuthTag(record.subarray(record.length - tagBytes));
  try {
    return concat(decipher.update(body), decipher.final());
  } catch {
    throw new NusecError('SPDM_RECORD', 'record does not authenticate');
  }
}

function readPlaintext(plaintext: Uint8Array): Uint8Array {
  const length = plaintext[0]! | (plaintext[1]! << 8);
  if (length > plaintext.length - 2) throw new NusecError('SPDM_RECORD', 'record data length');
  return plaintext.slice(2, 2 + length);
}
