import { createHash, createHmac, hkdfSync } from 'node:crypto';
import { toBase64url, utf8 } from '../bytes.ts';
import type { SubjectKind } from '../domain/subjects.ts';
import { ivBytes, openBox, sealBox } from '../sealedBox.ts';

/** How a person is written in the log: a pseudonym for a name, ciphertext for a text. Both can be shown to be right to somebody who has only the log,
 *  and neither can be read, nor a guess be tried out, once the subject's key and salt are destroyed.
 *
 *  | in the log | is |
 *  |---|---|
 *  | `~` id | id = the first 24 bytes of SHA-256("nusec-subject/1" ‖ salt[16] ‖ kind ‖ ":" ‖ name), hex |
 *  | `~` id `:` sealed | sealed = base64url of iv[12] ‖ ciphertext ‖ tag[16], AES-256-GCM under the field's key, with `place` as associated data |
 *
 *  place = event id ‖ "/" ‖ name of the field · field key = HKDF-SHA-256(subject's key, no salt, "nusec-field/1 " ‖ place, 32) ·
 *  iv = the first 12 bytes of HMAC-SHA-256(field key, text): the same event sealed again is the same bytes. */

/** Whom a key is for. */
export type Subject = {
  readonly id: string;
  readonly kind: SubjectKind;
  readonly name: string;
  /** 16 bytes. */
  readonly salt: Uint8Array;
  /** 32 bytes. */
  readonly key: Uint8Array;
};

const idBytes = 24;

const idForm = `~[0-9a-f]{${2 * idBytes}}`;
const pseudonymForm = new RegExp(`^${idForm}$`);
const sealedForm = new RegExp(`^${idForm}:[A-Za-z0-9_-]+$`);

export const isPseudonym = (text: string): boolean => pseudonymForm.test(text);
export const isSealed = (text: string): boolean => text.startsWith('~') && sealedForm.test(text);
export const pseudonymOf = (id: string): string => `~${id}`;
/** Of a pseudonym or a sealed text. */
export const idIn = (text: string): string => text.slice(1, 1 + 2 * idBytes);

export function subjectId(salt: Uint8Array, kind: SubjectKind, name: string): string {
  const digest = createHash('sha256').update('nusec-subject/1').update(salt).update(`${kind}:${name}`).digest();
  return digest.subarray(0, idBytes).toString('hex');
}

export const placeOf = (eventId: string, field: string): string => `${eventId}/${field}`;

/** The key of one field of one event: to show what is there without showing anything else. */
export const fieldKey = ({ key }: Pick<Subject, 'key'>, place: string): Uint8Array =>
  new Uint8Array(hkdfSync('sha256', key, new Uint8Array(), `nusec-field/1 ${place}`, 32));

export function sealText(subject: Subject, place: string, text: string): string {
  const key = fieldKey(subject, place);
  const iv = createHmac('sha256', key).update(text).digest().subarray(0, ivBytes);
  return `~${subject.id}:${toBase64url(sealBox(key, iv, utf8(place), utf8(text)))}`;
}

/** @returns undefined when it is not what this key has sealed at this place */
export function openText(key: Uint8Array, place: string, sealed: string): string | undefined {
  const bytes = Buffer.from(sealed.slice(sealed.indexOf(':') + 1), 'base64url');
  const text = openBox(key, utf8(place), bytes);
  return text && new TextDecoder().decode(text);
}
