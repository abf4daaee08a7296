import { equalBytes, fromHex, toBase64url, toHex } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { pieceBytesFor, sendFirmware } from '../../src/production/devauth/transfer.ts';
import { imageIds } from '../../src/production/fields.ts';
import { provesLock, type Receipt } from '../../src/production/receipt.ts';
import { UnusableAnswer } from './blame.ts';
import { commitUnit } from './commit.ts';
import { applicationOf, liveSession, readReceipt } from './stepsLock.ts';
import { hello } from './target.ts';
import { fact, factBytes, fetchImage, learn, receiptNonce, type Step, type Unit } from './unit.ts';
import { checkUnitData, writeUnitData } from './unitData.ts';

/** Steps 14–16: the application, sealed in the session and nowhere else (R52–R56, RULE-13); then the target says what it runs, and the unit
 *  is committed (R82, RULE-18). */

const sendApplication: Step = {
  k: 14,
  name: 'application, sealed',
  starred: true,
  needs: 'session',
  run: async unit => {
    const offer = await applicationOf(unit);
    const { host, hello: greeting } = liveSession(unit);
    await writeUnitData(unit, host, 'sealed', pieceBytesFor(greeting.maxBodyBytes));
    const keySpki = factBytes(unit, 'applicationKey');
    const wanted = { id: imageIds.bl3, keySpki, slotBytes: unit.target.debug.flash.primary.bytes, floor: unit.payload.rollbackFloor };
    const { bytes, info } = await fetchImage(unit, offer, wanted);
    if (!equalBytes(info.imageHash, offer.imageHash))
      throw new UnusableAnswer('IMAGE_REFUSED', 'the image has another hash than announced');
    const securityCounter = info.securityCounter ?? 0;
    learn(unit, { application: { imageHash: toHex(info.imageHash), securityCounter } });
    const transfer = { image: imageIds.bl3, version: info.version, securityCounter, bytes };
    await sendFirmware(host, transfer, pieceBytesFor(greeting.maxBodyBytes));
  },
};

const proveApplication: Step = {
  k: 15,
  name: 'application starts, receipt',
  starred: false,
  run: async unit => {
    const { host } = unit.target;
    await host.request('reset', { mode: 'normal' });
    const greeting = await hello(host);
    if (greeting.stage !== 'app') throw new NusecError('DEVICE_STATE', `the target runs ${greeting.stage} instead of the application`);
    const nonce = receiptNonce('NuSEC commit receipt', unit);
    const { receipt } = await host.request('receipt', { nonce });
    checkInstalled(unit, await readReceipt(unit, receipt, nonce));
    learn(unit, { receipt: toBase64url(receipt) });
  },
};

function checkInstalled(unit: Unit, receipt: Receipt): void {
  const { imageHash, securityCounter } = fact(unit, 'application');
  const isThere = receipt.images.some(
    entry => entry.image === imageIds.bl3 && equalBytes(entry.sha256, fromHex(imageHash)) && entry.securityCounter === securityCounter,
  );
  if (receipt.stage !== 'app' || !provesLock(receipt) || !isThere) {
    throw new NusecError('RECEIPT_REFUSED', 'the receipt does not prove the application');
  }
  checkUnitData(unit, receipt);
}

const commit: Step = { k: 16, name: 'commit', starred: true, run: unit => commitUnit(unit, unit.identity, unit.server) };

export const applicationSteps: readonly Step[] = [sendApplication, proveApplication, commit];
