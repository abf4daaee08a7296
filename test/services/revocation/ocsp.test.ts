import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import { BasicOCSPResponse, Certificate, OCSPRequest, OCSPResponse, type SingleResponse } from 'pkijs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromHex } from '../../../src/bytes.ts';
import { authority, authorityStream } from '../../../src/domain/authority.ts';
import { sequence } from '../../../src/pki/derWriter.ts';
import { certIdOf } from '../../../src/pki/ocspResponse.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { execute } from '../../../src/services/base/context.ts';
import { covers } from '../../support/covers.ts';
import { openProject, type Project, type TestDevice } from '../project.ts';

let project: Project;
let good: TestDevice;
let revoked: TestDevice;
let folder: string;
beforeAll(async () => {
  project = await openProject();
  good = await project.newDevice();
  revoked = await project.newDevice();
  await project.revoke(revoked, 'cessationOfOperation');
  folder = mkdtempSync(join(tmpdir(), 'nusec-ocsp-'));
  const files = { good: good.certificate, revoked: revoked.certificate, ica: good.ica, root: good.root };
  for (const [name, der] of Object.entries(files)) writeFileSync(join(folder, `${name}.pem`), toPem('CERTIFICATE', der));
});
afterAll(async () => {
  await project.close();
  rmSync(folder, { recursive: true });
});

/** Runs a foreign client beside this process. @returns standard output and error */
async function run(command: string, ...args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(command, [...args], { cwd: folder }).catch(error => error);
  return `${stdout}${stderr}`;
}
const openssl = (...args: readonly string[]) =>
  run('openssl', 'ocsp', '-issuer', 'ica.pem', '-CAfile', 'root.pem', '-verify_other', 'ica.pem', '-url', `${project.url}/ocsp`, ...args);

/** A request without nonce for one certificate. */
const requestFor = (device: TestDevice, serialHex = device.parsed.serialHex): Uint8Array =>
  sequence(sequence(sequence(sequence(certIdOf(parseCertificate(device.ica), fromHex(serialHex))))));
const post = async (body: Uint8Array) => {
  const response = await fetch(`${project.url}/ocsp`, {
    method: 'POST',
    body: new Uint8Array(body),
    headers: { 'Content-Type': 'application/ocsp-request' },
  });
  return { status: response.status, headers: response.headers, der: new Uint8Array(await response.arrayBuffer()) };
};
const x509 = (der: Uint8Array): Certificate => Certificate.fromBER(Uint8Array.from(der));
const statusOf = (der: Uint8Array): number => OCSPResponse.fromBER(Uint8Array.from(der)).responseStatus.valueBlock.valueDec;
const basicOf = (der: Uint8Array): BasicOCSPResponse => {
  const body = OCSPResponse.fromBER(Uint8Array.from(der)).responseBytes?.response.valueBlock.valueHexView ?? new Uint8Array();
  return BasicOCSPResponse.fromBER(Uint8Array.from(body));
};

describe('the OCSP responder', () => {
  it('answers openssl for good, revoked and unknown certificates, with nonce', async () => {
    covers('R86');
    const output = await openssl('-cert', 'good.pem', '-cert', 'revoked.pem', '-serial', '0x4123', '-text');
    expect(output).toContain('Response verify OK');
    expect(output).toContain('good.pem: good');
    expect(output).toMatch(/revoked\.pem: revoked[\s\S]*Reason: cessationOfOperation/);
    expect(output).toContain('0x4123: unknown');
    expect(output).not.toContain('no nonce');
    expect(output).toContain('OCSP Nonce');
    expect(output).toContain('OCSP No Check');
  });

  it('answers openssl with SHA-256 hashes and without nonce', async () => {
    const output = await openssl('-sha256', '-no_nonce', '-cert', 'revoked.pem');
    expect(output).toContain('Response verify OK');
    expect(output).toContain('revoked.pem: revoked');
  });

  it('answers GnuTLS', async () => {
    const ask = (name: string) =>
      run(
        'ocsptool',
        `--ask=${project.url}/ocsp`,
        '--load-issuer',
        'ica.pem',
        '--load-cert',
        `${name}.pem`,
        '--load-trust',
        'ica.pem',
        '--nonce',
      );
    expect(await ask('good')).toMatch(/Verifying OCSP Response: Success/);
    expect(await ask('revoked')).toMatch(/Certificate Status: revoked/);
  });

  it('answers GET as POST, cacheable, and pkijs verifies it', async () => {
    const request = requestFor(good);
    const url = `${project.url}/ocsp/${encodeURIComponent(Buffer.from(request).toString('base64'))}`;
    const response = await fetch(url);
    expect(response.headers.get('Content-Type')).toBe('application/ocsp-response');
    expect(response.headers.get('Cache-Control')).toMatch(/^max-age=1[78]\d\d, public/);
    const der = new Uint8Array(await response.arrayBuffer());
    expect(response.headers.get('ETag')).toBe(`"${createHash('sha1').update(der).digest('hex')}"`);
    const [modified, expires] = ['Last-Modified', 'Expires'].map(name => Date.parse(response.headers.get(name) ?? ''));
    const { thisUpdate, nextUpdate } = basicOf(der).tbsResponseData.responses[0] as SingleResponse;
    expect(modified).toBe(thisUpdate.getTime());
    expect(expires).toBeGreaterThan(Date.now());
    expect(expires).toBeLessThan(nextUpdate?.getTime() ?? 0);
    expect((await post(request)).der).toEqual(der);
    const basic = basicOf(der);
    const issuer = x509(good.ica);
    expect(await basic.verify({ trustedCerts: [issuer] })).toBe(true);
    expect(await basic.getCertificateStatus(x509(good.certificate), issuer)).toEqual({
      isForCertificate: true,
      status: 0,
    });
  });

  it('answers GET of what is no base64 as malformed, and of base64 with another character in it', async () => {
    const text = Buffer.from(requestFor(good)).toString('base64');
    for (const other of [`${text.slice(0, 40)}.${text.slice(40)}`, `${text}====`, `${text} `, '%zz', '']) {
      const response = await fetch(`${project.url}/ocsp/${other === '%zz' ? other : encodeURIComponent(other)}`);
      // OCSPResponseStatus malformedRequest (RFC 6960 §2.3).
      expect([...new Uint8Array(await response.arrayBuffer())], other).toEqual([0x30, 3, 0x0a, 1, 1]);
    }
  });

  it('answers a request that pkijs made, by SHA-256', async () => {
    const request = new OCSPRequest();
    await request.createForCertificate(x509(revoked.certificate), { hashAlgorithm: 'SHA-256', issuerCertificate: x509(revoked.ica) });
    const { der } = await post(new Uint8Array(request.toSchema(true).toBER()));
    expect(await basicOf(der).getCertificateStatus(x509(revoked.certificate), x509(revoked.ica))).toEqual({
      isForCertificate: true,
      status: 1,
    });
  });

  it('keeps answers until the certificate is revoked, then says so at once', async () => {
    const device = await project.newDevice();
    const first = await post(requestFor(device));
    expect((await post(requestFor(device))).der).toEqual(first.der);
    await project.revoke(device);
    const certificate = x509(device.certificate);
    const issuer = x509(device.ica);
    expect(await basicOf((await post(requestFor(device))).der).getCertificateStatus(certificate, issuer)).toMatchObject({ status: 1 });
  });

  it('knows a certificate as soon as it was issued, though the read model is behind (R86)', async () => {
    covers('R86');
    const views = new Database(join(project.dataDir, 'views.db'));
    views.exec('BEGIN IMMEDIATE');
    const device = await project.newDevice();
    const answered = post(requestFor(device));
    setTimeout(() => views.close(), 200);
    const { der } = await answered;
    expect(await basicOf(der).getCertificateStatus(x509(device.certificate), x509(device.ica))).toMatchObject({ status: 0 });
  });

  it('refuses what is not a request, and an issuer it does not know', async () => {
    const malformed = 1;
    const unauthorized = 6;
    expect(statusOf((await post(new Uint8Array())).der)).toBe(malformed);
    expect(statusOf((await post(Uint8Array.of(0x30, 0x80))).der)).toBe(malformed);
    expect(statusOf(new Uint8Array(await (await fetch(`${project.url}/ocsp/%ZZ`)).arrayBuffer()))).toBe(malformed);
    const other = await openProject();
    try {
      expect(statusOf((await post(requestFor(await other.newDevice()))).der)).toBe(unauthorized);
    } finally {
      await other.close();
    }
    expect((await post(new Uint8Array(5000))).status).toBe(413);
    expect((await fetch(`${project.url}/ocsp`, { method: 'DELETE' })).status).toBe(405);
  });

  it('never calls a serial number good that was not issued, and keeps no such answer', async () => {
    const { der, headers } = await post(requestFor(good, '4a'.repeat(16)));
    expect(headers.get('Cache-Control')).toBe('no-store');
    expect(basicOf(der).tbsResponseData.responses[0]?.certStatus.idBlock.tagNumber).toBe(2);
  });

  it('signs with one delegated signer per issuing CA, replaced before it ends', async () => {
    await post(requestFor(good));
    const signerNow = async () => (await authorityOf(project.ctx)).ocspSigners.find(({ icaId }) => icaId === 'device-meter-1');
    const before = await signerNow();
    expect(before?.keyId).toBe('ocsp/device-meter-1/1');
    project.moveClock(61 * 86_400_000);
    const { der } = await post(requestFor(good));
    expect((await signerNow())?.keyId).toBe('ocsp/device-meter-1/2');
    expect(basicOf(der).certs).toHaveLength(1);
    project.moveClock(-61 * 86_400_000);
  });

  it('tells a cache that has the answer already so, and any other the answer', async () => {
    const url = `${project.url}/ocsp/${encodeURIComponent(Buffer.from(requestFor(good)).toString('base64'))}`;
    const tag = (await fetch(url)).headers.get('ETag') ?? '';
    const asked = async (known: string) => {
      const response = await fetch(url, { headers: { 'If-None-Match': known } });
      return { status: response.status, tag: response.headers.get('ETag'), bytes: (await response.arrayBuffer()).byteLength };
    };
    for (const known of [tag, `"other", ${tag}`, `W/${tag}`, '*'])
      expect(await asked(known), known).toEqual({ status: 304, tag, bytes: 0 });
    for (const known of ['"other"', 'other', '']) expect((await asked(known)).status, known).toBe(200);
  });

  it('answers openssl for an issuing CA, signed by a delegate of its root', async () => {
    const args = ['ocsp', '-issuer', 'root.pem', '-CAfile', 'root.pem', '-url', `${project.url}/ocsp`, '-cert', 'ica.pem'];
    const output = await run('openssl', ...args);
    expect(output).toContain('Response verify OK');
    expect(output).toContain('ica.pem: good');
    const signers = (await authorityOf(project.ctx)).ocspSigners.map(({ icaId }) => icaId);
    expect(signers).toContain('root');
  });

  it('says nothing to who names the issuer by SHA-384 or SHA-512, which are not supported', async () => {
    for (const hash of ['-sha384', '-sha512']) {
      const output = await openssl(hash, '-cert', 'good.pem');
      expect(output, hash).toMatch(/unauthorized/);
    }
  });

  it('says nothing any more for a compromised authority', async () => {
    const { ctx } = project;
    expect(statusOf((await post(requestFor(good))).der)).toBe(0);
    const compromise = { type: 'CompromiseIssuingCa', icaId: 'device-meter-1', reason: 'test', by: 'operator:alice' } as const;
    const { position } = await execute(ctx, authority, authorityStream(ctx.project), compromise, 'operator:alice');
    await project.revocations.caughtUp(position);
    await expect.poll(async () => statusOf((await post(requestFor(good))).der)).toBe(6);
    const output = await run(
      'openssl',
      'ocsp',
      '-issuer',
      'root.pem',
      '-CAfile',
      'root.pem',
      '-url',
      `${project.url}/ocsp`,
      '-cert',
      'ica.pem',
    );
    expect(output).toMatch(/ica\.pem: revoked[\s\S]*Reason: cACompromise/);
  });
});
