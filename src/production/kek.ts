import { concat, utf8 } from '../bytes.ts';
import { NusecError } from '../errors.ts';

/** Agreement on AES_NuLink3, the key that a programmer and the server share for one epoch (R27–R34). Both sides have an ephemeral P-256 key,
 *  the secret Z is the X coordinate of the shared point, and the key comes straight out of HKDF inside the keystores:
 *
 *      key  = HKDF-SHA-256(Z, salt = nonceP ‖ nonceC, info = "NuSEC AES_NuLink3 v1" ‖ 00 ‖ progUid ‖ SHA-256(programmer certificate) ‖ epoch u32 BE, 32)
 *      macX = HMAC-SHA-256(key, "confirm X" ‖ pointP ‖ pointC ‖ salt ‖ info), X = P for the programmer, C for the cloud */

export const kekNonceBytes = 16;

export type KekAgreement = {
  /** 16 bytes each. */
  readonly nonceP: Uint8Array;
  readonly nonceC: Uint8Array;
  /** Ephemeral public keys, uncompressed points of 65 bytes. */
  readonly pointP: Uint8Array;
  readonly pointC: Uint8Array;
  readonly progUid: Uint8Array;
  /** Of the certificate with which the programmer came over mTLS. */
  readonly certificateSha256: Uint8Array;
  readonly epoch: number;
};

const lengths = { nonceP: kekNonceBytes, nonceC: kekNonceBytes, pointP: 65, pointC: 65, progUid: 16, certificateSha256: 32 } as const;

/** HKDF parameters of the key.
 *  @throws NusecError BAD_REQUEST when a part has another length */
export function kekKdf(agreement: KekAgreement): { readonly salt: Uint8Array; readonly info: Uint8Array } {
  for (const [name, length] of Object.entries(lengths)) {
    if (agreement[name as keyof typeof lengths].length !== length) throw new NusecError('BAD_REQUEST', `${name} has ${length} bytes`);
  }
  const epoch = new Uint8Array(4);
  new DataView(epoch.buffer).setUint32(0, agreement.epoch);
  const label = concat(utf8('NuSEC AES_NuLink3 v1'), Uint8Array.of(0));
  return {
    salt: concat(agreement.nonceP, agreement.nonceC),
    info: concat(label, agreement.progUid, agreement.certificateSha256, epoch),
  };
}

/** What a side puts through HMAC-SHA-256 under the new key to show that it has it.
 *  @throws NusecError BAD_REQUEST when a part has another length */
export function kekConfirmation(side: 'P' | 'C', agreement: KekAgreement): Uint8Array {
  const { salt, info } = kekKdf(agreement);
  return concat(utf8(`confirm ${side}`), agreement.pointP, agreement.pointC, salt, info);
}
