import { randomBytes } from 'node:crypto';
import { NusecError } from '../../src/errors.ts';
import { kekNonceBytes } from '../../src/production/kek.ts';
import type { ProgrammerIdentity } from './identity.ts';
import type { KekStore } from './kekStore.ts';
import type { ServerApi } from './serverApi.ts';

/** A server that restarts forgets an agreement that is not confirmed yet. */
const maxAgreements = 3;

/** Agrees on AES_NuLink3 with the server (R27–R34): ephemeral keys on both sides, the server confirms first, the key is kept, then we
 *  confirm. A cut in between costs an epoch, nothing else: the agreement is simply made again.
 *  @returns the new epoch
 *  @throws NusecError KEY_REFUSED, SERVER_UNREACHABLE, and what the server refuses */
export async function agreeKek(identity: ProgrammerIdentity, keks: KekStore, server: ServerApi): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await agreeOnce(identity, keks, server);
    } catch (error) {
      const isForgotten = error instanceof NusecError && error.code === 'NOT_FOUND';
      if (!isForgotten || attempt === maxAgreements) throw error;
    }
  }
}

async function agreeOnce(identity: ProgrammerIdentity, keks: KekStore, server: ServerApi): Promise<number> {
  const pending = keks.begin();
  const nonceP = new Uint8Array(randomBytes(kekNonceBytes));
  const { point: pointC, nonce: nonceC, mac, epoch } = await server.offerKek(pending.point, nonceP);
  const { uid: progUid, certificateSha256 } = identity;
  const confirmation = pending.finish({ nonceP, nonceC, pointP: pending.point, pointC, progUid, certificateSha256, epoch }, mac);
  await server.confirmKek(epoch, confirmation);
  return epoch;
}
