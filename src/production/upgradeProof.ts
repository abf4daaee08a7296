import { concat, utf8 } from '../bytes.ts';
import { sha256 } from '../digest.ts';

/** Nonce of the evidence that ends an upgrade over a wire, 32 bytes: nobody could ask for it before the offer was made, and it serves for no other.
 *  @param otaJobId 16 bytes */
export const upgradeProofNonce = (otaJobId: Uint8Array): Uint8Array => sha256(concat(utf8('NuSEC upgrade proof'), otaJobId));
