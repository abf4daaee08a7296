import { createDecipheriv } from 'node:crypto';
import { concat } from '../bytes.ts';
import { encodeCbor } from '../cbor/encode.ts';
import { encodeAs } from '../cbor/schema.ts';
import { NusecError } from '../errors.ts';
import {
  a256gcm,
  type CoseHeaders,
  coseHeaders,
  coseMalformed,
  coseParts,
  coseTag,
  encrypt0Protected,
  encrypt0Unprotected,
  requireType,
} from './headers.ts';

/** COSE_Encrypt0 with A256GCM (RFC 9052 §5.2, RFC 9053 §4.1): tag 16, iv in the unprotected bucket, everything else protected.
 *  The parts are apart, so that a keystore or a KeyStore does the AEAD and the key never leaves it. */

const gcmTagBytes = 16;

/** What an AEAD needs to open a message: iv 12 bytes, ciphertext ‖ tag[16]. */
export type Sealed = { readonly iv: Uint8Array; readonly aad: Uint8Array; readonly ciphertext: Uint8Array };

/** @returns the plaintext, or undefined when the tag does not fit */
export type AeadOpen = (sealed: Sealed) => Uint8Array | undefined | Promise<Uint8Array | undefined>;

/** The encoded protected bucket. */
export const encodeEncrypt0Protected = (headers: CoseHeaders): Uint8Array => encodeAs(encrypt0Protected, { alg: a256gcm, ...headers });

/** Enc_structure (RFC 9052 §5.3): the AAD of the AEAD. */
export const encrypt0Aad = (protectedBytes: Uint8Array, externalAad: Uint8Array): Uint8Array =>
  encodeCbor(['Encrypt0', protectedBytes, externalAad]);

/** @param parts protected bucket as encoded above, iv 12 bytes, ciphertext ‖ tag[16] */
export const assembleEncrypt0 = (parts: {
  readonly protectedBytes: Uint8Array;
  readonly iv: Uint8Array;
  readonly ciphertext: Uint8Array;
}): Uint8Array =>
  encodeCbor({
    tag: coseTag.encrypt0,
    value: [parts.protectedBytes, encrypt0Unprotected.encode({ iv: parts.iv }, 'unprotected'), parts.ciphertext],
  });

/** Opens a COSE_Encrypt0.
 *  @param options.open the AEAD, e.g. `aes256GcmOpen(key)`
 *  @throws NusecError COSE_MALFORMED (form, other algorithm, unknown header, other type), COSE_DECRYPT (wrong key or changed bytes) */
export async function openEncrypt0(
  bytes: Uint8Array,
  options: { readonly open: AeadOpen; readonly externalAad: Uint8Array; readonly expectedType?: string },
): Promise<{ readonly plaintext: Uint8Array; readonly headers: CoseHeaders }> {
  const { protectedBytes, headers, iv, ciphertext } = parseEncrypt0(bytes);
  requireType(headers, options.expectedType);
  const plaintext = await options.open({ iv, aad: encrypt0Aad(protectedBytes, options.externalAad), ciphertext });
  if (!plaintext) throw new NusecError('COSE_DECRYPT', 'the message does not open');
  return { plaintext, headers };
}

function parseEncrypt0(bytes: Uint8Array) {
  const [protectedBytes, outside, ciphertext] = coseParts(bytes, coseTag.encrypt0, 3);
  const { headers, unprotected } = coseHeaders(protectedBytes, outside, encrypt0Protected, encrypt0Unprotected);
  const isComplete = protectedBytes instanceof Uint8Array && ciphertext instanceof Uint8Array && ciphertext.length >= gcmTagBytes;
  if (!isComplete) throw coseMalformed('ciphertext');
  return { protectedBytes, headers, iv: unprotected.iv, ciphertext };
}

/** @param key 32 bytes */
export const aes256GcmOpen =
  (key: Uint8Array): AeadOpen =>
  ({ iv, aad, ciphertext }) => {
    if (ciphertext.length < gcmTagBytes) return undefined;
    const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: gcmTagBytes });
    decipher.setAAD(aad);
    decipher.setAuthTag(ciphertext.subarray(-gcmTagBytes));
    const start = decipher.update(ciphertext.subarray(0, -gcmTagBytes));
    try {
      return concat(start, decipher.final());
    } catch {
      return undefined;
    }
  };
