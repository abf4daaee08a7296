import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { pointOf } from '../../src/ecKey.ts';
import { issueCertificate, type Signer } from '../../src/pki/certificate.ts';
import { assembleCsr, buildCertificationRequestInfo, judgeCsr } from '../../src/pki/csr.ts';
import { type Certificate, parseCertificate } from '../../src/pki/parse.ts';

/** Keys, requests and an authority that several benchmarks of certificates use. */

export const serialBytes = 16;
export const notBefore = new Date(Math.floor(Date.now() / 1000) * 1000 - 86_400_000).toISOString();
export const subject = { commonName: 'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf', serialNumber: '00112233445566778899aabbccddeeff' };

/** Judges the request and issues the certificate of a device. */
export function issueOne(csr: Uint8Array, serial: Uint8Array, signer: Signer, issuer: Certificate) {
  const { publicKey } = judgeCsr(csr, subject);
  const identity = { organization: 'Example', uid: subject.serialNumber, objId: subject.commonName };
  const addresses = { crlUrl: 'http://ca.example/device-1.crl', ocspUrl: 'http://ca.example/ocsp' };
  return issueCertificate('device', { publicKey, serial, notBefore, issuer, ...identity, ...addresses }, signer);
}

export const requestOf = (pair: Pair, name: Parameters<typeof buildCertificationRequestInfo>[0]['subject'] = subject): Uint8Array => {
  const cri = buildCertificationRequestInfo({ subject: name, publicKeyPoint: pointOf(pair.spki) });
  return assembleCsr(cri, sign('sha256', cri, pair.privateKey));
};

export type Pair = { readonly spki: Uint8Array; readonly publicKey: KeyObject; readonly privateKey: KeyObject; readonly signer: Signer };

export function makePair(): Pair {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  return { spki, publicKey, privateKey, signer: { algorithm: 'P-256', sign: async tbs => sign('sha256', tbs, privateKey) } };
}

export async function makeAuthority({ spki, signer }: Pair): Promise<Certificate> {
  const fields = { publicKey: spki, serial: randomBytes(serialBytes), notBefore, organization: 'Example', commonName: 'Example Root CA 1' };
  return parseCertificate((await issueCertificate('rootCa', fields, signer)).der);
}
