import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { authority, authorityStream } from '../../../src/domain/authority.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { fromPem } from '../../../src/pki/pem.ts';
import { establishIssuingCa } from '../../../src/services/authority/issuingCa.ts';
import { execute } from '../../../src/services/base/context.ts';
import { serverIdentity, startTlsRenewal, type TlsIdentity } from '../../../src/services/identity/serverCertificate.ts';
import { tlsFile } from '../../../src/services/identity/tlsFile.ts';
import { openProject, type Project } from '../project.ts';

const dayMs = 86_400_000;
let project: Project;
let file: string;
beforeEach(async () => {
  project = await openProject();
  file = join(project.dataDir, 'tls.identity');
});
afterEach(() => project.close());

const leafOf = ({ cert }: TlsIdentity) => parseCertificate(fromPem('CERTIFICATE', cert)[0] as Uint8Array);
const names = ['nusec.example', '192.0.2.1'];
const parts = () => ({ ctx: project.ctx, alarms: project.alarms, file: tlsFile(project.ctx, file) });
const identity = (of = names) => serverIdentity(parts(), of);
const alarmCodes = async () => (await project.eventsOf('AlarmRaised')).map(({ data }) => data.code);

describe('the TLS certificate of the server', () => {
  it('is for its names and a year, with the chain, and survives a restart', async () => {
    const first = await identity();
    expect(leafOf(first)).toMatchObject({ kind: 'server', dnsNames: ['nusec.example', 'localhost'] });
    expect(leafOf(first).ipAddresses).toHaveLength(3);
    expect(Date.parse(first.notAfter) - Date.now()).toBeGreaterThan(364 * dayMs);
    expect(fromPem('CERTIFICATE', first.cert)).toHaveLength(2);
    expect(await identity()).toEqual(first);
    expect(await project.eventsOf('ServerCertificateIssued')).toHaveLength(1);
  });

  it('is issued anew for other names, in the last third of its life, and under the next issuing CA', async () => {
    const seen = [await identity()];
    seen.push(await identity(['other.example']));
    project.moveClock(250 * dayMs);
    seen.push(await identity(['other.example']));
    await establishIssuingCa(project.ctx, 'server');
    seen.push(await identity(['other.example']));
    expect(new Set(seen.map(each => leafOf(each).serialHex)).size).toBe(4);
    expect(leafOf(seen[3] as TlsIdentity).issuer.commonName).toContain('server-2');
  });

  it('lies in a file of mode 600, with a key that opens only with the keystore and for this certificate', async () => {
    const { key } = await identity();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const text = readFileSync(file, 'utf8');
    const scalar = Buffer.from(key.split('\n').slice(1, -2).join(''), 'base64').subarray(36, 68);
    expect(Buffer.from(JSON.parse(text).sealedKey, 'base64url').includes(scalar)).toBe(false);
    const other = { ...JSON.parse(text), certificate: JSON.parse(text).ica };
    for (const damaged of [JSON.stringify(other), text.slice(0, 100), '{}']) {
      writeFileSync(file, damaged, { mode: 0o600 });
      expect(await tlsFile(project.ctx, file).load()).toBeUndefined();
    }
    expect(leafOf(await identity()).kind).toBe('server');
  });

  it('is renewed while the server runs as soon as its issuing CA changes; trouble is an alarm', async () => {
    const applied: TlsIdentity[] = [];
    const renewal = startTlsRenewal({ ...parts(), trust: project.trust }, names, await identity(), next => void applied.push(next));
    await establishIssuingCa(project.ctx, 'gateway');
    const { icaId } = await establishIssuingCa(project.ctx, 'server');
    await expect.poll(() => applied.length).toBe(1);
    expect(leafOf(applied[0] as TlsIdentity).issuer.commonName).toContain(icaId);
    const compromise = { type: 'CompromiseIssuingCa', icaId, reason: 'test', by: 'operator:alice' } as const;
    await execute(project.ctx, authority, authorityStream(project.ctx.project), compromise, 'operator:alice');
    await expect.poll(alarmCodes).toContain('TLS_NOT_RENEWED');
    await renewal.close();
    expect(applied).toHaveLength(1);
  });

  it('that ended with its issuing CA is still there to start with, and none at all does not stop the start', async () => {
    const last = await identity();
    project.moveClock(4100 * dayMs);
    expect(leafOf(await identity())).toEqual(leafOf(last));
    writeFileSync(file, 'x', { mode: 0o600 });
    expect(await identity()).toMatchObject({ key: '', cert: '', clientRootsPem: expect.stringContaining('BEGIN') });
    expect(await alarmCodes()).toContain('TLS_NOT_RENEWED');
    await establishIssuingCa(project.ctx, 'server');
    expect(leafOf(await identity()).issuer.commonName).toContain('server-2');
  });
});
