import { createECDH, createSecretKey, type KeyObject } from 'node:crypto';
import { concat, equalBytes, fromHex } from '../bytes.ts';
import { spkiOfPoint } from '../ecKey.ts';

/** P-256 key pairs and their private numbers, without OpenSSL's encoders and decoders, which take several times as long as the key itself. The bytes
 *  are those that OpenSSL writes. */

/** PKCS#8 (RFC 5958) around ECPrivateKey (RFC 5915): head ‖ private number[32] ‖ middle ‖ uncompressed point[65]. */
const head = fromHex('308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420');
const middle = fromHex('a144034200');
const scalarBytes = 32;
const pkcs8Bytes = head.length + scalarBytes + middle.length + 65;

/** @returns SubjectPublicKeyInfo and PKCS#8, both DER; the caller wipes `privateKey` */
export function generateP256(): { readonly publicKey: Uint8Array; readonly privateKey: Uint8Array } {
  // One for each key: OpenSSL wipes the private number when it is freed.
  const ecdh = createECDH('prime256v1');
  const point = new Uint8Array(ecdh.generateKeys());
  const number = ecdh.getPrivateKey();
  const scalar = new Uint8Array(scalarBytes);
  scalar.set(number, scalarBytes - number.length);
  const privateKey = concat(head, scalar, middle, point);
  number.fill(0);
  scalar.fill(0);
  return { publicKey: spkiOfPoint(point), privateKey };
}

/** The private number of a key. @param pkcs8 DER @returns undefined when it is written in another way than here */
export function scalarIn(pkcs8: Uint8Array): KeyObject | undefined {
  if (pkcs8.length !== pkcs8Bytes || !equalBytes(pkcs8.subarray(0, head.length), head)) return undefined;
  return createSecretKey(pkcs8.subarray(head.length, head.length + scalarBytes));
}
