/** Certificates from requests: the whole path CSR → judged → device certificate, beside one bare verification and one bare signature;
 *  and a revocation list of 100 000 entries after one revocation, beside hashing and signing as many bytes. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign, verify } from 'node:crypto';
import { issueCertificate, type Signer } from '../src/pki/certificate.ts';
import { buildCrl, encodeCrlEntry } from '../src/pki/crl.ts';
import { assembleCsr, buildCertificationRequestInfo, judgeCsr } from '../src/pki/csr.ts';
import { pointOf } from '../src/pki/keys.ts';
import { type Certificate, parseCertificate } from '../src/pki/parse.ts';
import { interleave, perSecond, type Report } from './measure.ts';

const issueRounds = 101;
const crlRounds = 15;
const certificatesPerRound = 50;
const warmUpRounds = 40;
const serialBytes = 16;
const crlEntries = 100_000;
const notBefore = '2026-01-01T00:00:00.000Z';
const nextUpdate = '2026-01-08T00:00:00.000Z';
const subject = { commonName: 'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf', serialNumber: '00112233445566778899aabbccddeeff' };

export async function run(report: Report): Promise<void> {
  const authority = makePair();
  const issuer = await makeAuthority(authority);
  await issuing(report, authority, issuer);
  await listing(report, authority, issuer);
}

async function issuing(report: Report, authority: Pair, issuer: Certificate): Promise<void> {
  const device = makePair();
  const cri = buildCertificationRequestInfo({ subject, publicKeyPoint: pointOf(device.spki) });
  const signature = sign('sha256', cri, device.privateKey);
  const csr = assembleCsr(cri, signature);
  const issueAll = async () => {
    const startMs = performance.now();
    const serials = randomBytes(certificatesPerRound * serialBytes);
    for (let i = 0; i < certificatesPerRound; i += 1) {
      await issueOne(csr, serials.subarray(i * serialBytes, (i + 1) * serialBytes), authority.signer, issuer);
    }
    return perSecond(certificatesPerRound, startMs);
  };
  const verifyAndSign = () => {
    const startMs = performance.now();
    for (let i = 0; i < certificatesPerRound; i += 1) {
      verify('sha256', cri, device.publicKey, signature);
      sign('sha256', cri, authority.privateKey);
    }
    return perSecond(certificatesPerRound, startMs);
  };
  for (let i = 0; i < warmUpRounds; i += 1) await issueAll();
  const measured = await interleave(issueRounds, issueAll, verifyAndSign);
  report({ figure: 'certificates from CSRs', unit: '1/s', boundWhat: 'bare verify + sign', ...measured });
}

function issueOne(csr: Uint8Array, serial: Uint8Array, signer: Signer, issuer: Certificate) {
  const { publicKey } = judgeCsr(csr, subject);
  const identity = { organization: 'Example', uid: subject.serialNumber, objId: subject.commonName };
  const addresses = { crlUrl: 'http://ca.example/device-1.crl', ocspUrl: 'http://ca.example/ocsp' };
  return issueCertificate('device', { publicKey, serial, notBefore, issuer, ...identity, ...addresses }, signer);
}

async function listing(report: Report, authority: Pair, issuer: Certificate): Promise<void> {
  const kept = Array.from({ length: crlEntries }, newEntry);
  const fields = { issuer, number: 1, thisUpdate: notBefore, nextUpdate };
  const listBytes = (await buildCrl({ ...fields, entries: kept }, authority.signer)).length;
  const revokeOne = async () => {
    const startMs = performance.now();
    kept.push(newEntry());
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

function newEntry(): Uint8Array {
  const serialHex = `7f${randomBytes(15).toString('hex')}`;
  return encodeCrlEntry({ serialHex, revokedAt: notBefore, reason: 'keyCompromise' });
}

type Pair = { readonly spki: Uint8Array; readonly publicKey: KeyObject; readonly privateKey: KeyObject; readonly signer: Signer };

function makePair(): Pair {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  return { spki, publicKey, privateKey, signer: { algorithm: 'P-256', sign: async tbs => sign('sha256', tbs, privateKey) } };
}

async function makeAuthority({ spki, signer }: Pair): Promise<Certificate> {
  const fields = { publicKey: spki, serial: randomBytes(serialBytes), notBefore, organization: 'Example', commonName: 'Example Root CA 1' };
  return parseCertificate((await issueCertificate('rootCa', fields, signer)).der);
}
