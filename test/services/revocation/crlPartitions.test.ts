import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { certificatesPerList } from '../../../src/domain/crlList.ts';
import { deviceStream } from '../../../src/domain/device.ts';
import { storeStream } from '../../../src/domain/storeEvents.ts';
import { newEvent } from '../../../src/eventstore/recorded.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { establishIssuingCa } from '../../../src/services/authority/issuingCa.ts';
import { currentCrl, issueCrl } from '../../../src/services/revocation/crl.ts';
import { startCrlSchedule } from '../../../src/services/revocation/crlSchedule.ts';
import { type Crl, readCrl } from '../../pki/readCrl.ts';
import { covers } from '../../support/covers.ts';
import { newUid } from '../parties.ts';
import { openProject, type Project, type TestDevice } from '../project.ts';

const ica = 'device-meter-1';
const second = `${ica}/1`;
const by = 'system:test';
const eventsAtOnce = 1000;

let project: Project;
/** Certified before and after the first partition was full. */
let [early, lateGood, lateBad] = [] as unknown as [TestDevice, TestDevice, TestDevice];
let listBefore: Crl;
beforeAll(async () => {
  project = await openProject();
  await establishIssuingCa({ ...project.ctx, crlBaseUrl: 'http://old.example:8080' }, 'device', 'older');
  early = await project.newDevice();
  listBefore = await read(ica);
  await fillPartition();
  project.moveClock(1000);
  [lateGood, lateBad] = [await project.newDevice(), await project.newDevice()];
});
afterAll(() => project.close());

/** As many certificates as are missing, in the inventory only. */
async function fillPartition(): Promise<void> {
  const { ctx } = project;
  const at = ctx.clock().toISOString();
  const certified = () => {
    const [serial, certificateSha256] = [newUid(), `${newUid()}${newUid()}`];
    const data = { serial, certificateSha256, publicKeySha256: certificateSha256, icaId: ica, notAfter: '9999-12-31T23:59:59.000Z' };
    return newEvent('DeviceCertified', { ...data, uid: newUid(), objId: newUid() }, { id: ctx.newId(), at, by });
  };
  for (let left = certificatesPerList - 1; left > 0; left -= eventsAtOnce) {
    const events = Array.from({ length: Math.min(eventsAtOnce, left) }, certified);
    await ctx.store.append(deviceStream(newUid()), 'none', events);
  }
  await ctx.reads.waitFor(await ctx.store.head());
}

const get = (path: string) => fetch(`${project.url}${path}`);
async function read(listId: string, kind: 'crl' | 'delta' = 'crl'): Promise<Crl> {
  const der = new Uint8Array(await (await get(`/${kind}/${listId}.crl`)).arrayBuffer());
  return readCrl(der, parseCertificate(early.ica), project.ctx.clock().getTime());
}
const serialsOn = async (listId: string) => (await read(listId)).entries.map(({ serialHex }) => serialHex);
const urlOf = (listId: string) => `${project.ctx.crlBaseUrl}/crl/${listId}.crl`;

/** @returns what a verifier says of these devices who has these lists */
async function judge(
  command: string,
  argsOf: (leaf: string) => readonly string[],
  listIds: readonly string[],
  devices: readonly TestDevice[],
) {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-partitions-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const lists = await Promise.all(listIds.map(async id => toPem('X509 CRL', (await currentCrl(project.ctx, id)).full)));
  writeFileSync(join(folder, 'crls.pem'), lists.join(''));
  writeFileSync(join(folder, 'ca.pem'), toPem('CERTIFICATE', early.root) + toPem('CERTIFICATE', early.ica));
  writeFileSync(join(folder, 'ica.pem'), toPem('CERTIFICATE', early.ica));
  return Promise.all(
    devices.map(async ({ certificate }, index) => {
      const leaf = `${index}.pem`;
      writeFileSync(join(folder, leaf), toPem('CERTIFICATE', certificate));
      const { stdout, stderr } = await promisify(execFile)(command, argsOf(leaf), { cwd: folder }).catch(error => error);
      return `${stdout}${stderr}`;
    }),
  );
}
const openssl = (listIds: readonly string[], devices: readonly TestDevice[], ...more: readonly string[]) => {
  const argsOf = (leaf: string) => ['verify', '-x509_strict', '-crl_check', ...more, '-CRLfile', 'crls.pem', '-CAfile', 'ca.pem', leaf];
  return judge('openssl', argsOf, listIds, devices);
};

describe('revocation lists of an authority with more certificates than one list may have', () => {
  it('divide them: what is issued when the first list may be full names the next one', () => {
    covers('R86', 'RULE-16');
    expect(early.parsed.crlUrl).toBe(urlOf(ica));
    expect(lateGood.parsed.crlUrl).toBe(urlOf(second));
    expect(lateBad.parsed.crlUrl).toBe(urlOf(second));
  });

  it('have only the certificates of their partition, and say so; the first one is no longer that of all', async () => {
    expect(listBefore.urls).toBeUndefined();
    await project.revoke(lateBad);
    await issueCrl(project.ctx, second);
    expect(await read(second)).toMatchObject({ entries: [{ serialHex: lateBad.parsed.serialHex }], urls: [urlOf(second)] });
    const first = await read(ica);
    expect(first).toMatchObject({ entries: [], urls: expect.arrayContaining([urlOf(ica)]) });
    expect(first.number).toBeGreaterThan(listBefore.number);
    await project.revoke(early);
    await issueCrl(project.ctx, ica);
    expect(await serialsOn(ica)).toEqual([early.parsed.serialHex]);
    expect(await serialsOn(second)).toEqual([lateBad.parsed.serialHex]);
  });

  it('have delta lists of the same partition', async () => {
    const { urls, baseNumber, entries } = await read(ica, 'delta');
    expect({ urls, entries }).toMatchObject({
      urls: expect.arrayContaining([urlOf(ica)]),
      entries: [{ serialHex: early.parsed.serialHex }],
    });
    expect(baseNumber).toBeGreaterThan(listBefore.number);
    expect((await read(second, 'delta')).urls).toEqual([urlOf(second)]);
  });

  it('are understood by openssl: each certificate is judged by its own list, and by no other', async () => {
    const devices = [early, lateGood, lateBad];
    for (const more of [[], ['-extended_crl']]) {
      const [first, good, bad] = await openssl([ica, second], devices, ...more);
      expect(first).toContain('certificate revoked');
      expect(good).toBe('1.pem: OK\n');
      expect(bad).toContain('certificate revoked');
    }
    const [first, good, bad] = await openssl([ica], devices);
    expect(first).toContain('certificate revoked');
    for (const said of [good, bad]) expect(said).toContain('different CRL scope');
  });

  it('are whole for GnuTLS', async ctx => {
    const args = () => ['--verify-crl', '--load-ca-certificate', 'ica.pem', '--infile', 'crls.pem'];
    const [said = ''] = await judge('certtool', args, [second], [early]);
    if (said.includes('undefined')) ctx.skip('certtool is not installed (Debian package gnutls-bin)');
    expect(said).toContain('Verified');
  });

  it('are there for partitions that have certificates, and for no others', async () => {
    expect((await get(`/crl/${second}.crl`)).status).toBe(200);
    for (const path of [`/crl/${ica}/2.crl`, `/delta/${ica}/2.crl`, `/crl/${ica}/0.crl`, `/crl/${ica}/01.crl`, '/crl/nobody/1.crl'])
      expect((await get(path)).status, path).toBe(404);
    const { crls } = await authorityOf(project.ctx);
    expect(crls.filter(({ icaId }) => icaId === ica).map(({ crlPartition }) => crlPartition)).toEqual(
      expect.arrayContaining([undefined, 1]),
    );
  });

  it('have numbers that rise on their own', async () => {
    const [first, other] = [await read(ica), await read(second)];
    const { number } = await issueCrl(project.ctx, second);
    expect(number).toBeGreaterThan(other.number);
    expect((await read(ica)).number).toBe(first.number);
  });

  it('are signed by the schedule after a revocation, each when one of its own was revoked', async () => {
    const schedule = startCrlSchedule(project.ctx, project.revocations, project.alarms);
    onTestFinished(() => schedule.close());
    const one = await project.newDevice();
    const { number } = await read(ica);
    await project.revoke(one);
    await expect.poll(() => serialsOn(second)).toContain(one.parsed.serialHex);
    expect((await read(ica)).number).toBe(number);
  });

  it('name every address under which certificates of theirs were issued', async () => {
    expect((await read(ica)).urls).toEqual([urlOf(ica), 'http://old.example:8080/crl/device-meter-1.crl']);
    const renamed = { ...project.ctx, crlBaseUrl: 'http://new.example:8080' };
    const { full } = await currentCrl(renamed, second);
    const { urls } = readCrl(full, parseCertificate(early.ica), project.ctx.clock().getTime());
    expect(urls).toEqual([urlOf(second), 'http://new.example:8080/crl/device-meter-1/1.crl']);
    expect((await openssl([second], [lateGood]))[0]).toBe('0.pem: OK\n');
  });

  it('have what an older store had forgotten on the list that the certificate names (T34)', async () => {
    covers('T34');
    const { ctx } = project;
    const at = ctx.clock().toISOString();
    const [serial, subject, sha256] = [newUid(), newUid(), `${newUid()}${newUid()}`];
    const times = { issuedAt: at, notAfter: '9999-12-31T23:59:59.000Z', revokedAt: at };
    const data = { serial, kind: 'device' as const, subject, icaId: ica, crlPartition: 3, sha256, ...times, reason: 'keyCompromise' };
    await ctx.store.append(storeStream, 'any', [newEvent('CertificateRevocationRestored', data, { id: ctx.newId(), at, by })]);
    expect(await serialsOn(`${ica}/3`)).toEqual([serial]);
    expect(await serialsOn(`${ica}/2`)).toEqual([]);
  });
});
