import crypto, { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { concat, fromHex } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import type { KemProvider } from '../../spdm/agreement.ts';

/** ML-KEM-768 of node:crypto (FIPS 203), where this Node has it: 24.7 and later with OpenSSL 3.5. */

/** SubjectPublicKeyInfo up to the encapsulation key of 1184 bytes. */
const spkiHead = fromHex('308204b2300b0609608648016503040402038204a100');

type Kem = {
  encapsulate(key: KeyObject): { readonly ciphertext: Uint8Array; readonly sharedKey: Uint8Array };
  decapsulate(key: KeyObject, ciphertext: Uint8Array): Uint8Array;
};

/** @returns undefined when this Node has no ML-KEM */
export function platformKem(): KemProvider | undefined {
  if (!('encapsulate' in crypto) || !('decapsulate' in crypto)) return undefined;
  const kem = crypto as unknown as Kem;
  return {
    generate: () => {
      const { publicKey, privateKey } = generateKeyPairSync('ml-kem-768');
      const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
      return {
        exchange: spki.slice(spkiHead.length),
        derive: ciphertext => asMalformed(() => new Uint8Array(kem.decapsulate(privateKey, ciphertext))),
      };
    },
    encapsulate: (_, key) =>
      asMalformed(() => {
        const publicKey = createPublicKey({ key: Buffer.from(concat(spkiHead, key)), format: 'der', type: 'spki' });
        const { ciphertext, sharedKey } = kem.encapsulate(publicKey);
        return { exchange: new Uint8Array(ciphertext), secret: new Uint8Array(sharedKey) };
      }),
  };
}

function asMalformed<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (cause) {
    throw new NusecError('SPDM_MALFORMED', 'exchange data is not of ML-KEM-768', { cause });
  }
}
