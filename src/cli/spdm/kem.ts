import crypto, { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { concat, fromHex } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import type { KemProvider } from '../../spdm/agreement.ts';

/** ML-KEM of node:crypto (FIPS 203), where this Node has it: 24.7 and later with OpenSSL 3.5. */

/** SubjectPublicKeyInfo up to the encapsulation key of 800, 1184 or 1568 bytes. */
const spkiHeads = {
  'ml-kem-512': fromHex('30820332300b06096086480165030404010382032100'),
  'ml-kem-768': fromHex('308204b2300b0609608648016503040402038204a100'),
  'ml-kem-1024': fromHex('30820632300b06096086480165030404030382062100'),
} as const;

type Kem = {
  encapsulate(key: KeyObject): { readonly ciphertext: Uint8Array; readonly sharedKey: Uint8Array };
  decapsulate(key: KeyObject, ciphertext: Uint8Array): Uint8Array;
};

/** @returns undefined when this Node has no ML-KEM */
export function platformKem(): KemProvider | undefined {
  if (!('encapsulate' in crypto) || !('decapsulate' in crypto)) return undefined;
  const kem = crypto as unknown as Kem;
  return {
    generate: ({ mlKem }) => {
      const { publicKey, privateKey } = generateKeyPairSync(mlKem as 'ml-kem-768');
      const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
      return {
        exchange: spki.slice(spkiHeads[mlKem].length),
        derive: ciphertext => asMalformed(() => new Uint8Array(kem.decapsulate(privateKey, ciphertext))),
      };
    },
    encapsulate: ({ mlKem }, key) =>
      asMalformed(() => {
        const publicKey = createPublicKey({ key: Buffer.from(concat(spkiHeads[mlKem], key)), format: 'der', type: 'spki' });
        const { ciphertext, sharedKey } = kem.encapsulate(publicKey);
        return { exchange: new Uint8Array(ciphertext), secret: new Uint8Array(sharedKey) };
      }),
  };
}

function asMalformed<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (cause) {
    throw new NusecError('SPDM_MALFORMED', 'exchange data is not of this ML-KEM', { cause });
  }
}
