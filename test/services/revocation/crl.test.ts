import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CertificateRevocationList } from 'pkijs';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { authority, authorityStream } from '../../../src/domain/authority.ts';
import { gateway, gatewayStream } from '../../../src/domain/gateway.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { caById } from '../../../src/services/authority/issuingCa.ts';
import { type Context, execute } from '../../../src/services/base/context.ts';
import { certifyGateway } from '../../../src/services/identity/enrolment.ts';
import { currentCrl, issueCrl } from '../../../src/services/revocation/crl.ts';
import { startCrlSchedule } from '../../../src/services/revocation/crlSchedule.ts';
import { readCrl } from '../../pki/readCrl.ts';
import { covers } from '../../support/covers.ts';
import { newParty } from '../parties.ts';
import { openProject, type Project, requestOf } from '../project.ts';

let project: Project;
let failSigning = false;
/** The keystore of this project fails when told to. */
const withFaults = (ctx: Context): Context => ({
  ...ctx,
  keystore: {
    ...ctx.keystore,
    sign: (id, message) => (failSigning ? Promise.reject(new Error('the token is gone')) : ctx.keystore.sign(id, message)),
  },
});
beforeAll(async () => {
  project = await openProject(withFaults);
});
afterAll(() => project.close());

const dayMs = 86_400_000;
const device = 'device-meter-1';
const get = async (path: string, headers: Record<string, string> = {}) => {
  const response = await fetch(`${project.url}${path}`, { headers });
  return { status: response.status, headers: response.headers, der: new Uint8Array(await response.arrayBuffer()) };
};
const listOf = async (path: string, icaId: string) => {
  const ca = await caById(project.ctx, await authorityOf(project.ctx), icaId);
  return readCrl((await get(path)).der, ca.certificate, project.ctx.clock().getTime());
};
const serialsOf = async (path: string, icaId: string) => (await listOf(path, icaId)).entries.map(({ serialHex }) => serialHex);

describe('revocation lists over plain HTTP', () => {
  it('exist for every issuing CA and for the root, which the certificates of issuing CAs point to', async () => {
    const ca = await caById(project.ctx, await authorityOf(project.ctx), device);
    expect(ca.certificate.crlUrl).toMatch(/\/crl\/root\.crl$/);
    const root = await get('/crl/root.crl');
    expect(root.headers.get('Content-Type')).toBe('application/pkix-crl');
    expect(await listOf('/crl/root.crl', 'root')).toMatchObject({ entries: [] });
    for (const icaId of ['server-1', 'programmer-1', 'gateway-1', device]) expect((await get(`/crl/${icaId}.crl`)).status).toBe(200);
    expect((await get('/crl/nobody.crl')).status).toBe(404);
    expect((await get('/crl/..%2Froot.crl')).status).toBe(404);
  });

  it('make openssl refuse a revoked device with full and delta list, authorities checked too', async () => {
    covers('R86');
    const [good, revoked] = [await project.newDevice(), await project.newDevice()];
    await issueCrl(project.ctx, device, true);
    await project.revoke(revoked);
    await issueCrl(project.ctx, device);
    const folder = mkdtempSync(join(tmpdir(), 'nusec-crl-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const lists = await Promise.all(['/crl/root.crl', `/crl/${device}.crl`, `/delta/${device}.crl`].map(path => get(path)));
    const files: Record<string, string> = {
      'ca.pem': toPem('CERTIFICATE', good.root) + toPem('CERTIFICATE', good.ica),
      'good.pem': toPem('CERTIFICATE', good.certificate),
      'revoked.pem': toPem('CERTIFICATE', revoked.certificate),
      'crls.pem': lists.map(({ der }) => toPem('X509 CRL', der)).join(''),
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    const verify = async (leaf: string) => {
      const args = [
        'verify',
        '-x509_strict',
        '-crl_check_all',
        '-extended_crl',
        '-use_deltas',
        '-CRLfile',
        'crls.pem',
        '-CAfile',
        'ca.pem',
        leaf,
      ];
      const { stdout, stderr } = await promisify(execFile)('openssl', args, { cwd: folder }).catch(error => error);
      return `${stdout}${stderr}`;
    };
    expect(await verify('good.pem')).toBe('good.pem: OK\n');
    expect(await verify('revoked.pem')).toContain('certificate revoked');
    expect(await serialsOf(`/delta/${device}.crl`, device)).toEqual([revoked.parsed.serialHex]);
    for (const { der } of lists)
      expect(CertificateRevocationList.fromBER(Uint8Array.from(der)).crlExtensions?.extensions.length).toBeGreaterThan(1);
  });

  it('carry a suspended gateway on hold and take it off again, in the delta list as removeFromCRL', async () => {
    const { ctx } = project;
    const [id, by] = ['gw-1', 'operator:alice'];
    const change = (command: Parameters<typeof gateway.decide>[0]) => execute(ctx, gateway, gatewayStream(id), command, by);
    await change({ type: 'RegisterGateway', gatewayId: id, name: 'first', by });
    const party = newParty();
    const { certificate } = await certifyGateway(ctx, id, requestOf(party, { commonName: id }), by);
    const { serialHex } = parseCertificate(certificate);
    await issueCrl(ctx, 'gateway-1', true);
    await change({ type: 'SuspendGateway', reason: 'moved', by });
    await issueCrl(ctx, 'gateway-1');
    expect((await listOf('/crl/gateway-1.crl', 'gateway-1')).entries).toMatchObject([{ serialHex, reason: 'certificateHold' }]);
    await change({ type: 'ResumeGateway', by });
    await issueCrl(ctx, 'gateway-1');
    expect((await listOf('/crl/gateway-1.crl', 'gateway-1')).entries).toEqual([]);
    expect((await listOf('/delta/gateway-1.crl', 'gateway-1')).entries).toMatchObject([{ serialHex, reason: 'removeFromCRL' }]);
  });

  it('lose an entry a week after its certificate has expired, with the next base, and not before', async () => {
    const { ctx } = project;
    const id = 'gw-over';
    const by = 'operator:alice';
    const party = newParty();
    await execute(ctx, gateway, gatewayStream(id), { type: 'RegisterGateway', gatewayId: id, name: id, by }, by);
    const { certificate } = await certifyGateway(ctx, id, requestOf(party, { commonName: id }), by);
    const { serialHex, notAfter } = parseCertificate(certificate);
    await execute(ctx, gateway, gatewayStream(id), { type: 'RevokeGateway', reason: 'sold', by }, by);
    const untilEndMs = Date.parse(notAfter) - ctx.clock().getTime();
    onTestFinished(() => project.moveClock(-untilEndMs - 8 * dayMs));
    const isListed = async (newBase: boolean) => {
      await issueCrl(ctx, 'gateway-1', newBase);
      return (await serialsOf('/crl/gateway-1.crl', 'gateway-1')).includes(serialHex);
    };
    expect(await isListed(true)).toBe(true);
    project.moveClock(untilEndMs + 6 * dayMs);
    expect(await isListed(true)).toBe(true);
    project.moveClock(2 * dayMs);
    expect(await isListed(false)).toBe(true);
    expect(await isListed(true)).toBe(false);
  });

  it('are cacheable: the same tag gives 304', async () => {
    const tag = (await get('/crl/root.crl')).headers.get('ETag') ?? '';
    for (const tags of [tag, `W/${tag}`, `"other", ${tag}`, '*'])
      expect((await get('/crl/root.crl', { 'If-None-Match': tags })).status, tags).toBe(304);
    const modified = (await get('/crl/root.crl')).headers.get('Last-Modified') ?? '';
    expect((await get('/crl/root.crl', { 'If-Modified-Since': modified })).status).toBe(304);
    const before = new Date(Date.parse(modified) - 1000).toUTCString();
    for (const fresh of [{ 'If-None-Match': '"other"' }, { 'If-Modified-Since': before }, { 'If-Modified-Since': 'x' }])
      expect((await get('/crl/root.crl', fresh)).status, JSON.stringify(fresh)).toBe(200);
    expect((await get('/crl/root.crl', { 'If-None-Match': '"other"', 'If-Modified-Since': modified })).status).toBe(200);
    expect((await fetch(`${project.url}/crl/root.crl`, { method: 'HEAD' })).headers.get('Content-Length')).toMatch(/^\d{3}$/);
    expect((await fetch(`${project.url}/crl/root.crl`, { method: 'POST' })).status).toBe(405);
  });

  it('are signed anew when their blobs are gone', async () => {
    const { number, sha256 } = await currentCrl(project.ctx, device);
    const elsewhere = { ...project.ctx, store: { ...project.ctx.store } };
    await project.ctx.blobs.delete(sha256);
    const { number: next, full } = await currentCrl(elsewhere, device);
    expect(next).toBeGreaterThan(number);
    expect(full.length).toBeGreaterThan(100);
  });

  it('share one signature when many revocations come together, and miss none', async () => {
    const lists = async () => (await project.eventsOf('CrlIssued')).filter(({ data }) => data.icaId === device).length;
    await currentCrl(project.ctx, device);
    const before = await lists();
    const devices = await Promise.all(Array.from({ length: 20 }, () => project.newDevice()));
    await Promise.all(devices.map(async each => project.revoke(each).then(() => issueCrl(project.ctx, device))));
    expect((await lists()) - before).toBeLessThan(20);
    expect(await serialsOf(`/crl/${device}.crl`, device)).toEqual(expect.arrayContaining(devices.map(({ parsed }) => parsed.serialHex)));
  });
});

describe('the schedule of revocation lists', () => {
  const schedule = () => {
    const running = startCrlSchedule(project.ctx, project.revocations, project.alarms);
    onTestFinished(() => running.close());
    return running;
  };

  it('signs soon after a revocation, without being asked', async () => {
    schedule();
    const each = await project.newDevice();
    await project.revoke(each);
    await expect.poll(() => serialsOf(`/crl/${device}.crl`, device)).toContain(each.parsed.serialHex);
  });

  it('tries a list again that could not be signed after a revocation, also where the alarm could not be stored (R86)', async () => {
    covers('R86');
    const raise = vi.fn((_: unknown) => Promise.reject(new Error('the disk is full')));
    const running = startCrlSchedule(project.ctx, project.revocations, { raise, ended() {} }, 20);
    onTestFinished(() => running.close());
    await running.check();
    const each = await project.newDevice();
    failSigning = true;
    await project.revoke(each);
    await expect.poll(() => raise.mock.calls.length).toBeGreaterThan(1);
    expect(await serialsOf(`/crl/${device}.crl`, device)).not.toContain(each.parsed.serialHex);
    failSigning = false;
    await expect.poll(() => serialsOf(`/crl/${device}.crl`, device)).toContain(each.parsed.serialHex);
  });

  it('signs what the process that led before was killed in front of (R86, T33)', async () => {
    covers('R86', 'T33');
    const before = schedule();
    await before.check();
    await before.close();
    const each = await project.newDevice();
    await project.revoke(each);
    expect(await serialsOf(`/crl/${device}.crl`, device)).not.toContain(each.parsed.serialHex);
    await schedule().check();
    expect(await serialsOf(`/crl/${device}.crl`, device)).toContain(each.parsed.serialHex);
  });

  it('signs all lists anew when half of their life is over', async () => {
    const running = schedule();
    await running.check();
    const numbers = async () => Promise.all(['root', 'server-1', device].map(async id => (await listOf(`/crl/${id}.crl`, id)).number));
    const before = await numbers();
    await running.check();
    expect(await numbers()).toEqual(before);
    project.moveClock(4 * dayMs);
    await running.check();
    for (const [index, number] of (await numbers()).entries()) expect(number).toBeGreaterThan(before[index] ?? Number.POSITIVE_INFINITY);
  });

  it('raises an alarm when a list cannot be signed, serves the last one, and goes on when it can', async () => {
    const running = schedule();
    project.moveClock(4 * dayMs);
    failSigning = true;
    await running.check();
    const alarms = (await project.eventsOf('AlarmRaised')).map(({ data }) => data);
    expect(alarms).toContainEqual({ code: 'CRL_NOT_SIGNED', subject: device, detail: 'revocation list not signed: the token is gone' });
    const { number } = await listOf(`/crl/${device}.crl`, device);
    failSigning = false;
    await running.check();
    expect((await listOf(`/crl/${device}.crl`, device)).number).toBeGreaterThan(number);
  });

  it('raises no alarm about a revocation under an authority that is compromised: that signs no list any more', async () => {
    const { ctx } = project;
    const compromise = (icaId: string) => {
      const command = { type: 'CompromiseIssuingCa', icaId, reason: 'test', by: 'operator:alice' } as const;
      return execute(ctx, authority, authorityStream(ctx.project), command, 'operator:alice');
    };
    const running = schedule();
    const each = await project.newDevice();
    await compromise(device);
    await project.revoke(each);
    const id = 'gateway-hall-9';
    const by = 'operator:alice';
    await execute(ctx, gateway, gatewayStream(id), { type: 'RegisterGateway', gatewayId: id, name: id, by }, by);
    await certifyGateway(ctx, id, requestOf(newParty(), { commonName: id }), by);
    const lists = async () => (await project.eventsOf('CrlIssued')).filter(({ data }) => data.icaId === 'gateway-1').length;
    const before = await lists();
    await execute(ctx, gateway, gatewayStream(id), { type: 'RevokeGateway', reason: 'sold', by }, by);
    // Signed by the schedule, which looked at the other list before.
    await expect.poll(lists).toBeGreaterThan(before);
    await running.close();
    const details = (await project.eventsOf('AlarmRaised')).map(({ data }) => data.detail);
    expect(details).not.toContainEqual(expect.stringContaining('COMPROMISED'));
  });

  it('signs nothing for an authority that is over or compromised, which then is on the list of the root', async () => {
    const { ctx } = project;
    const command = { type: 'CompromiseIssuingCa', icaId: 'programmer-1', reason: 'test', by: 'operator:alice' } as const;
    await execute(ctx, authority, authorityStream(ctx.project), command, 'operator:alice');
    await expect(issueCrl(ctx, 'programmer-1')).rejects.toMatchObject({ code: 'CA_NOT_ACTIVE' });
    await issueCrl(ctx, 'root');
    const { certificate } = await caById(ctx, await authorityOf(ctx), 'programmer-1');
    const entry = expect.objectContaining({ serialHex: certificate.serialHex, reason: 'cACompromise' });
    expect((await listOf('/crl/root.crl', 'root')).entries).toContainEqual(entry);
    project.moveClock(4020 * dayMs);
    await expect(issueCrl(ctx, 'gateway-1')).rejects.toMatchObject({ code: 'CERTIFICATE_EXPIRED' });
    expect((await get('/crl/gateway-1.crl')).status).toBe(200);
  });

  it('has nothing to do, and no alarm each time it looks, for an authority whose time is over', async () => {
    const running = schedule();
    const before = (await project.eventsOf('AlarmRaised')).length;
    await running.check();
    expect(await project.eventsOf('AlarmRaised')).toHaveLength(before);
    expect((await listOf('/crl/root.crl', 'root')).number).toBeGreaterThan(0);
  });
});
