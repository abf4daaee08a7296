import { execFileSync } from 'node:child_process';
import { randomBytes, sign } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';
import { fromHex } from '../src/bytes.ts';
import { readSettings } from '../src/config.ts';
import { issueCertificate } from '../src/pki/certificate.ts';
import { buildCrl, encodeCrlEntry } from '../src/pki/crl.ts';
import { context, octetString, sequence } from '../src/pki/derWriter.ts';
import { extension } from '../src/pki/extensions.ts';
import { certIdOf } from '../src/pki/ocspResponse.ts';
import { type Certificate, parseCertificate } from '../src/pki/parse.ts';
import { toPem } from '../src/pki/pem.ts';
import { initialiseProject } from '../src/services/administration/initialise.ts';
import type { Context } from '../src/services/base/context.ts';
import { openContext } from '../src/services/dataFolder/open.ts';
import { certifyGateway } from '../src/services/identity/enrolment.ts';
import { identifyMachine } from '../src/services/identity/machines.ts';
import { startOcsp } from '../src/services/revocation/ocsp.ts';
import { startRevocations } from '../src/services/revocation/revocations.ts';
import { run as certificatesOverEst } from './est.ts';
import { run as issue } from './issue.ts';
import { issueOne, makeAuthority, makePair, notBefore, type Pair, requestOf, serialBytes, subject } from './parts/authority.ts';
import { gatewayRequests } from './parts/estRequests.ts';
import { inTemporaryFolder, interleave, perSecond, type Report } from './parts/measure.ts';

/** Certificates, revocation lists and OCSP responses: each figure beside what the bare cryptography, the service without HTTPS, the command
 *  line of OpenSSL, or the same server with nothing revoked does on the same machine in the same run. */

const crlRounds = 15;
const opensslRequests = 200;
const opensslCalls = 20;
const clients = 8;
const handshakesPerClient = 25;
const handshakeRounds = 9;
const ocspRequests = 6400;
const ocspAtOnce = 64;
const ocspRounds = 5;
const crlEntries = 100_000;
const nextUpdate = new Date(Date.parse(notBefore) + 7 * 86_400_000).toISOString();

export async function run(report: Report): Promise<void> {
  await issue(report);
  const authority = makePair();
  const issuer = await makeAuthority(authority);
  await againstOpenssl(report, authority, issuer);
  await listing(report, authority, issuer);
  await handshakes(report, authority, issuer);
  await certificatesOverEst(report);
  await inTemporaryFolder(folder => ocspFigures(report, folder));
}

async function listing(report: Report, authority: Pair, issuer: Certificate): Promise<void> {
  const kept = [Buffer.concat(Array.from({ length: crlEntries }, newEntry))];
  const fields = { issuer, number: 1, thisUpdate: notBefore, nextUpdate };
  const listBytes = (await buildCrl({ ...fields, entries: kept }, authority.signer)).length;
  const revokeOne = async () => {
    const startMs = performance.now();
    kept.push(Buffer.from(newEntry()));
    await buildCrl({ ...fields, entries: kept }, authority.signer);
    return performance.now() - startMs;
  };
  const hashAndSign = () => {
    const startMs = performance.now();
    sign('sha256', new Uint8Array(listBytes), authority.privateKey);
    return performance.now() - startMs;
  };
  const measured = await interleave(crlRounds, revokeOne, hashAndSign);
  report({ figure: 'CRL of 100 000 entries, one revoked', unit: 'ms', boundWhat: 'hash and sign as many bytes', ...measured });
}

/** `openssl ca` with the same key and kind of request: all in one call, and as a service would have to call it. */
async function againstOpenssl(report: Report, authority: Pair, issuer: Certificate): Promise<void> {
  const requests = Array.from({ length: opensslRequests }, () => requestOf(makePair()));
  await inTemporaryFolder(async folder => {
    const file = (name: string, content: string | Uint8Array) => writeFileSync(join(folder, name), content);
    file('ca.pem', toPem('CERTIFICATE', issuer.der));
    file('ca.key', authority.privateKey.export({ format: 'pem', type: 'pkcs8' }));
    requests.forEach((csr, i) => {
      file(`${i}.csr`, toPem('CERTIFICATE REQUEST', csr));
    });
    file('ca.cnf', opensslConfiguration);
    file('serial', '01\n');
    file('index.txt', '');
    file('index.txt.attr', 'unique_subject = no\n');
    const opensslMs = performance.now();
    const names = requests.map((_, i) => `${i}.csr`);
    execFileSync('openssl', ['ca', '-batch', '-notext', '-config', 'ca.cnf', '-infiles', ...names], { cwd: folder, stdio: 'ignore' });
    const together = perSecond(readdirSync(folder).filter(name => /^[0-9A-F]+\.pem$/.test(name)).length, opensslMs);
    const eachMs = performance.now();
    for (const name of names.slice(0, opensslCalls)) {
      execFileSync('openssl', ['ca', '-batch', '-notext', '-config', 'ca.cnf', '-in', name, '-out', 'one.pem'], {
        cwd: folder,
        stdio: 'ignore',
      });
    }
    const apart = perSecond(opensslCalls, eachMs);
    const startMs = performance.now();
    for (const csr of requests) await issueOne(csr, randomBytes(serialBytes), authority.signer, issuer);
    const value = perSecond(requests.length, startMs);
    const figure = 'certificates, every key new, openssl ca';
    report({ figure, unit: '1/s', value, bound: together, boundWhat: 'openssl ca, 200 requests in one call' });
    report({ figure: `${figure} called for each`, unit: '1/s', value, bound: apart, boundWhat: 'openssl ca, one call for each' });
  });
}

const opensslConfiguration = `[ca]
default_ca = all
[all]
dir = .
database = index.txt
serial = serial
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 365
policy = any
x509_extensions = leaf
[any]
commonName = optional
serialNumber = optional
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
`;

/** Full TLS 1.3 handshakes with client certificates, judged as the server judges them, with 100 000 serial numbers revoked and with none. */
async function handshakes(report: Report, authority: Pair, issuer: Certificate): Promise<void> {
  const client = makePair();
  const identity = { organization: 'Example', uid: subject.serialNumber, objId: subject.commonName, crlUrl: 'http://ca.example/1.crl' };
  const leafFields = { publicKey: client.spki, serial: randomBytes(serialBytes), notBefore: new Date().toISOString(), issuer };
  const leaf = await issueCertificate('device', { ...leafFields, ...identity }, authority.signer);
  const pem = (der: Uint8Array) => toPem('CERTIFICATE', der);
  const keyOf = (pair: Pair) => pair.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
  let revoked: ReadonlySet<string> = new Set();
  const many = new Set(Array.from({ length: crlEntries }, () => `7f${randomBytes(15).toString('hex')}`));
  const server = createServer({
    key: keyOf(client),
    cert: pem(leaf.der),
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.3',
  });
  const anchors = {
    roots: [issuer.der],
    retiredRoots: [],
    issuers: [{ icaId: 'device-meter-1', use: 'device' as const, line: 'meter', certificate: issuer }],
  };
  server.on('secureConnection', socket => {
    const raw = socket.getPeerX509Certificate()?.raw;
    if (raw)
      identifyMachine(parseCertificate(new Uint8Array(raw)), anchors, new Date().toISOString(), {
        isRevoked: serialHex => revoked.has(serialHex),
      });
    socket.end('x');
  });
  const port = await new Promise<number>(resolve => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)));
  const one = () =>
    new Promise<void>((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', key: keyOf(client), cert: pem(leaf.der), rejectUnauthorized: false });
      socket
        .on('error', reject)
        .on('close', () => resolve())
        .resume();
    });
  const rate = async (set: ReadonlySet<string>) => {
    revoked = set;
    const startMs = performance.now();
    await Promise.all(Array.from({ length: clients }, () => repeat(handshakesPerClient, one)));
    return perSecond(clients * handshakesPerClient, startMs);
  };
  const measured = await interleave(
    handshakeRounds,
    () => rate(many),
    () => rate(new Set()),
  );
  server.close();
  report({ figure: 'TLS handshakes, 100 000 revoked', unit: '1/s', boundWhat: 'with none revoked', ...measured });
}

async function ocspFigures(report: Report, folder: string): Promise<void> {
  const settings = readSettings(folder, { NUSEC_LOG_LEVEL: 'silent' });
  const { ctx, close } = await openContext(settings, { https: 8443, crl: 8080 }, true);
  await initialiseProject(ctx, { organization: 'Example', administrators: ['alice', 'bob'] });
  const revocations = await startRevocations(ctx);
  const ocsp = await startOcsp(ctx, revocations);
  await responding(report, ctx, ocsp);
  await ocsp.close();
  await revocations.close();
  await close();
}

async function responding(report: Report, ctx: Context, ocsp: Awaited<ReturnType<typeof startOcsp>>): Promise<void> {
  const [wish] = await gatewayRequests(ctx, 1);
  const { certificate, ica } = await certifyGateway(ctx, wish?.id ?? '', wish?.csr ?? new Uint8Array(), 'system:bench');
  await ctx.reads.waitFor(await ctx.store.head());
  const question = sequence(certIdOf(parseCertificate(ica), fromHex(parseCertificate(certificate).serialHex)));
  const withNonce = () =>
    sequence(sequence(sequence(question), context(2, sequence(extension('ocspNonce', false, octetString(randomBytes(16)))))));
  const plain = sequence(sequence(sequence(question)));
  await ocsp.respond(plain);
  const message = randomBytes(200);
  const rate = async (items: readonly Uint8Array[], work: (item: Uint8Array) => Promise<unknown>) => {
    const startMs = performance.now();
    const shares = Array.from({ length: ocspAtOnce }, (_, i) => items.filter((_item, at) => at % ocspAtOnce === i));
    await Promise.all(shares.map(share => inTurn(share, work)));
    return perSecond(items.length, startMs);
  };
  const times = (count: number, make: () => Uint8Array) => Array.from({ length: count }, make);
  const keyId = (await ctx.keystore.list()).find(({ id }) => id.startsWith('ocsp/'))?.id ?? '';
  const bareSigning = () =>
    rate(
      times(ocspRequests, () => message),
      bytes => ctx.keystore.sign(keyId, bytes),
    );
  const boundWhat = 'bare signatures of the keystore';
  const signed = await interleave(ocspRounds, () => rate(times(ocspRequests, withNonce), ocsp.respond), bareSigning);
  report({ figure: 'OCSP responses, signed', unit: '1/s', boundWhat, ...signed });
  const kept = await interleave(
    ocspRounds,
    () =>
      rate(
        times(ocspRequests * 5, () => plain),
        ocsp.respond,
      ),
    bareSigning,
  );
  report({ figure: 'OCSP responses, kept', unit: '1/s', boundWhat, ...kept });
}

async function repeat(count: number, work: () => Promise<unknown>): Promise<void> {
  for (let i = 0; i < count; i += 1) await work();
}

async function inTurn<Item>(items: readonly Item[], work: (item: Item) => Promise<unknown>): Promise<void> {
  for (const item of items) await work(item);
}

function newEntry(): Uint8Array {
  const serialHex = `7f${randomBytes(15).toString('hex')}`;
  return encodeCrlEntry({ serialHex, revokedAt: notBefore, reason: 'keyCompromise' });
}
