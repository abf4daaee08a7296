import { equalBytes, toHex } from '../../src/bytes.ts';
import { readCertificationRequestInfo } from '../../src/pki/csr.ts';
import { DevAuthError } from '../../src/production/devauth/error.ts';
import type { DevAuthHandlers } from '../../src/production/devauth/responder.ts';
import type { StageContext } from './board.ts';
import type { OrderNonce } from './handlers.ts';
import { authKeySlot, encryptionKeySlot, nextAuthKeySlot } from './keyStore.ts';
import { checkedOrder, takeNonce } from './orders.ts';

/** KEYGEN and SIGN_CRI inside a session: the key of the next generation (nextGeneration.ts). */

/** KEYGEN with a signed `rekey` order. A repeated request, also with another order, gets the same key. The encryption key needs none: it is made when
 *  there is none yet, and stays. */
export function rekeyHandler(context: StageContext, orderNonce: OrderNonce): NonNullable<DevAuthHandlers['keygen']> {
  return async ({ keySlot, algorithm, order, minEntropyBits }) => {
    if (algorithm === 'ecdhEs') {
      if (keySlot !== encryptionKeySlot) throw new DevAuthError('bad-arg');
      const { keyStore } = context.chip;
      const own = keyStore.publicKey(keySlot) ?? keyStore.generate(keySlot);
      return { publicKey: own.slice(1), keySlot, entropyBits: minEntropyBits };
    }
    if (keySlot !== authKeySlot || !order) throw new DevAuthError('bad-arg');
    await checkedOrder(context, order, { operation: 'rekey', nonce: takeNonce(orderNonce) });
    const { keyStore } = context.chip;
    const point = keyStore.publicKey(nextAuthKeySlot) ?? keyStore.generate(nextAuthKeySlot);
    return { publicKey: point.slice(1), keySlot, entropyBits: minEntropyBits };
  };
}

/** SIGN_CRI with the next key: only a request for that key and the own UID (T28). */
export function signNextCriHandler({ chip }: StageContext): NonNullable<DevAuthHandlers['signCri']> {
  return async ({ cri }) => {
    const next = chip.keyStore.publicKey(nextAuthKeySlot);
    if (!next) throw new DevAuthError('bad-state');
    const { point, uid } = readCertificationRequestInfo(cri);
    if (!equalBytes(point, next) || uid !== toHex(chip.uid)) throw new DevAuthError('bad-arg');
    return { signature: await chip.keyStore.sign(nextAuthKeySlot, cri) };
  };
}
