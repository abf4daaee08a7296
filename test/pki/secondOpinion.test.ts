import { X509Certificate } from 'node:crypto';
import { Certificate, CertificateRevocationList } from 'pkijs';
import { beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../src/bytes.ts';
import { issueCertificate } from '../../src/pki/certificate.ts';
import { buildCrl, encodeCrlEntry } from '../../src/pki/crl.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { covers } from '../support/covers.ts';
import {
  type Authority,
  afterDays,
  crlUrl,
  leafFields,
  makeIca,
  makeKey,
  makeRoot,
  now,
  objId,
  ocspUrl,
  organization,
  uid,
} from './support.ts';

/** What pkijs reads in everything we write: names, keys, times, serial numbers, extensions, signatures. */

let root: Authority;
let ica: Authority;
beforeAll(async () => {
  root = await makeRoot('P-384');
  ica = await makeIca(root);
});

const pkijs = (der: Uint8Array): Certificate => Certificate.fromBER(Uint8Array.from(der));
const extensionIds = (certificate: Certificate) => certificate.extensions?.map(({ extnID }) => extnID) ?? [];
const key = makeKey();
const issued: Readonly<Record<string, () => Promise<Uint8Array>>> = {
  device: async () =>
    (await issueCertificate('device', { ...leafFields(ica, key.spki), organization, uid, objId, ocspUrl }, ica.key.signer)).der,
  ldevid: async () =>
    (await issueCertificate('ldevid', { ...leafFields(ica, key.spki), organization, uid, objId, ocspUrl }, ica.key.signer)).der,
  programmer: async () => (await issueCertificate('programmer', { ...leafFields(ica, key.spki), organization, uid }, ica.key.signer)).der,
  gateway: async () => (await issueCertificate('gateway', { ...leafFields(ica, key.spki), organization, id: 'gw' }, ica.key.signer)).der,
  server: async () => {
    const names = { commonName: 'localhost', dnsNames: ['localhost'], ipAddresses: ['127.0.0.1', '::1'] };
    return (await issueCertificate('server', { ...leafFields(ica, key.spki), ...names }, ica.key.signer)).der;
  },
  ocspResponder: async () =>
    (await issueCertificate('ocspResponder', { ...leafFields(ica, key.spki), organization, commonName: 'OCSP' }, ica.key.signer)).der,
};

describe('pkijs reads what we wrote (R78)', () => {
  it.each(Object.keys(issued))('certificate of a %s', async name => {
    covers('R78');
    const der = await (issued[name] as () => Promise<Uint8Array>)();
    const [ours, theirs] = [parseCertificate(der), pkijs(der)];
    expect(toHex(theirs.serialNumber.valueBlock.valueHexView)).toBe(ours.serialHex);
    expect([theirs.notBefore.value.toISOString(), theirs.notAfter.value.toISOString()]).toEqual([ours.notBefore, ours.notAfter]);
    expect(new Uint8Array(theirs.subjectPublicKeyInfo.toSchema().toBER())).toEqual(ours.spki);
    expect(new Uint8Array(theirs.subject.toSchema().toBER())).toEqual(Uint8Array.from(ours.subjectDer));
    expect(new Set(extensionIds(theirs)).size).toBe(extensionIds(theirs).length);
    expect(await theirs.verify(pkijs(ica.der))).toBe(true);
    expect(await theirs.verify(pkijs(root.der))).toBe(false);
    expect(new Uint8Array(theirs.toSchema().toBER())).toEqual(Uint8Array.from(der));
  });

  it('authorities, over P-384 too, and the certificate between two roots', async () => {
    expect(await pkijs(root.der).verify(pkijs(root.der))).toBe(true);
    expect(await pkijs(ica.der).verify(pkijs(root.der))).toBe(true);
    const next = await makeRoot();
    const { subject } = next.certificate;
    const fields = { ...leafFields(root, next.key.spki), organization: subject.organization ?? '', commonName: subject.commonName ?? '' };
    const { der } = await issueCertificate('crossRoot', fields, root.key.signer);
    expect(await pkijs(der).verify(pkijs(root.der))).toBe(true);
    expect(parseCertificate(der).subjectDer).toEqual(next.certificate.subjectDer);
    expect(new X509Certificate(der).ca).toBe(true);
    expect(parseCertificate(der).pathLength).toBe(3);
  });

  it('revocation lists, full and delta', async () => {
    const serialHex = '41'.repeat(16);
    const entries = [encodeCrlEntry({ serialHex, revokedAt: now, reason: 'keyCompromise' })];
    const fields = { issuer: ica.certificate, number: 300, thisUpdate: now, nextUpdate: afterDays(7), entries };
    const full = CertificateRevocationList.fromBER(Uint8Array.from(await buildCrl({ ...fields, deltaUrl: crlUrl }, ica.key.signer)));
    const delta = CertificateRevocationList.fromBER(Uint8Array.from(await buildCrl({ ...fields, baseNumber: 7 }, ica.key.signer)));
    const ids = (list: CertificateRevocationList) => list.crlExtensions?.extensions.map(({ extnID }) => extnID);
    expect(ids(full)).toEqual(['2.5.29.35', '2.5.29.20', '2.5.29.46']);
    expect(ids(delta)).toEqual(['2.5.29.35', '2.5.29.20', '2.5.29.27']);
    for (const list of [full, delta]) {
      expect(await list.verify({ issuerCertificate: pkijs(ica.der) })).toBe(true);
      expect(toHex(list.revokedCertificates?.[0]?.userCertificate.valueBlock.valueHexView ?? new Uint8Array())).toBe(serialHex);
    }
  });
});
