import { createECDH } from 'node:crypto';
import { concat } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import type { DheGroup } from './suite.ts';

/** Ephemeral Diffie–Hellman for KEY_EXCHANGE (DSP0274 §12.2): ExchangeData is X ‖ Y, the secret is the x coordinate. */

export type EphemeralKey = {
  readonly exchange: Uint8Array;
  /** @throws SPDM_MALFORMED when the peer's bytes are not a point of the curve */
  derive(peerExchange: Uint8Array): Uint8Array;
};
export type EcdhProvider = (group: DheGroup) => EphemeralKey;
export type RandomSource = (length: number) => Uint8Array;

const maxKeyAttempts = 8;

/** Ephemeral keys out of the passed-in random source. */
export function ecdhFromRandom(randomBytes: RandomSource): EcdhProvider {
  return group => {
    const ecdh = createECDH(group.curve);
    setPrivateKey(ecdh, () => randomBytes(group.privateBytes));
    return {
      exchange: new Uint8Array(ecdh.getPublicKey().subarray(1)),
      derive: peer => {
        try {
          return new Uint8Array(ecdh.computeSecret(concat(Uint8Array.of(4), peer)));
        } catch (cause) {
          throw new NusecError('SPDM_MALFORMED', 'exchange data is not a point of the curve', { cause });
        }
      },
    };
  };
}

/** A candidate outside 1 … n − 1 is refused by OpenSSL: the next one is tried, as FIPS 186-5 §A.2.2 does. */
function setPrivateKey(ecdh: ReturnType<typeof createECDH>, candidate: () => Uint8Array): void {
  for (let attempt = 1; ; attempt += 1) {
    try {
      ecdh.setPrivateKey(candidate());
      return;
    } catch (cause) {
      if (attempt === maxKeyAttempts) throw new NusecError('INTERNAL', 'random source gives no usable key', { cause });
    }
  }
}
