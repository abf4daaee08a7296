import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { fromBase64url } from '../../../src/bytes.ts';
import { requireSigningKey } from '../../../src/domain/authorityState.ts';
import { signingUses } from '../../../src/domain/signingUse.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import {
  approveCeremony,
  type CeremonyWish,
  ceremonyRecord,
  listCeremonies,
  proposeCeremony,
  withdrawCeremony,
} from '../../../src/services/administration/ceremonies.ts';
import { authorityOf, crossCertificates, rootDer } from '../../../src/services/authority/authority.ts';
import { activeCa, caById } from '../../../src/services/authority/issuingCa.ts';
import { currentTrustBundle, rootForReader } from '../../../src/services/authority/trustBundle.ts';
import { currentCrl, issueCrl } from '../../../src/services/revocation/crl.ts';
import { readCrl } from '../../pki/readCrl.ts';
import { covers } from '../../support/covers.ts';
import { killer, openProject, type Project, type TestDevice, withKills } from '../project.ts';

let project: Project;
beforeAll(async () => {
  project = await openProject(withKills);
});
afterAll(() => project.close());

const [alice, bob] = ['operator:alice', 'operator:bob'];
async function ceremony(wish: CeremonyWish) {
  const { id } = await proposeCeremony(project.ctx, wish, alice);
  return approveCeremony(project.ctx, project.alarms, id, bob);
}
const bundle = async (rootId?: string) => {
  const { roots } = await authorityOf(project.ctx);
  const root = roots.find(known => known.rootId === rootId) ?? roots.at(-1);
  return verifyTrustBundle(
    await currentTrustBundle(project.ctx, await authorityOf(project.ctx), rootId),
    parseCertificate(fromBase64url(root?.certificate ?? '')).spki,
  );
};
const issuersInBundle = async () => (await bundle()).issuers.map(({ icaId }) => icaId);
const trusts = (device: TestDevice) => {
  try {
    return project.trust.judge(device.certificate).id === device.uid;
  } catch (error) {
    return (error as { code?: string }).code;
  }
};
const settled = async () => project.revocations.caughtUp(await project.ctx.store.head());

async function opensslVerify(leaf: Uint8Array, trusted: Uint8Array, between: readonly Uint8Array[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-chain-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const pem = (ders: readonly Uint8Array[]) => ders.map(der => toPem('CERTIFICATE', der)).join('');
  for (const [name, ders] of Object.entries({ leaf: [leaf], trusted: [trusted], between })) writeFileSync(join(folder, name), pem(ders));
  const args = ['verify', '-x509_strict', '-CAfile', 'trusted', '-untrusted', 'between', 'leaf'];
  const { stdout, stderr } = await promisify(execFile)('openssl', args, { cwd: folder }).catch(error => error);
  return `${stdout}${stderr}`;
}

describe('a key ceremony', () => {
  it('needs two people, is recorded, and makes nothing twice', async () => {
    covers('I16');
    const { ctx, alarms } = project;
    const { id } = await proposeCeremony(ctx, { type: 'establishIssuingCa', use: 'programmer' }, alice);
    await expect(approveCeremony(ctx, alarms, id, alice)).rejects.toMatchObject({ code: 'FOUR_EYES_REQUIRED' });
    await expect(proposeCeremony(ctx, { type: 'establishIssuingCa', use: 'programmer' }, bob)).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(ceremonyRecord(ctx, id)).rejects.toMatchObject({ code: 'STATE' });
    const done = await approveCeremony(ctx, alarms, id, bob);
    expect(done).toMatchObject({ status: 'DONE', proposedBy: alice, approvedBy: bob, action: { icaId: 'programmer-2' } });
    expect(await approveCeremony(ctx, alarms, id, bob)).toEqual(done);
    expect((await authorityOf(ctx)).issuingCas.filter(({ use }) => use === 'programmer')).toHaveLength(2);
    const record = await ceremonyRecord(ctx, id);
    const { sha256 } = (await authorityOf(ctx)).issuingCas.find(({ icaId }) => icaId === 'programmer-2') ?? { sha256: '' };
    expect(record).toContain((sha256.match(/.{8}/g) ?? []).join(' '));
    for (const text of ['KEY CEREMONY RECORD', alice, bob, 'programmer-2', 'date and signature']) expect(record).toContain(text);
  });

  it('can be withdrawn, and then is not carried out', async () => {
    const { ctx, alarms } = project;
    const { id } = await proposeCeremony(ctx, { type: 'establishPackageKey' }, alice);
    expect(await withdrawCeremony(ctx, id, alice)).toMatchObject({ status: 'WITHDRAWN' });
    await expect(approveCeremony(ctx, alarms, id, bob)).rejects.toMatchObject({ code: 'STATE' });
    expect((await listCeremonies(ctx))[0]).toMatchObject({ id, status: 'WITHDRAWN' });
  });

  it('that was cut off at any event is carried out to its end, once', async () => {
    const { ctx, alarms } = project;
    for (let point = 1, killed = true; killed; point += 1) {
      const { id, action } = await proposeCeremony(ctx, { type: 'establishIssuingCa', use: 'gateway' }, alice);
      killer.at = point;
      killed = await approveCeremony(ctx, alarms, id, bob).then(
        () => false,
        () => true,
      );
      killer.at = Number.POSITIVE_INFINITY;
      expect(await approveCeremony(ctx, alarms, id, bob)).toMatchObject({ status: 'DONE' });
      const { icaId } = action as { icaId: string };
      expect((await project.eventsOf('IssuingCaEstablished')).filter(({ data }) => data.icaId === icaId)).toHaveLength(1);
      expect(await issuersInBundle()).toContain(icaId);
    }
  });

  it('refuses what makes no sense', async () => {
    const code = (wish: CeremonyWish) =>
      proposeCeremony(project.ctx, wish, alice).then(
        () => 'done',
        error => error.code,
      );
    expect(await code({ type: 'establishIssuingCa', use: 'device' })).toBe('BAD_REQUEST');
    expect(await code({ type: 'establishIssuingCa', use: 'device', line: 'nothing' })).toBe('NOT_FOUND');
    expect(await code({ type: 'establishIssuingCa', use: 'server', line: 'meter' })).toBe('BAD_REQUEST');
    await expect(ceremony({ type: 'activateIssuingCa', icaId: 'nobody' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('generations of an issuing CA', () => {
  let old: TestDevice;
  let young: TestDevice;

  it('overlap: trusted before it issues, trusted after it stopped (R103)', async () => {
    covers('R103');
    old = await project.newDevice();
    const { version } = await bundle();
    await ceremony({ type: 'establishIssuingCa', use: 'device', line: 'meter' });
    expect((await bundle()).version).toBe(version + 1);
    expect(await issuersInBundle()).toEqual(expect.arrayContaining(['device-meter-1', 'device-meter-2']));
    expect((await activeCa(project.ctx, await authorityOf(project.ctx), 'device', 'meter')).icaId).toBe('device-meter-1');
    await ceremony({ type: 'activateIssuingCa', icaId: 'device-meter-2' });
    young = await project.newDevice();
    await settled();
    expect(young.parsed.crlUrl).toMatch(/device-meter-2\.crl$/);
    expect([trusts(old), trusts(young)]).toEqual([true, true]);
    expect((await authorityOf(project.ctx)).issuingCas.find(({ icaId }) => icaId === 'device-meter-1')?.status).toBe('RETIRED');
    expect((await issueCrl(project.ctx, 'device-meter-1')).number).toBeGreaterThan(0);
    await expect(ceremony({ type: 'activateIssuingCa', icaId: 'device-meter-1' })).rejects.toMatchObject({ code: 'CA_NOT_ACTIVE' });
  });

  it('end at once when one is compromised (I10)', async () => {
    covers('I10');
    await ceremony({ type: 'compromiseIssuingCa', icaId: 'device-meter-1', reason: 'its backup was lost' });
    await settled();
    await expect.poll(() => [trusts(old), trusts(young)]).toEqual(['CHAIN_REFUSED', true]);
    expect(await issuersInBundle()).not.toContain('device-meter-1');
    const root = parseCertificate(rootDer(await authorityOf(project.ctx)));
    const { serialHex } = (await caById(project.ctx, await authorityOf(project.ctx), 'device-meter-1')).certificate;
    expect(readCrl((await currentCrl(project.ctx, 'root')).full, root, Date.now()).entries).toContainEqual(
      expect.objectContaining({ serialHex, reason: 'cACompromise' }),
    );
    await expect(issueCrl(project.ctx, 'device-meter-1')).rejects.toMatchObject({ code: 'CA_NOT_ACTIVE' });
    expect((await project.eventsOf('AlarmRaised')).map(({ data }) => data.code)).toContain('CA_COMPROMISED');
  });

  it('leave none to issue when the active one is compromised, until the next is activated', async () => {
    await ceremony({ type: 'compromiseIssuingCa', icaId: 'device-meter-2', reason: 'test' });
    await expect(project.newDevice()).rejects.toMatchObject({ code: 'CA_NOT_ACTIVE' });
    await ceremony({ type: 'establishIssuingCa', use: 'device', line: 'meter' });
    await ceremony({ type: 'activateIssuingCa', icaId: 'device-meter-3' });
    expect((await project.newDevice()).parsed.kind).toBe('device');
  });
});

describe('signing keys', () => {
  it('follow one another; a compromised one leaves the trust bundle', async () => {
    const usesInBundle = async () => (await bundle()).signingKeys.map(({ uses }) => uses.join());
    expect(await usesInBundle()).toEqual(signingUses);
    await ceremony({ type: 'establishPackageKey' });
    expect(await usesInBundle()).toEqual([...signingUses, ...signingUses]);
    await ceremony({ type: 'compromisePackageKey', keyId: 'package/1', reason: 'test' });
    expect(await usesInBundle()).toEqual([...signingUses.slice(1), ...signingUses]);
  });

  it('of one use are replaced without the others', async () => {
    const { action, outcome } = await ceremony({ type: 'establishPackageKey', use: 'otaJob' });
    expect(action).toMatchObject({ keyId: 'ota-job/3', use: 'otaJob' });
    expect(Object.keys(outcome ?? {})).toContain('ota-job/3 SHA-256');
    const state = await authorityOf(project.ctx);
    expect(requireSigningKey(state, 'otaJob').keyId).toBe('ota-job/3');
    expect(requireSigningKey(state, 'grant').keyId).toBe('grant/2');
  });
});

describe('the next root', () => {
  it('is certified by the one before and certifies it: whoever trusts one believes both', async () => {
    const { ctx } = project;
    const before = await project.newDevice();
    const oldRoot = rootDer(await authorityOf(ctx));
    await ceremony({ type: 'rollRoot' });
    const newRoot = rootDer(await authorityOf(ctx));
    expect(newRoot).not.toEqual(oldRoot);
    await ceremony({ type: 'establishIssuingCa', use: 'device', line: 'meter' });
    await ceremony({ type: 'activateIssuingCa', icaId: 'device-meter-4' });
    const after = await project.newDevice();
    await settled();
    expect(after.root).toEqual(newRoot);
    const between = crossCertificates(await authorityOf(ctx));
    expect(await opensslVerify(after.certificate, oldRoot, [after.ica, ...between])).toMatch(/: OK\n$/);
    expect(await opensslVerify(before.certificate, newRoot, [before.ica, ...between])).toMatch(/: OK\n$/);
    expect(await opensslVerify(after.certificate, newRoot, [after.ica])).toMatch(/: OK\n$/);
    await expect.poll(() => [trusts(before), trusts(after)]).toEqual([true, true]);
    expect(readCrl((await currentCrl(ctx, 'root-2')).full, parseCertificate(newRoot), Date.now()).entries).toEqual([]);
  });

  it('leads the trust bundle to those who know only the old one', async () => {
    const { ctx } = project;
    const [byOld, byNew] = [await bundle('root'), await bundle('root-2')];
    expect(byOld).toEqual(byNew);
    expect(byOld.roots).toHaveLength(2);
    const device = await project.newDevice();
    expect(rootForReader(await authorityOf(ctx), device.certificate)).toBe('root-2');
    expect(rootForReader(await authorityOf(ctx), undefined)).toBe('root');
    expect(rootForReader(await authorityOf(ctx), new Uint8Array(3))).toBe('root');
  });

  it('takes over when the old one is retired, which nothing active may hang on', async () => {
    const { ctx } = project;
    await expect(ceremony({ type: 'retireRoot', rootId: 'root' })).rejects.toMatchObject({ code: 'STATE' });
    for (const use of ['server', 'programmer', 'gateway'] as const) {
      const { action } = await ceremony({ type: 'establishIssuingCa', use });
      await ceremony({ type: 'activateIssuingCa', icaId: (action as { icaId: string }).icaId });
    }
    const { id } = (await listCeremonies(ctx)).find(({ action }) => action.type === 'retireRoot') ?? { id: '' };
    expect(await approveCeremony(ctx, project.alarms, id, bob)).toMatchObject({ status: 'DONE' });
    expect((await bundle()).roots).toHaveLength(1);
    await expect(currentTrustBundle(ctx, await authorityOf(ctx), 'root')).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await expect.poll(async () => trusts(await project.newDevice())).toBe(true);
  });
});
