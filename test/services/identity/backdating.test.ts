import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64url } from '../../../src/bytes.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { fromPem } from '../../../src/pki/pem.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { issueCrl } from '../../../src/services/revocation/crl.ts';
import { newTlsIdentity } from '../../support/tlsIdentity.ts';
import { openProject, type Project } from '../project.ts';

let project: Project;
beforeAll(async () => {
  project = await openProject();
});
afterAll(() => project.close());

const minutesBeforeNow = (iso: string): number => Math.round((project.ctx.clock().getTime() - Date.parse(iso)) / 60_000);

describe('what is signed now', () => {
  it('counts from an hour before, for those whose clock is behind', async () => {
    const { ctx } = project;
    const { root, issuingCas } = await authorityOf(ctx);
    const [server] = fromPem('CERTIFICATE', (await newTlsIdentity(ctx, [])).cert) as [Uint8Array];
    const certificates = [fromBase64url(root.certificate), server, (await project.newDevice()).certificate];
    for (const der of certificates) expect(minutesBeforeNow(parseCertificate(der).notBefore)).toBe(60);
    expect(minutesBeforeNow((await issueCrl(ctx, 'device-meter-1')).thisUpdate)).toBe(60);
    const programmers = issuingCas.find(({ icaId }) => icaId === 'programmer-1')?.certificate ?? '';
    expect(minutesBeforeNow(parseCertificate(fromBase64url(programmers)).notBefore)).toBeGreaterThanOrEqual(0);
  });

  it('never counts before the authority that signs it', async () => {
    const { parsed, ica } = await project.newDevice();
    expect(parsed.notBefore >= parseCertificate(ica).notBefore).toBe(true);
  });
});
