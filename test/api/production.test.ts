import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { statusOf } from '../../src/api/problem.ts';
import { concat, fromBase64url, fromHex, toBase64url, toHex } from '../../src/bytes.ts';
import { sha256, sha256Hex } from '../../src/digest.ts';
import { parseVersion } from '../../src/domain/version.ts';
import { verifyImage } from '../../src/ota/verify.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { verifyTrustBundle } from '../../src/production/trustBundle.ts';
import { approveCeremony, proposeCeremony } from '../../src/services/administration/ceremonies.ts';
import { authorityOf } from '../../src/services/authority/authority.ts';
import { csrOf, newParty } from '../services/parties.ts';
import { activeProgrammer, Chip, defineProduct, releasedJob, type TestProgrammer } from '../services/production/factory.ts';
import { openPlant, type Plant } from '../services/production/plant.ts';
import { covers } from '../support/covers.ts';
import { flipBlobBit, loseBlob } from '../support/damagedBlob.ts';

let plant: Plant;
let programmer: TestProgrammer;
beforeAll(async () => {
  plant = await openPlant();
  await defineProduct(plant, 'meter');
  programmer = await activeProgrammer(plant);
  await programmer.begin(await releasedJob(plant, 'meter', { plannedCount: 100, scrapAllowance: 20 }), 80, 20);
});
afterAll(() => plant.close());

const devicesEvents = async (uid: string) => (await plant.ctx.store.readStream(`device-${uid}`)).map(event => event.type);
const image = async (sha: string) => (await plant.call(programmer.self.certificate, 'GET', `/v1/production/images/${sha}`)).bytes;

describe('one unit, from grant to commit', () => {
  it('leaves the whole story in its stream (R82, RULE-20)', async () => {
    covers('R82', 'RULE-20');
    const chip = new Chip();
    await programmer.build(chip);
    expect(await devicesEvents(chip.party.uid)).toEqual([
      'DeviceMinted',
      'CertificationRequested',
      'DeviceCertified',
      'CertificateInstalled',
      'BootKeyAssigned',
      'BootKeyBurned',
      'BootloaderInstalled',
      'BootKeyAssigned',
      'BootKeyBurned',
      'DebugLocked',
      'ProgrammingSessionAuthenticated',
      'FirmwareInstalled',
      'ProvisioningCompleted',
    ]);
  });

  it('gets images that its own bootloader takes: body once per job, trailer per unit (R38, R39, R48, RULE-12)', async () => {
    covers('R38', 'R39', 'R48', 'RULE-12');
    const [one, other] = [new Chip(), new Chip()];
    for (const chip of [one, other]) await programmer.build(chip);
    for (const offer of ['bootloader', 'application'] as const) {
      expect(one[offer].bodySha256).toBe(other[offer].bodySha256);
      expect(one[offer].publicKey).not.toBe(other[offer].publicKey);
      const body = await image(one[offer].bodySha256);
      const judge = (trailer: string, spki: string) =>
        verifyImage(concat(body, fromBase64url(trailer)), {
          signature: { algorithm: 'P-256', otpKeyHash: sha256(fromBase64url(spki)) },
          slotBytes: 1 << 20,
        }).ok;
      expect(judge(one[offer].trailer, one[offer].publicKey)).toBe(true);
      expect(judge(other[offer].trailer, one[offer].publicKey)).toBe(false);
    }
  });

  it('answers every repeated request with the same bytes (silence 2, T33)', async () => {
    covers('T33');
    const chip = new Chip();
    const request = await programmer.reserveRequest(chip.party.uid);
    const grant = await programmer.ask('units', request);
    expect(await programmer.ask('units', request)).toEqual(grant);
    chip.use(grant);
    programmer.acknowledged = programmer.records.length;
    for (const step of Object.values(programmer.steps(chip))) expect(await step()).toEqual(await step());
    const commit = await programmer.commitRequest(chip);
    const answer = await programmer.ask(`units/${chip.grantId}/commit`, commit);
    expect(await programmer.ask(`units/${chip.grantId}/commit`, commit)).toEqual(answer);
    programmer.acknowledged = programmer.records.length;
    const types = await devicesEvents(chip.party.uid);
    expect(types.filter(type => type === 'DeviceCertified')).toHaveLength(1);
    expect(types.filter(type => type === 'BootKeyAssigned')).toHaveLength(2);
  });

  it('refuses another key for a certified unit (I6)', async () => {
    covers('I6');
    const chip = new Chip();
    await programmer.build(chip, 'bootloader');
    const csr = csrOf(newParty(chip.party.uid), chip.objId);
    expect(await programmer.code(`units/${chip.grantId}/csr`, { csr })).toBe('CONFLICT');
    const other = { csr: csrOf(chip.party, 'ab'.repeat(16)) };
    expect(await programmer.code(`units/${chip.grantId}/csr`, other)).toBe('CSR_SUBJECT');
  });

  it('writes no secret into any event (I19)', async () => {
    covers('I19');
    const text = JSON.stringify(await plant.ctx.store.readAll(0, 100_000));
    expect(text).not.toMatch(/PRIVATE KEY/);
    expect(text).not.toContain(Buffer.from(programmer.kek.key).toString('base64url'));
    expect(text).not.toContain(Buffer.from(programmer.kek.key).toString('hex'));
  });
});

describe('order of the steps', () => {
  it('gives no application before lock and session (I7, RULE-3, RULE-5, RULE-14, R69)', async () => {
    covers('I7', 'RULE-3', 'RULE-5', 'RULE-14', 'R69');
    const chip = new Chip();
    await programmer.reserve(chip);
    const path = `units/${chip.grantId}/application`;
    const uncertified = await programmer.applicationRequest(chip, { evidence: toBase64url(new Uint8Array(9)) });
    expect(await programmer.code(path, uncertified)).toBe('DEVICE_STATE');
    const { csr, bootloader, ...rest } = programmer.steps(chip);
    for (const step of [csr, bootloader]) {
      await step();
      expect(await programmer.code(path, await programmer.applicationRequest(chip))).toBe('DEVICE_STATE');
    }
    await rest['application-key']();
    const request = await programmer.applicationRequest(chip);
    for (const wrong of [{ jobId: '00'.repeat(16) }, { uid: '00'.repeat(16) }, { objId: '00'.repeat(16) }]) {
      expect(await programmer.code(path, { ...request, ...wrong })).toBe('GRANT_REFUSED');
    }
    for (const lacking of ['receipt', 'evidence'] as const)
      expect(await programmer.code(path, { ...request, [lacking]: undefined })).toBe('BAD_REQUEST');
    expect(await devicesEvents(chip.party.uid)).not.toContain('DebugLocked');
    expect(await programmer.code(path, request)).toBe(200);
  });

  it('gives no application of a withdrawn release, nor to a suspended job (I8)', async () => {
    covers('I8');
    await defineProduct(plant, 'valve');
    const builder = await activeProgrammer(plant);
    await builder.begin(await releasedJob(plant, 'valve'), 3);
    const chip = new Chip();
    await builder.build(chip, 'application');
    const request = await builder.applicationRequest(chip);
    const ask = () => builder.code(`units/${chip.grantId}/application`, request);
    await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/suspend`, { reason: 'audit' });
    expect(await ask()).toBe('JOB_NOT_RUNNING');
    await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/resume`);
    const { app } = await plant.ask('pia', 'GET', `/v1/jobs/${builder.jobId}`);
    await plant.ask('rita', 'POST', `/v1/releases/${app.releaseId}/withdraw`, { reason: 'bug' });
    expect(await devicesEvents(chip.party.uid)).not.toContain('DebugLocked');
    expect(await ask()).toBe('RELEASE_STATE');
    // What was proven with the request is recorded all the same.
    expect(await devicesEvents(chip.party.uid)).toEqual(expect.arrayContaining(['DebugLocked', 'ProgrammingSessionAuthenticated']));
  });

  it('takes no boot key or bootloader but the assigned ones (R40, R42)', async () => {
    covers('R40', 'R42');
    const chip = new Chip();
    await programmer.build(chip, 'application-key');
    const proof = chip.bootProof();
    const path = `units/${chip.grantId}/application-key`;
    expect(await programmer.code(path, { ...proof, imageHash: '00'.repeat(32) })).toBe('CONFLICT');
    expect(await programmer.code(path, { ...proof, otp: [{ slot: 0, sha256: '00'.repeat(32) }] })).toBe('CONFLICT');
    expect(await programmer.code(path, { ...proof, otp: proof.otp.slice(0, 1) })).toBe('BAD_REQUEST');
    expect(await programmer.code(path, proof)).toBe(200);
  });

  it('does not believe a receipt without the lock, of another key, nonce or stage (T29)', async () => {
    covers('T29');
    const chip = new Chip();
    await programmer.build(chip, 'application');
    const path = `units/${chip.grantId}/application`;
    const shown = async (receipt: string) => programmer.code(path, await programmer.applicationRequest(chip, { receipt }));
    const lock = async (facts: Parameters<Chip['receipt']>[1], label: Parameters<Chip['receipt']>[0] = 'NuSEC lock receipt') =>
      shown(await chip.receipt(label, facts));
    expect(await lock({ debugState: 'open' })).toBe('RECEIPT_REFUSED');
    expect(await lock({ debugState: 'unlocked' })).toBe('RECEIPT_REFUSED');
    expect(await lock({ otpMask: 0b11100 })).toBe('RECEIPT_REFUSED');
    expect(await lock({ stage: 'devauth' })).toBe('RECEIPT_REFUSED');
    expect(await lock({ uid: fromHex('00'.repeat(16)) })).toBe('RECEIPT_REFUSED');
    expect(await lock({ certificateSha256: new Uint8Array(32) })).toBe('RECEIPT_REFUSED');
    expect(await lock({}, 'NuSEC commit receipt')).toBe('RECEIPT_REFUSED');
    const forger = new Chip(newParty(chip.party.uid));
    Object.assign(forger, { grantId: chip.grantId, objId: chip.objId });
    expect(await shown(await forger.receipt('NuSEC lock receipt'))).toBe('COSE_SIGNATURE');
    expect(await devicesEvents(chip.party.uid)).not.toContain('DebugLocked');
  });

  it('refuses a session that is not with the certified key, or not of this grant (R69, T9)', async () => {
    covers('R69', 'T9');
    const chip = new Chip();
    await programmer.build(chip, 'application');
    const shown = async (evidence: string) =>
      programmer.code(`units/${chip.grantId}/application`, await programmer.applicationRequest(chip, { evidence }));
    expect(await shown(await chip.session(new Uint8Array(32)))).toBe('SPDM_UNEXPECTED');
    const interposer = new Chip();
    await programmer.build(interposer, 'application');
    Object.assign(interposer, { grant: chip.grant });
    expect(await shown(await interposer.session())).toBe('CHAIN_REFUSED');
    expect(await devicesEvents(chip.party.uid)).not.toContain('ProgrammingSessionAuthenticated');
    expect(await programmer.voidUnit(chip, true)).toMatchObject({ remaining: expect.any(Number) });
    expect(await devicesEvents(chip.party.uid)).toEqual(expect.arrayContaining(['DeviceScrapped', 'CertificateRevoked']));
  });

  it('commits only what the receipt proves (RULE-18, I18)', async () => {
    covers('RULE-18', 'I18');
    const next = new Chip();
    await programmer.build(next, 'commit');
    const request = await programmer.commitRequest(next);
    const path = `units/${next.grantId}/commit`;
    const wrong = async (facts: Parameters<Chip['receipt']>[1]) =>
      programmer.code(path, { ...request, receipt: await next.receipt('NuSEC commit receipt', facts) });
    const { version, imageHash, securityCounter } = next.application;
    const app = { image: 2, version: parseVersion(version), sha256: fromHex(imageHash), securityCounter };
    expect(await wrong({ images: [] })).toBe('RECEIPT_REFUSED');
    expect(await wrong({ images: [{ ...app, securityCounter: 4 }] })).toBe('RECEIPT_REFUSED');
    expect(await wrong({ images: [{ ...app, version: parseVersion('1.9.9') }] })).toBe('RECEIPT_REFUSED');
    expect(await wrong({ images: [{ ...app, image: 1 }] })).toBe('RECEIPT_REFUSED');
    expect(await wrong({ stage: 'bl2' })).toBe('RECEIPT_REFUSED');
    expect(await wrong({ debugState: 'open' })).toBe('RECEIPT_REFUSED');
    expect(await programmer.code(path, request)).toBe(200);
    programmer.acknowledged = programmer.records.length;
  });
});

describe('images for programmers', () => {
  it('are for those who have a share of the job only', async () => {
    const stranger = await activeProgrammer(plant);
    const { app } = await plant.ask('pia', 'GET', `/v1/jobs/${programmer.jobId}`);
    expect(await plant.code(stranger.self.certificate, 'GET', `/v1/production/images/${app.imageHash}`)).toBe('NOT_FOUND');
    expect(await plant.code(programmer.self.certificate, 'GET', `/v1/production/images/${app.imageHash}`)).toBe(200);
    const [grant] = (await plant.ctx.store.readAll(0, 100_000)).filter(event => event.type === 'GrantSigned');
    expect(await plant.code(programmer.self.certificate, 'GET', `/v1/production/images/${grant?.data.grantSha256}`)).toBe('NOT_FOUND');
  });

  it('are never served when a stored byte was changed, and are no fault of who asks when they are lost: alarm (T30)', async () => {
    covers('T30');
    await defineProduct(plant, 'sensor');
    const builder = await activeProgrammer(plant);
    await builder.begin(await releasedJob(plant, 'sensor'), 3);
    const { app } = await plant.ask('pia', 'GET', `/v1/jobs/${builder.jobId}`);
    flipBlobBit(plant.dataDir, app.imageHash, 100);
    expect(await plant.code(builder.self.certificate, 'GET', `/v1/production/images/${app.imageHash}`)).toBe('BLOB_DAMAGED');
    const named = async () => {
      const raised = (await plant.ctx.store.readAll(0, 100_000)).filter(
        ({ type, data }) => type === 'AlarmRaised' && data.code === 'FIRMWARE_DAMAGED',
      );
      return raised.map(({ data }) => data.subject);
    };
    expect(await named()).toEqual([`release-${app.releaseId}`]);
    loseBlob(plant.dataDir, app.imageHash);
    expect(await plant.code(builder.self.certificate, 'GET', `/v1/production/images/${app.imageHash}`)).toBe('BLOB_NOT_FOUND');
    await defineProduct(plant, 'probe');
    const [looked] = (await plant.ask('rita', 'GET', '/v1/releases?line=probe')).releases;
    flipBlobBit(plant.dataDir, looked.imageHash, 100);
    expect(await plant.code('rolf', 'GET', `/v1/releases/${looked.releaseId}/analysis`)).toBe('BLOB_DAMAGED');
    expect(await named()).toEqual([`release-${app.releaseId}`, `release-${looked.releaseId}`]);
    expect(statusOf('BLOB_NOT_FOUND')).toBe(500);
  });
});

describe('the ledger', () => {
  it('can be shown to anybody, record by record, from the last one back (R82)', async () => {
    covers('R82');
    const records = programmer.records.slice(0, programmer.acknowledged);
    expect(records.length).toBeGreaterThan(10);
    for (const record of records) expect(Buffer.compare(await plant.ctx.blobs.get(sha256Hex(record)), record)).toBe(0);
  });
});

describe('after a root rollover', () => {
  it('a unit under an issuing CA of the old root gets that root, its trust bundle and its place in OTP', async () => {
    const { ctx, services } = plant;
    const { id } = await proposeCeremony(ctx, { type: 'rollRoot', curve: 'P-384' }, 'operator:alice');
    await approveCeremony(ctx, services.alarms, id, 'operator:bob');
    const chip = new Chip();
    await programmer.reserve(chip);
    const steps = programmer.steps(chip);
    const { root, bundle } = await steps.csr();
    const { spki } = parseCertificate(fromBase64url(root));
    expect((await verifyTrustBundle(fromBase64url(bundle), spki)).roots).toHaveLength(2);
    await steps.bootloader();
    const proof = chip.bootProof();
    const anchored = (der: string) => ({ ...proof, otp: [...proof.otp, { slot: 3, sha256: toHex(sha256(sha256(fromBase64url(der)))) }] });
    const installed = (body: unknown) => programmer.code(`units/${chip.grantId}/application-key`, body);
    const newest = (await authorityOf(ctx)).root.certificate;
    expect(await installed(anchored(newest))).toBe('CONFLICT');
    expect(await installed(anchored(root))).toBe(200);
  });
});
