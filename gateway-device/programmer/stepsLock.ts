import { equalBytes, fromHex } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { NusecError } from '../../src/errors.ts';
import { imageIds } from '../../src/production/fields.ts';
import { provesConfig, provesImage, provesLock, type Receipt, verifyReceipt } from '../../src/production/receipt.ts';
import { encodeEvidence } from '../../src/spdm/evidence.ts';
import type { ApplicationOffer } from './serverApi.ts';
import { openSession, otpMaskOf } from './targetProof.ts';
import { fact, factBytes, grantIdOf, journalOf, receiptNonce, requireAuthenticated, type Step, type Unit } from './unit.ts';

/** Steps 11–13: BL2 boots and proves in an SPDM session that it holds the certified key (R50–R51, R69, T9); then the debug port is closed
 *  permanently and a signed receipt shows it (R43–R44, RULE-14, T29); the server sees both and releases the application. */

const startSession: Step = { k: 11, name: 'BL2 starts, SPDM session', starred: false, run: openSession };

const lock: Step = {
  k: 12,
  name: 'lock, receipt',
  starred: true,
  needs: 'session',
  run: async unit => {
    const { hello, host } = liveSession(unit);
    if (hello.debugState !== 'locked') {
      const lifeCycle = unit.payload.policy.deployedLifeCycle ? 'deployed' : hello.lifeCycle;
      await host.request('lock', { debugState: 'locked', lifeCycle });
    }
    await lockReceiptOf(unit);
  },
};

/** By the bootloader: it can give another one with the next session. */
async function lockReceiptOf(unit: Unit): Promise<Uint8Array> {
  const { live } = unit;
  if (live.lockReceipt !== undefined) return live.lockReceipt;
  const nonce = receiptNonce('NuSEC lock receipt', unit);
  const { receipt } = await liveSession(unit).host.request('receipt', { nonce });
  checkLocked(unit, await readReceipt(unit, receipt, nonce));
  live.lockReceipt = receipt;
  return receipt;
}

/** A receipt signed by the certified key of this unit, for this nonce. @throws NusecError COSE_SIGNATURE, RECEIPT_REFUSED */
export const readReceipt = (unit: Unit, receipt: Uint8Array, nonce: Uint8Array): Promise<Receipt> =>
  verifyReceipt(receipt, {
    publicKey: factBytes(unit, 'publicKey'),
    uid: unit.found.uid,
    nonce,
    objId: fromHex(fact(unit, 'objId')),
  });

function checkLocked(unit: Unit, receipt: Receipt): void {
  const isBl2 = receipt.stage === 'bl2' && provesImage(receipt, imageIds.bl2, factBytes(unit, 'bl2Hash'));
  const isDeployed = !unit.payload.policy.deployedLifeCycle || receipt.lifeCycle === 'deployed';
  const hasCertificate =
    receipt.certificateSha256 !== undefined && equalBytes(receipt.certificateSha256, sha256(factBytes(unit, 'certificate')));
  if (!provesLock(receipt) || !isBl2 || !isDeployed || !hasCertificate || receipt.otpMask !== otpMaskOf(unit)) {
    throw new NusecError('RECEIPT_REFUSED', 'the receipt does not prove the lock');
  }
  const { configWords } = unit.payload;
  if (configWords !== undefined && !provesConfig(receipt, configWords))
    throw new NusecError('RECEIPT_REFUSED', 'the receipt does not prove the configuration words of the job');
}

const askForApplication: Step = {
  k: 13,
  name: 'lock and session to the server',
  starred: false,
  needs: 'session',
  run: async unit => void (await applicationOf(unit)),
};

/** What the server releases to a unit that shows its lock and its session. Lost in a cut it is asked for again, with a new session. */
export async function applicationOf(unit: Unit): Promise<ApplicationOffer> {
  requireAuthenticated(unit);
  const { live } = unit;
  if (live.application !== undefined) return live.application;
  const { jobId, uid } = journalOf(unit);
  const receipt = await lockReceiptOf(unit);
  const evidence = encodeEvidence(liveSession(unit).evidence);
  live.application = await unit.server.application(grantIdOf(unit), { jobId, uid, objId: fact(unit, 'objId'), receipt, evidence });
  return live.application;
}

/** @throws NusecError STATE */
export function liveSession(unit: Unit): NonNullable<Unit['live']['session']> {
  const { session } = unit.live;
  if (!session) throw new NusecError('STATE', 'no session with the target');
  return session;
}

export const lockSteps: readonly Step[] = [startSession, lock, askForApplication];
