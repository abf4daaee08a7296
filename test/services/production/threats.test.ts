import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromHex } from '../../../src/bytes.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { verifyGrant } from '../../../src/production/grant.ts';
import { ledgerHeadOf } from '../../../src/production/ledger.ts';
import { verifyReport } from '../../../src/production/report.ts';
import { signingKeysOf, verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import { isUidAllowed } from '../../../src/production/uidList.ts';
import { authorityOf, rootDer } from '../../../src/services/authority/authority.ts';
import { currentTrustBundle } from '../../../src/services/authority/trustBundle.ts';
import { sweepUnits } from '../../../src/services/production/unitExpiry.ts';
import { covers } from '../../support/covers.ts';
import { csrOf, newParty, newUid } from '../parties.ts';
import { activeProgrammer, Chip, defineProduct, releasedJob, type TestProgrammer } from './factory.ts';
import { openPlant, type Plant } from './plant.ts';

let plant: Plant;
beforeAll(async () => {
  plant = await openPlant();
  await defineProduct(plant, 'meter');
});
afterAll(() => plant.close());

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;
const statusOf = async (uid: string) => {
  const events = await plant.ctx.store.readStream(`device-${uid}`);
  return events
    .map(event => event.type)
    .filter(type => /Minted|Failed|Scrapped|Quarantined|Completed/.test(type))
    .at(-1);
};
const board = async (builder: TestProgrammer) =>
  (await plant.ask('pia', 'GET', `/v1/jobs/${builder.jobId}`)).board.find((row: { programmer: string }) => row.programmer === builder.uid);

async function started(count: number, scrapAllowance = 0, uids?: readonly string[]): Promise<TestProgrammer> {
  const builder = await activeProgrammer(plant);
  const jobId = await releasedJob(plant, 'meter', { plannedCount: count, scrapAllowance, ...(uids !== undefined && { uids }) });
  await builder.begin(jobId, count, scrapAllowance);
  return builder;
}

/** The reservation is refused, and the programmer notes so in its ledger. */
async function refusedReservation(builder: TestProgrammer, uid: string): Promise<string | number> {
  const code = await builder.code('units', await builder.reserveRequest(uid));
  await builder.append(builder.entry('void', { uid: fromHex(uid), reason: 'refused' }));
  return code;
}

describe('overbuild (T1, RULE-4, I1)', () => {
  it('refuses unit Q + 1, and the ledger still agrees', async () => {
    covers('T1', 'RULE-4', 'I1');
    const builder = await started(2);
    for (let unit = 0; unit < 2; unit++) await builder.build(new Chip());
    expect(await refusedReservation(builder, newUid())).toBe('COUNT_EXHAUSTED');
    await builder.zeroise();
    const { status, verdict } = await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/close`);
    expect({ status, verdict }).toEqual({ status: 'RECONCILED', verdict: 'clean' });
  });

  it('finds a forged local counter in the signed ledger: frozen, discrepancy, alarm', async () => {
    covers('T1');
    const builder = await started(2);
    await builder.build(new Chip());
    await builder.append(builder.entry('reserve', { uid: fromHex(newUid()) }));
    await builder.append(builder.entry('reserve', { uid: fromHex(newUid()) }));
    await builder.zeroise();
    const job = await plant.ask('pia', 'GET', `/v1/jobs/${builder.jobId}`);
    expect(job.discrepancies).toContainEqual(expect.objectContaining({ kind: 'overbuild-attempt', programmer: builder.uid }));
    expect(await plant.alarms()).toContain('ALLOTMENT_FROZEN');
    const closed = await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/close`);
    expect(closed.verdict).toBe('discrepant');
  });

  it('gives more units only by a new package with a higher sequence, and never twice the same (silence 7, I13)', async () => {
    covers('I13');
    const builder = await activeProgrammer(plant);
    const jobId = await releasedJob(plant, 'meter', { plannedCount: 3 });
    await builder.begin(jobId, 1);
    await builder.build(new Chip());
    await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/allotments`, { programmer: builder.uid, count: 3 });
    const path = `/v1/jobs/${jobId}/allotments/${builder.uid}/export`;
    const more = await builder.open((await plant.call('pia', 'POST', path)).bytes);
    expect(more).toMatchObject({ count: 2, supersedes: builder.payload?.packageId });
    expect(more.sequence).toBeGreaterThan(builder.payload?.sequence ?? Number.POSITIVE_INFINITY);
    expect(await builder.open((await plant.call('pia', 'POST', path)).bytes)).toEqual(more);
    const replacement = await builder.open((await plant.call('pia', 'POST', path, { replace: true })).bytes);
    expect(replacement).toMatchObject({ count: 2, supersedes: more.packageId });
    expect(replacement.sequence).toBeGreaterThan(more.sequence);
    expect(await plant.code('pia', 'POST', `/v1/jobs/${jobId}/allotments`, { programmer: builder.uid, count: 4 })).toBe('COUNT_OVER_PLAN');
  });
});

describe('restored flash (T2)', () => {
  it('shows itself at the next unit: gap recorded, allotment frozen, alarm', async () => {
    covers('T2');
    const builder = await started(9);
    await builder.build(new Chip());
    const snapshot = [...builder.records];
    await builder.build(new Chip());
    builder.records = snapshot;
    builder.acknowledged = snapshot.length;
    expect(await builder.code('units', await builder.reserveRequest(newUid()))).toBe('LEDGER_GAP');
    expect(await board(builder)).toMatchObject({ status: 'FROZEN', frozenReason: 'ledger-fork', reserved: 2 });
    expect(await builder.code('units', await builder.reserveRequest(newUid()))).toBe('ALLOTMENT_FROZEN');
    expect(await plant.alarms()).toContain('LEDGER_GAP');
  });

  it('a record that is missing is asked for again, without freezing', async () => {
    const builder = await started(9);
    await builder.append(builder.entry('boot'));
    const request = await builder.reserveRequest(newUid());
    expect(await builder.code('units', { ...request, ledger: request.ledger.slice(1) })).toBe('LEDGER_GAP');
    expect(await builder.code('units', request)).toBe(200);
  });

  it('an answer that was lost costs nothing: old records are sent again', async () => {
    const builder = await started(9);
    const first = new Chip();
    await builder.reserve(first);
    builder.acknowledged = 0;
    expect(await builder.voidUnit(first, false)).toEqual({ committed: 0, remaining: 9, scrapped: false });
    builder.acknowledged = 1;
    expect(await builder.code('units', await builder.reserveRequest(newUid()))).toBe(200);
  });

  it('a reservation whose grant never arrived is voided by its record, and the ledger agrees in the end', async () => {
    const builder = await started(9);
    const uid = newUid();
    const lost = await builder.ask('units', await builder.reserveRequest(uid));
    await builder.append(builder.entry('void', { uid: fromHex(uid), reason: 'no answer' }));
    const chip = new Chip(newParty(uid));
    await builder.reserve(chip);
    expect(chip.grantId).not.toBe(lost.grantId);
    expect(await board(builder)).toMatchObject({ reserved: 2, voided: 1, status: 'READY' });
    await builder.voidUnit(chip, false);
    await builder.zeroise();
    expect(await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/close`)).toMatchObject({ verdict: 'clean' });
  });

  it('records of another signer or another job are refused (I14)', async () => {
    covers('I14');
    const [builder, other] = [await started(9), await started(9)];
    const request = await builder.reserveRequest(newUid());
    expect(await other.code('units', { ...request, jobId: other.jobId })).toBe('LEDGER_SIGNATURE');
    expect(await builder.code('units', { ...request, jobId: other.jobId })).toBe('NOT_FOUND');
  });
});

describe('packages', () => {
  it('are opened by the one programmer they are for (T6)', async () => {
    covers('T6');
    const [builder, other] = [await started(2), await activeProgrammer(plant)];
    const file = (await plant.call('pia', 'POST', `/v1/jobs/${builder.jobId}/allotments/${builder.uid}/export`)).bytes;
    await expect(other.open(file)).rejects.toMatchObject({ code: 'PACKAGE_REFUSED' });
    other.payload = builder.payload;
    await other.append(other.entry('import'));
    expect(await other.code('imports', await other.notice(file))).toBe('PACKAGE_REFUSED');
  });

  it('that are superseded are refused at the server too (T3, R62, I13)', async () => {
    covers('T3', 'R62', 'I13');
    const builder = await activeProgrammer(plant);
    const jobId = await releasedJob(plant, 'meter');
    await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/allotments`, { programmer: builder.uid, count: 3 });
    const path = `/v1/jobs/${jobId}/allotments/${builder.uid}/export`;
    const [old] = [(await plant.call('pia', 'POST', path)).bytes];
    const file = (await plant.call('pia', 'POST', path, { replace: true })).bytes;
    expect((await plant.call('pia', 'POST', path)).bytes).toEqual(file);
    builder.payload = await builder.open(old);
    await builder.append(builder.entry('import'));
    expect(await builder.code('imports', await builder.notice(old))).toBe('PACKAGE_REPLAYED');
    builder.records = [];
    builder.payload = await builder.open(file);
    await builder.append(builder.entry('import'));
    const notice = await builder.notice(file);
    expect(await builder.code('imports', await builder.notice(file.slice(1)))).toBe('PACKAGE_REFUSED');
    const answer = await builder.ask('imports', notice);
    expect(answer).toEqual({ jobId, remaining: 3, acknowledged: 1 });
    expect(await builder.ask('imports', notice)).toEqual(answer);
    builder.payload = await builder.open(old);
    await builder.append(builder.entry('import'));
    expect(await builder.code('imports', await builder.notice(old))).toBe('PACKAGE_REPLAYED');
  });

  it('expire (T3)', async () => {
    covers('T3');
    const builder = await activeProgrammer(plant);
    const jobId = await releasedJob(plant, 'meter');
    await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/allotments`, { programmer: builder.uid, count: 3 });
    const file = (await plant.call('pia', 'POST', `/v1/jobs/${jobId}/allotments/${builder.uid}/export`)).bytes;
    builder.payload = await builder.open(file);
    await builder.append(builder.entry('import'));
    plant.moveClock(91 * 86_400_000);
    expect(await builder.code('imports', await builder.notice(file))).toBe('PACKAGE_EXPIRED');
    plant.moveClock(-91 * 86_400_000);
    expect(await builder.code('imports', await builder.notice(file))).toBe(200);
    plant.moveClock(91 * 86_400_000);
    const path = `/v1/jobs/${jobId}/allotments/${builder.uid}/export`;
    const again = await builder.open((await plant.call('pia', 'POST', path)).bytes);
    expect(again).toMatchObject({ count: 3, supersedes: builder.payload.packageId });
    expect(await builder.open((await plant.call('pia', 'POST', path)).bytes)).toEqual(again);
    plant.moveClock(-91 * 86_400_000);
  });

  it('carry count, token, chips, images and the way home (R57, R105)', async () => {
    covers('R57', 'R105');
    const uids = [newUid(), newUid()];
    const { payload, jobId } = await started(2, 1, uids);
    expect(payload).toMatchObject({ count: 2, scrapAllowance: 1, rollbackFloor: 0, icaId: 'device-meter-1' });
    expect(payload?.uids).toEqual({ uids: uids.sort().map(fromHex) });
    expect(payload?.images.map(({ id, version }) => [id, version.major])).toEqual([
      [1, 1],
      [2, 2],
    ]);
    expect(payload?.jobId).toEqual(fromHex(jobId));
    expect(payload?.server.baseUrl).toBe('https://localhost:8443');
  });
});

describe('long UID lists', () => {
  it('travel as a tree; the grant carries the proof (RULE-7, T7)', async () => {
    covers('RULE-7', 'T7');
    const uids = Array.from({ length: 2500 }, newUid);
    const builder = await started(2, 0, uids);
    expect(builder.payload?.uids).toMatchObject({ count: 2500 });
    const [chip, stranger] = [new Chip(newParty(uids[1234])), newUid()];
    await builder.reserve(chip);
    const ids = { jobId: fromHex(builder.jobId), uid: fromHex(chip.party.uid), progUid: fromHex(builder.uid) };
    const ledgerHead = ledgerHeadOf(builder.records.at(-1) as Uint8Array);
    const { uidProof } = await verifyGrant(chip.grant, { ...ids, ledgerHead }, () => plant.ctx.keystore.publicKey('grant/1'));
    const rule = builder.payload?.uids ?? null;
    expect(isUidAllowed(rule, fromHex(chip.party.uid), uidProof)).toBe(true);
    expect(isUidAllowed(rule, fromHex(stranger), uidProof)).toBe(false);
    expect(await refusedReservation(builder, stranger)).toBe('UID_NOT_LISTED');
  });

  it('may be larger than what other requests take, and are refused with a UID twice', async () => {
    const { jobId } = await plant.ask('pia', 'POST', '/v1/jobs', { line: 'meter', plannedCount: 1 });
    const path = `/v1/jobs/${jobId}/uids`;
    const uids = Array.from({ length: 300_000 }, (_, n) => n.toString(16).padStart(32, '0'));
    expect(await plant.code('pia', 'PUT', path, [...uids, uids[7]].join('\n'))).toBe('UID_CONFLICT');
    expect(await plant.ask('pia', 'PUT', path, uids.join('\n'))).toMatchObject({ uidCount: 300_000 });
  });
});

describe('chips', () => {
  it('outside the list are refused and cost nothing (T7, RULE-7)', async () => {
    covers('T7', 'RULE-7');
    const listed = newUid();
    const builder = await started(1, 0, [listed]);
    expect(await refusedReservation(builder, newUid())).toBe('UID_NOT_LISTED');
    expect(await builder.code('units', await builder.reserveRequest(listed))).toBe(200);
    expect(await board(builder)).toMatchObject({ reserved: 1, status: 'READY' });
  });

  it('with the UID of a live device are refused with an alarm about the programmer; the device stays in use (T25, I3, silence 5)', async () => {
    covers('T25', 'I3');
    const [one, two] = [await started(3), await started(3)];
    const chip = new Chip();
    await one.build(chip);
    expect(await refusedReservation(two, chip.party.uid)).toBe('UID_CONFLICT');
    expect(await statusOf(chip.party.uid)).toBe('ProvisioningCompleted');
    expect(await board(two)).toMatchObject({ reserved: 0 });
    const raised = await plant.ctx.store.readStream(`alarm-programmer-${two.uid}`);
    expect(raised.map(({ data }) => data.code)).toEqual(['UID_CONFLICT']);
    expect(raised[0]?.data.detail).toContain(chip.party.uid);
  });

  it('reserved by two programmers at the same moment are minted once (T25, I3)', async () => {
    covers('T25', 'I3');
    const [one, two] = [await started(3), await started(3)];
    const uid = newUid();
    const requests = await Promise.all([one, two].map(builder => builder.reserveRequest(uid)));
    const codes = await Promise.all([one, two].map((builder, index) => builder.code('units', requests[index])));
    expect(codes).toContain('UID_CONFLICT');
    const minted = (await plant.ctx.store.readStream(`device-${uid}`)).filter(event => event.type === 'DeviceMinted');
    expect(minted).toHaveLength(1);
    expect(await statusOf(uid)).toBe('DeviceMinted');
    expect(codes).toContain(200);
  });

  it('whose life is over are refused with an alarm (silence 18, I11)', async () => {
    covers('I11');
    const builder = await started(3, 1);
    const chip = new Chip();
    await builder.build(chip, 'application');
    await builder.voidUnit(chip, true);
    expect(await refusedReservation(builder, chip.party.uid)).toBe('DEVICE_STATE');
  });

  it('with a key that was seen before stop the job (T26, I4, silence 6)', async () => {
    covers('T26', 'I4');
    const builder = await started(3);
    const [first, clone] = [new Chip(), new Chip()];
    await builder.build(first);
    Object.assign(clone, { party: { ...first.party, uid: newUid() } });
    await builder.reserve(clone);
    expect(await builder.code(`units/${clone.grantId}/csr`, { csr: csrOf(clone.party, clone.objId) })).toBe('WEAK_OR_CLONED_KEY');
    expect(await plant.ask('pia', 'GET', `/v1/jobs/${builder.jobId}`)).toMatchObject({ status: 'SUSPENDED' });
    expect(await builder.code('units', await builder.reserveRequest(newUid()))).toBe('JOB_NOT_RUNNING');
    expect(await plant.alarms()).toContain('WEAK_OR_CLONED_KEY');
  });
});

describe('grants that expire (I12)', () => {
  it('are voided by the sweep where no OTP can have been touched: the count comes back, the chip is built again', async () => {
    covers('I12');
    const builder = await started(2, 1);
    const early = new Chip();
    await builder.build(early, 'bootloader');
    plant.moveClock(16 * minuteMs);
    expect(await builder.code(`units/${early.grantId}/bootloader`, early.certificateProof())).toBe('GRANT_EXPIRED');
    expect(await sweepUnits(plant.ctx)).toBeGreaterThanOrEqual(1);
    expect(await board(builder)).toMatchObject({ reserved: 1, voided: 1, scrapped: 0, remaining: 2 });
    expect(await statusOf(early.party.uid)).toBe('DeviceFailed');
    expect(await builder.look(early)).toEqual({ outcome: 'voided', scrapped: false });
    expect(await builder.code(`units/${early.grantId}/renew`)).toBe('GRANT_USED');
    const again = new Chip(early.party);
    await builder.voidUnit(early, false);
    await builder.build(again);
    expect(await statusOf(again.party.uid)).toBe('ProvisioningCompleted');
  });

  it('wait where a chip would be lost with them: a grant is renewed after the server was away for days', async () => {
    covers('I12');
    const builder = await started(2, 1);
    const chip = new Chip();
    await builder.build(chip, 'application-key');
    plant.moveClock(5 * dayMs);
    await sweepUnits(plant.ctx);
    expect(await builder.look(chip)).toEqual({ outcome: 'open', scrapped: false });
    const steps = builder.steps(chip);
    await expect(steps['application-key']()).rejects.toThrow('GRANT_EXPIRED');
    await builder.ask(`units/${chip.grantId}/renew`);
    await steps['application-key']();
    await steps.application();
    await builder.commit(chip);
    expect(await builder.look(chip)).toEqual({ outcome: 'committed', scrapped: false });
    expect(await statusOf(chip.party.uid)).toBe('ProvisioningCompleted');
  });

  it('end after a week: then the unit is scrap, because nobody knows whether OTP was burned', async () => {
    const builder = await started(2, 1);
    const chip = new Chip();
    await builder.build(chip, 'application-key');
    plant.moveClock(7 * dayMs + 16 * minuteMs);
    expect(await builder.code(`units/${chip.grantId}/renew`)).toBe('GRANT_EXPIRED');
    expect(await sweepUnits(plant.ctx)).toBeGreaterThanOrEqual(1);
    expect(await board(builder)).toMatchObject({ reserved: 1, voided: 1, scrapped: 1 });
    expect(await statusOf(chip.party.uid)).toBe('DeviceScrapped');
    expect(await builder.look(chip)).toEqual({ outcome: 'voided', scrapped: true });
  });

  it('are renewed for nobody else, and not while the job is suspended', async () => {
    const [builder, other] = [await started(3), await started(3)];
    const chip = new Chip();
    await builder.reserve(chip);
    expect(await other.code(`units/${chip.grantId}/renew`)).toBe('NOT_FOUND');
    await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/suspend`, { reason: 'test' });
    plant.moveClock(16 * minuteMs);
    expect(await builder.code(`units/${chip.grantId}/renew`)).toBe('JOB_NOT_RUNNING');
  });

  it('are voided when the same reservation comes too late', async () => {
    const builder = await started(2);
    const request = await builder.reserveRequest(newUid());
    await builder.ask('units', request);
    plant.moveClock(16 * minuteMs);
    expect(await builder.code('units', request)).toBe('GRANT_EXPIRED');
    expect(await builder.code('units', request)).toBe('GRANT_USED');
    await builder.append(builder.entry('void', { uid: fromHex(request.uid), reason: 'expired' }));
    expect(await builder.code('units', await builder.reserveRequest(request.uid))).toBe(200);
    expect(await board(builder)).toMatchObject({ reserved: 2, voided: 1, status: 'READY' });
  });
});

describe('the end of a job', () => {
  it('reconciles to a signed, clean report and a status table (R82, R83, RULE-19, RULE-20)', async () => {
    covers('R82', 'R83', 'RULE-19', 'RULE-20');
    const builder = await started(2, 1);
    const [good, bad] = [new Chip(), new Chip()];
    await builder.build(good);
    await builder.build(bad, 'application');
    await builder.voidUnit(bad, true);
    expect(await plant.code('pia', 'POST', `/v1/jobs/${builder.jobId}/close`)).toBe('STATE');
    await builder.zeroise();
    expect(await builder.zeroise()).toEqual({ done: true });
    const closed = await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/close`);
    expect(closed).toMatchObject({ status: 'RECONCILED', verdict: 'clean', discrepancies: [] });
    expect(await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/close`)).toEqual(closed);
    const signed = await plant.ask('aldo', 'GET', `/v1/jobs/${builder.jobId}/reconciliation`);
    const report = JSON.parse(signed.report);
    expect(report.allotments[0]).toMatchObject({ reserved: 2, committed: 1, voided: 1, scrapped: 1, ledgerCounter: 2, zeroised: true });
    const csv = (await plant.ask('aldo', 'GET', `/v1/jobs/${builder.jobId}/status.csv`)) as string;
    const lines = csv.trim().split('\r\n');
    expect(lines[0]).toMatch(/^uid,objId,status,version,serial/);
    expect(lines[1]).toMatch(new RegExp(`^${good.party.uid},${good.objId},COMMITTED,2\\.0\\.0,[0-9a-f]{32},${builder.uid},`));
    expect(lines[2]).toMatch(new RegExp(`^${bad.party.uid},${bad.objId},SCRAPPED,`));
    expect(await plant.ask('aldo', 'GET', `/v1/jobs/${builder.jobId}/status`)).toMatchObject({
      ...{ committed: 1, voided: 1, scrapped: 1, open: 0, yield: 0.5, reasons: [{ reason: 'test', units: 1 }] },
      byProgrammer: [{ programmer: builder.uid, committed: 1, scrapped: 1 }],
    });
    const page = (query: string) => plant.ask('aldo', 'GET', `/v1/jobs/${builder.jobId}/units?${query}`);
    const first = await page('limit=1');
    expect(first.units.map(({ uid }: { uid: string }) => uid)).toEqual([good.party.uid]);
    expect((await page(`limit=1&cursor=${first.next}`)).units).toMatchObject([{ uid: bad.party.uid, status: 'SCRAPPED', reason: 'test' }]);
  });

  it('takes more units after the count was used up: a new package with a higher sequence, the same ledger going on (R62, silence 7)', async () => {
    covers('R62');
    const builder = await activeProgrammer(plant);
    const jobId = await releasedJob(plant, 'meter', { plannedCount: 3 });
    const first = await builder.begin(jobId, 1);
    await builder.build(new Chip());
    await builder.zeroise();
    builder.acknowledged = builder.records.length;
    const second = await builder.begin(jobId, 3);
    expect(second.sequence).toBeGreaterThan(first.sequence);
    expect(second.count).toBe(2);
    for (let unit = 0; unit < 2; unit++) await builder.build(new Chip());
    expect(await refusedReservation(builder, newUid())).toBe('COUNT_EXHAUSTED');
    await builder.zeroise();
    const { status, verdict } = await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/close`);
    expect({ status, verdict }).toEqual({ status: 'RECONCILED', verdict: 'clean' });
  });

  it('verifies with the key for reports of the trust bundle (T19)', async () => {
    covers('T19');
    const builder = await started(1);
    const signed = await plant.ask('aldo', 'GET', `/v1/jobs/${builder.jobId}/reconciliation`);
    const { spki } = parseCertificate(rootDer(await authorityOf(plant.ctx)));
    const keys = signingKeysOf(await verifyTrustBundle(await currentTrustBundle(plant.ctx, await authorityOf(plant.ctx)), spki), 'report');
    expect(JSON.parse(await verifyReport(signed, keys))).toMatchObject({ jobId: builder.jobId, plannedCount: 1 });
    const changed = { ...signed, report: signed.report.replace('"plannedCount":1', '"plannedCount":2') };
    await expect(verifyReport(changed, keys)).rejects.toMatchObject({ code: 'COSE_SIGNATURE' });
  });

  it('without a zeroise record needs a reason and is discrepant', async () => {
    const builder = await started(1);
    await builder.build(new Chip());
    const closed = await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/close`, { withoutReceipt: 'programmer burned down' });
    expect(closed.verdict).toBe('discrepant');
    expect(closed.discrepancies).toContainEqual(expect.objectContaining({ kind: 'not-zeroised' }));
  });
});
