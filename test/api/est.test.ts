import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64url } from '../../src/bytes.ts';
import { issueCertificate } from '../../src/pki/certificate.ts';
import { judgeCsr } from '../../src/pki/csr.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { toPem } from '../../src/pki/pem.ts';
import { readCertsOnly } from '../../src/pki/pkcs7.ts';
import { establishIssuingCa } from '../../src/services/authority/issuingCa.ts';
import { registerGateway } from '../../src/services/field/gateways.ts';
import { certifyDevice } from '../../src/services/identity/enrolment.ts';
import { leafFields, makeIca, makeRoot } from '../pki/support.ts';
import { csrOf, newParty, newUid, type Party } from '../services/parties.ts';
import { mint, putInStock, requestOf } from '../services/project.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** EST with curl and openssl as the client (RFC 7030). */

let server: TestServer;
let folder: string;
const unit = { ...newParty(), objId: newUid() };
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nusec-est-'));
  server = await startTestServer(async ctx => {
    await establishIssuingCa(ctx, 'device', 'meter');
    for (const id of ['gw-1', 'gw-2', 'gw-3', 'gw-4', 'gw-5']) await registerGateway(ctx, id, id, 'operator:alice');
    await mint(ctx, unit.uid, unit.objId);
    const { certificate } = await certifyDevice(ctx, unit.uid, fromBase64url(csrOf(unit, unit.objId)), 'operator:alice');
    await putInStock(ctx, unit.uid);
    keep('unit', unit, certificate);
  });
  writeFileSync(join(folder, 'root.pem'), server.rootPem);
});
afterAll(async () => {
  await server?.close();
  rmSync(folder, { recursive: true });
});

function keep(name: string, party: Party, certificate: Uint8Array): void {
  writeFileSync(join(folder, `${name}.pem`), toPem('CERTIFICATE', certificate));
  writeFileSync(join(folder, `${name}.key`), party.key.export({ format: 'pem', type: 'pkcs8' }));
}

type Answer = { readonly status: number; readonly headers: string; readonly body: string };
const run = (command: string, ...args: readonly string[]): Promise<string> =>
  new Promise((resolve, reject) => {
    execFile(command, [...args], { cwd: folder }, (error, stdout, stderr) =>
      error ? reject(new Error(`${stdout}${stderr}`)) : resolve(stdout),
    );
  });
async function curl(path: string, ...args: readonly string[]): Promise<Answer> {
  const output = await run('curl', '-sS', '-i', '--cacert', 'root.pem', ...args, `${server.url}/.well-known/est${path}`);
  const at = output.indexOf('\r\n\r\n');
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(output)?.[1]), headers: output.slice(0, at), body: output.slice(at + 4) };
}
const send = (csr: Uint8Array): string[] => {
  writeFileSync(join(folder, 'request.b64'), Buffer.from(csr).toString('base64'));
  return ['-H', 'Content-Type: application/pkcs10', '--data-binary', '@request.b64'];
};
const as = (name: string): string[] => ['--cert', `${name}.pem`, '--key', `${name}.key`];
const bytesOf = ({ body }: Answer): Uint8Array => new Uint8Array(Buffer.from(body, 'base64'));
const certificateOf = (answer: Answer): Uint8Array => {
  expect(answer.headers).toContain('Content-Type: application/pkcs7-mime; smime-type=certs-only');
  expect(answer.headers).toContain('Content-Transfer-Encoding: base64');
  const [certificate, ...others] = readCertsOnly(bytesOf(answer));
  expect(others).toEqual([]);
  return certificate as Uint8Array;
};
const codeOf = (answer: Answer): string => JSON.parse(answer.body).code;
const alice = (): string[] => ['-u', `alice:${server.alice}`];

describe('EST', () => {
  it('gives everybody the authorities, in a form that openssl reads', async () => {
    const answer = await curl('/gateway/cacerts');
    expect(answer.headers).toMatch(/^Content-Type: application\/pkcs7-mime\r?$/m);
    writeFileSync(join(folder, 'cacerts.b64'), answer.body);
    await run('sh', '-c', 'openssl base64 -d -in cacerts.b64 | openssl pkcs7 -inform DER -print_certs -out cacerts.pem');
    expect(readFileSync(join(folder, 'cacerts.pem'), 'utf8').match(/BEGIN CERTIFICATE/g)).toHaveLength(5);
    expect((await curl('/cacerts')).body).toBe(answer.body);
    expect((await curl('/nothing/cacerts')).status).toBe(404);
  });

  it('says what a request should be made with', async () => {
    const answer = await curl('/gateway/csrattrs');
    expect(answer.headers).toContain('Content-Type: application/csrattrs');
    writeFileSync(join(folder, 'attributes.der'), bytesOf(answer));
    const text = await run('openssl', 'asn1parse', '-inform', 'DER', '-in', 'attributes.der');
    for (const name of ['id-ecPublicKey', 'prime256v1', 'ecdsa-with-SHA256']) expect(text).toContain(name);
  });

  it('enrols a gateway with the token of a person, and renews it with its certificate and a key of openssl', async () => {
    await run('openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', 'gw-1.key');
    await run('sh', '-c', 'openssl req -new -key gw-1.key -subj /CN=gw-1 -outform DER -out gw-1.csr');
    const csr = new Uint8Array(readFileSync(join(folder, 'gw-1.csr')));
    const first = certificateOf(await curl('/gateway/simpleenroll', ...alice(), ...send(csr)));
    writeFileSync(join(folder, 'gw-1.pem'), toPem('CERTIFICATE', first));
    expect(parseCertificate(first)).toMatchObject({ kind: 'gateway', subject: { commonName: 'gw-1' }, spki: judgeCsr(csr).publicKey });
    const same = certificateOf(await curl('/gateway/simplereenroll', ...as('gw-1'), ...send(csr)));
    expect(same).toEqual(first);
    const next = newParty();
    const renewed = certificateOf(
      await curl('/gateway/simplereenroll', ...as('gw-1'), ...send(requestOf(next, parseCertificate(first).subject))),
    );
    expect(parseCertificate(renewed).spki).toEqual(next.spki);
    keep('gw-1b', next, renewed);
    const again = newParty();
    expect((await curl('/gateway/simpleenroll', ...as('gw-1b'), ...send(requestOf(again, {})))).status).toBe(200);
  });

  it('gives a device its operational certificate for its IDevID, and the next one for that', async () => {
    const operational = newParty(unit.uid);
    const csr = requestOf(operational, { commonName: unit.objId, serialNumber: unit.uid });
    const certificate = certificateOf(await curl('/ldevid/simpleenroll', ...as('unit'), ...send(csr)));
    const parsed = parseCertificate(certificate);
    expect(parsed).toMatchObject({ kind: 'device', uid: unit.uid, objId: unit.objId, subject: { organizationalUnit: 'LDevID' } });
    expect(Date.parse(parsed.notAfter) - Date.now()).toBeLessThan(91 * 86_400_000);
    expect(parsed.hardwareSerial).toBeUndefined();
    keep('operational', operational, certificate);
    const next = newParty(unit.uid);
    const renewed = certificateOf(await curl('/ldevid/simplereenroll', ...as('operational'), ...send(requestOf(next, parsed.subject))));
    expect(parseCertificate(renewed).spki).toEqual(next.spki);
  });
});

/** A gateway of another project, whose certificate looks just like ours. */
async function foreignGateway() {
  const authority = await makeIca(await makeRoot(), 'gateway');
  const party = newParty();
  const fields = { ...leafFields(authority, party.spki), organization: 'Example OEM', id: 'gw-2' };
  const { der: leaf } = await issueCertificate('gateway', fields, authority.key.signer);
  return { ica: { leaf, der: authority.der }, key: party.key.export({ format: 'pem', type: 'pkcs8' }) };
}

const alarmed = async (): Promise<readonly string[]> => {
  const answer = await exchange(`${server.url}/v1/alarms`, { ca: server.rootPem, headers: { Authorization: `Bearer ${server.alice}` } });
  return (answer.json.alarms as { code: string; subject: string }[]).map(({ code, subject }) => `${code} ${subject}`);
};

describe('EST without a label (RFC 7030 §3.2.2)', () => {
  it('serves whoever asks by what they are: a person and a gateway, a device', async () => {
    const party = newParty();
    const asPerson = await curl(
      '/simpleenroll',
      '-H',
      `authorization: bearer ${server.alice}`,
      ...send(requestOf(party, { commonName: 'gw-4' })),
    );
    keep('gw-4', party, certificateOf(asPerson));
    const next = newParty();
    expect(parseCertificate(certificateOf(await curl('/simplereenroll', ...as('gw-4'), ...send(requestOf(next, {}))))).kind).toBe(
      'gateway',
    );
    const operational = certificateOf(await curl('/simpleenroll', ...as('unit'), ...send(requestOf(newParty(unit.uid), {}))));
    expect(parseCertificate(operational).subject.organizationalUnit).toBe('LDevID');
    expect((await curl('/csrattrs')).body).toBe((await curl('/gateway/csrattrs')).body);
  });

  it('takes the subject that the server itself issues at the first enrolment, and parts of it', async () => {
    const authorize = ['-H', `Authorization: bEARer ${server.alice}`];
    const whole = { organization: 'Example OEM', organizationalUnit: 'gateway', commonName: 'gw-5' };
    const party = newParty();
    const first = certificateOf(await curl('/simpleenroll', ...authorize, ...send(requestOf(party, whole))));
    expect(parseCertificate(first).subject).toEqual(whole);
    const again = { organization: 'Example OEM', commonName: 'gw-5' };
    expect(certificateOf(await curl('/simpleenroll', ...authorize, ...send(requestOf(party, again))))).toEqual(first);
    for (const other of [{ organization: 'Another' }, { organizationalUnit: 'programmer' }, { country: 'DE' }]) {
      const refused = await curl('/simpleenroll', ...authorize, ...send(requestOf(party, { ...whole, ...other })));
      expect(codeOf(refused), JSON.stringify(other)).toBe('CSR_SUBJECT');
    }
  });

  it('makes no keys for others, and says that with a code of its own', async () => {
    for (const path of ['/serverkeygen', '/gateway/serverkeygen']) {
      const refused = await curl(path, ...alice(), ...send(requestOf(newParty(), { commonName: 'gw-4' })));
      expect([refused.status, codeOf(refused)]).toEqual([501, 'KEYGEN_REFUSED']);
    }
    expect(codeOf(await curl('/gateway/fullcmc', ...alice(), ...send(requestOf(newParty(), {}))))).toBe('NOT_OFFERED');
  });

  it('names the hash when a request of openssl is signed over another one than SHA-256', async () => {
    await run('openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', 'hash.key');
    for (const hash of ['sha1', 'sha224', 'sha384', 'sha512']) {
      await run('openssl', 'req', '-new', '-key', 'hash.key', '-subj', '/CN=gw-2', `-${hash}`, '-outform', 'DER', '-out', 'hash.csr');
      const refused = await curl('/simpleenroll', ...alice(), ...send(new Uint8Array(readFileSync(join(folder, 'hash.csr')))));
      expect([refused.status, codeOf(refused)], hash).toEqual([422, 'CSR_ALGORITHM']);
      expect(JSON.parse(refused.body).detail).toContain(`ecdsa-with-${hash.toUpperCase()}`);
    }
  });
});

describe('EST refuses', () => {
  const request = (id: string, party = newParty()) => send(requestOf(party, { commonName: id }));

  it('a caller without certificate or token, with a foreign certificate, or with a wrong token', async () => {
    const nobody = await curl('/gateway/simpleenroll', ...request('gw-2'));
    expect([nobody.status, codeOf(nobody)]).toEqual([401, 'CLIENT_CERTIFICATE_REQUIRED']);
    expect(nobody.headers).toContain('WWW-Authenticate: Basic realm="EST"');
    expect(codeOf(await curl('/gateway/simplereenroll', ...alice(), ...request('gw-2')))).toBe('CLIENT_CERTIFICATE_REQUIRED');
    expect(codeOf(await curl('/gateway/simpleenroll', '-u', `bob:${server.alice}`, ...request('gw-2')))).toBe('UNAUTHENTICATED');
    const basic = Buffer.from(`alice:${server.alice}`).toString('base64');
    for (const other of [basic.replace(/=*$/, '==='), `${basic}-`])
      expect(codeOf(await curl('/gateway/simpleenroll', '-H', `Authorization: Basic ${other}`, ...request('gw-2')))).toBe(
        'UNAUTHENTICATED',
      );
    const wrong = await curl('/gateway/simpleenroll', '-u', 'alice:wrong', ...request('gw-2'));
    expect(codeOf(wrong)).toBe('UNAUTHENTICATED');
    expect(wrong.headers).toContain('WWW-Authenticate: Basic realm="EST"');
    const { ica, key } = await foreignGateway();
    writeFileSync(join(folder, 'foreign.pem'), toPem('CERTIFICATE', ica.leaf) + toPem('CERTIFICATE', ica.der));
    writeFileSync(join(folder, 'foreign.key'), key);
    expect(codeOf(await curl('/gateway/simplereenroll', ...as('foreign'), ...request('gw-2')))).toBe('CHAIN_REFUSED');
  });

  it('the subject of another, the certificate of another kind, an unknown gateway, a key seen before (T26)', async () => {
    covers('T26');
    const party = newParty();
    keep('gw-3', party, certificateOf(await curl('/gateway/simpleenroll', ...alice(), ...request('gw-3', party))));
    expect(codeOf(await curl('/gateway/simplereenroll', ...as('gw-3'), ...request('gw-2')))).toBe('CSR_SUBJECT');
    expect(codeOf(await curl('/ldevid/simpleenroll', ...as('gw-3'), ...request('gw-3')))).toBe('CLIENT_CERTIFICATE_REFUSED');
    expect(codeOf(await curl('/gateway/simpleenroll', ...alice(), ...request('gw-9')))).toBe('NOT_FOUND');
    expect(codeOf(await curl('/gateway/simpleenroll', ...alice(), ...request('gw-2', party)))).toBe('WEAK_OR_CLONED_KEY');
    expect(await alarmed()).toEqual(['WEAK_OR_CLONED_KEY operator-alice']);
    expect(codeOf(await curl('/ldevid/simpleenroll', ...alice(), ...request('gw-2')))).toBe('CLIENT_CERTIFICATE_REQUIRED');
  });

  it('what is not a request: not base64, not PKCS#10, over the limit, 1 MiB, RSA', async () => {
    const raw = (text: string) => {
      writeFileSync(join(folder, 'raw'), text);
      return ['-H', 'Content-Type: application/pkcs10', '-H', 'Expect:', '--data-binary', '@raw'];
    };
    for (const type of ['application/json', 'application/pkcs10x', 'text/plain'])
      expect(codeOf(await curl('/gateway/simpleenroll', ...alice(), ...request('gw-2'), '-H', `Content-Type: ${type}`))).toBe('MEDIA_TYPE');
    const code = async (text: string) => codeOf(await curl('/gateway/simpleenroll', ...alice(), ...raw(text)));
    expect(await code('%%%%')).toBe('CSR_MALFORMED');
    expect(await code('')).toBe('CSR_MALFORMED');
    expect(await code(Buffer.from('hello').toString('base64'))).toBe('CSR_MALFORMED');
    expect(await code('A'.repeat(4000))).toBe('CSR_TOO_LARGE');
    expect(await code('A'.repeat(1 << 20))).toBe('BODY_TOO_LARGE');
    await run('sh', '-c', 'openssl req -new -newkey rsa:2048 -nodes -keyout rsa.key -subj /CN=gw-2 -outform DER -out rsa.csr 2>&1');
    expect(codeOf(await curl('/gateway/simpleenroll', ...alice(), ...send(new Uint8Array(readFileSync(join(folder, 'rsa.csr'))))))).toBe(
      'KEY_REFUSED',
    );
  });
});
