import { equalBytes, toHex } from '../../src/bytes.ts';
import { readCertificationRequestInfo } from '../../src/pki/csr.ts';
import { DevAuthError } from '../../src/production/devauth/error.ts';
import { createDevAuthResponder, type DevAuthHandlers } from '../../src/production/devauth/responder.ts';
import type { StageContext, StageFactory } from './board.ts';
import { commonHandlers, maxBodyBytes, otpHandler, putHandler, receiptHandler } from './handlers.ts';
import { authKeySlot, encryptionKeySlot } from './keyStore.ts';
import { messageHandler } from './messages.ts';

/** DevAuth code in SRAM (R5–R17, R72–R79): gives a blank chip its key, signs its certification request, takes certificates and hashes.
 *  It runs only when the debugger starts it, so never after the lock. */
export const devauthStage: StageFactory = context => {
  const handlers: DevAuthHandlers = {
    ...commonHandlers(context, { current: undefined }),
    keygen: keygenHandler(context),
    signCri: signCriHandler(context),
    put: putHandler(context),
    otp: otpHandler(context),
    receipt: receiptHandler(context),
  };
  return { handle: messageHandler({ devAuth: createDevAuthResponder(handlers, { stage: () => context.stage, maxBodyBytes }) }) };
};

const slotFor = { es256: authKeySlot, ecdhEs: encryptionKeySlot } as const;

/** Node's generator is seeded with at least this much. */
const entropyBits = 256;

/** A key is made once (R74). A repeated request, after a lost answer or a power cut, gets the same key. */
function keygenHandler({ chip }: StageContext): NonNullable<DevAuthHandlers['keygen']> {
  return ({ keySlot, algorithm, minEntropyBits }) => {
    if (keySlot !== slotFor[algorithm]) throw new DevAuthError('bad-arg');
    if (minEntropyBits > entropyBits) throw new DevAuthError('entropy');
    const point = chip.keyStore.publicKey(keySlot) ?? chip.keyStore.generate(keySlot);
    return { publicKey: point.slice(1), keySlot, entropyBits };
  };
}

/** Signs a request only when it contains the chip's own key and UID: no signing oracle (T28). */
function signCriHandler({ chip }: StageContext): NonNullable<DevAuthHandlers['signCri']> {
  return async ({ cri }) => {
    const own = chip.keyStore.publicKey(authKeySlot);
    if (!own) throw new DevAuthError('bad-state');
    const { point, uid } = readCertificationRequestInfo(cri);
    if (!equalBytes(point, own) || uid !== toHex(chip.uid)) throw new DevAuthError('bad-arg');
    return { signature: await chip.keyStore.sign(authKeySlot, cri) };
  };
}
