import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { authority, authorityStream } from '../../../src/domain/authority.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { fromPem } from '../../../src/pki/pem.ts';
import { establishIssuingCa } from '../../../src/services/authority/issuingCa.ts';
import { execute } from '../../../src/services/base/context.ts';
import { issueServerIdentity, startTlsRenewal, type TlsIdentity } from '../../../src/services/identity/serverCertificate.ts';
import { openProject, type Project } from '../project.ts';

const dayMs = 86_400_000;
let project: Project;
beforeAll(async () => {
  project = await openProject();
});
afterAll(() => project.close());
beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }));
afterEach(() => void vi.useRealTimers());

const leafOf = ({ cert }: TlsIdentity) => parseCertificate(fromPem('CERTIFICATE', cert)[0] as Uint8Array);
const names = ['nusec.example', '192.0.2.1'];

describe('the TLS certificate of the server', () => {
  it('is for its names and a year, on a key of its own, with the chain', async () => {
    const [one, two] = [await issueServerIdentity(project.ctx, names), await issueServerIdentity(project.ctx, names)];
    expect(leafOf(one)).toMatchObject({ kind: 'server', dnsNames: ['nusec.example', 'localhost'] });
    expect(leafOf(one).ipAddresses).toHaveLength(3);
    expect(leafOf(one).spki).not.toEqual(leafOf(two).spki);
    expect(Date.parse(one.notAfter) - Date.now()).toBeGreaterThan(364 * dayMs);
    expect(fromPem('CERTIFICATE', one.cert)).toHaveLength(2);
  });

  it('renews itself every 15 days, and at once when its issuing CA changes; trouble is an alarm', async () => {
    const applied: TlsIdentity[] = [];
    const renewal = startTlsRenewal(project, names, identity => void applied.push(identity));
    await vi.advanceTimersByTimeAsync(15 * dayMs);
    await expect.poll(() => applied.length).toBe(1);
    await vi.advanceTimersByTimeAsync(15 * dayMs);
    await expect.poll(() => applied.length).toBe(2);
    await establishIssuingCa(project.ctx, 'gateway');
    const { icaId } = await establishIssuingCa(project.ctx, 'server');
    await expect.poll(() => applied.length).toBe(3);
    expect(leafOf(applied[2] as TlsIdentity).issuer.commonName).toContain(icaId);
    const compromise = { type: 'CompromiseIssuingCa', icaId, reason: 'test', by: 'operator:alice' } as const;
    await execute(project.ctx, authority, authorityStream(project.ctx.project), compromise, 'operator:alice');
    await expect.poll(async () => (await project.eventsOf('AlarmRaised')).map(({ data }) => data.code)).toContain('TLS_NOT_RENEWED');
    await renewal.close();
    await vi.advanceTimersByTimeAsync(30 * dayMs);
    expect(applied).toHaveLength(3);
  });
});
