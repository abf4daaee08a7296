import { concat, utf8 } from '../bytes.ts';
import { sha256 } from '../digest.ts';

/** The nonces that tie the proofs of a next generation to its registration id: nobody can use them for another. */

const receiptNonceBytes = 16;

/** For the receipt of the bootloader. @param objId registration id of the next generation */
export const returnReceiptNonce = (objId: Uint8Array): Uint8Array =>
  sha256(concat(utf8('NuSEC return receipt'), objId)).slice(0, receiptNonceBytes);

/** For the SPDM session with the bootloader, 32 bytes. */
export const returnSessionNonce = (objId: Uint8Array): Uint8Array => sha256(concat(utf8('NuSEC return session'), objId));
