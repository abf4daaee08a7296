import { X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../src/bytes.ts';
import { issueCertificate, maxCertificateBytes } from '../../src/pki/certificate.ts';
import { judgeCsr } from '../../src/pki/csr.ts';
import { oids } from '../../src/pki/oids.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { toPem } from '../../src/pki/pem.ts';
import { covers } from '../support/covers.ts';
import {
  type Authority,
  afterDays,
  codeOf,
  crlUrl,
  leafFields,
  makeCsr,
  makeDevice,
  makeIca,
  makeKey,
  makeRoot,
  now,
  objId,
  ocspUrl,
  organization,
  run,
  serial,
  uid,
} from './support.ts';

let root: Authority;
let ica: Authority;
beforeAll(async () => {
  root = await makeRoot();
  ica = await makeIca(root);
});

const pem = (...certificates: readonly Uint8Array[]): string => certificates.map(der => toPem('CERTIFICATE', der)).join('');

async function oneOfEach(): Promise<Readonly<Record<string, Uint8Array>>> {
  const fields = () => leafFields(ica, makeKey().spki);
  const { signer } = ica.key;
  const server = { commonName: 'nusec.example', dnsNames: ['nusec.example', 'localhost'], ipAddresses: ['127.0.0.1', '::1'] };
  return {
    device: await makeDevice(ica),
    programmer: (await issueCertificate('programmer', { ...fields(), organization, uid }, signer)).der,
    gateway: (await issueCertificate('gateway', { ...fields(), organization, id: 'gw-7' }, signer)).der,
    server: (await issueCertificate('server', { ...fields(), ...server }, signer)).der,
    ocspResponder: (await issueCertificate('ocspResponder', { ...fields(), organization, commonName: 'Example OCSP 1' }, signer)).der,
  };
}

describe('issued certificates', () => {
  it('are accepted by openssl verify -x509_strict, every profile under root and ICA (R1, R2, R15, R78)', async () => {
    covers('R1', 'R2', 'R15', 'R78');
    for (const [profile, der] of Object.entries(await oneOfEach())) {
      const files = { 'root.pem': pem(root.der), 'ica.pem': pem(ica.der), 'leaf.pem': pem(der) };
      const args = [
        'verify',
        '-x509_strict',
        '-attime',
        String(Date.parse(now) / 1000 + 60),
        '-CAfile',
        'root.pem',
        '-untrusted',
        'ica.pem',
        'leaf.pem',
      ];
      expect(run('openssl', args, files), profile).toBe('leaf.pem: OK\n');
    }
  });

  it('are accepted by GnuTLS, chain and single certificate (R1, R2, R15, R78)', async () => {
    covers('R1', 'R2', 'R15', 'R78');
    for (const [profile, der] of Object.entries(await oneOfEach())) {
      const chain = run('certtool', ['--verify-chain', '--infile', 'chain.pem'], {
        'chain.pem': pem(der, ica.der, root.der),
      });
      expect(chain, profile).toContain('Chain verification output: Verified. The certificate is trusted.');
      expect(run('certtool', ['--certificate-info', '--infile', 'leaf.pem'], { 'leaf.pem': pem(der) }), profile).not.toMatch(
        /error|warning/i,
      );
    }
  });

  it('are read the same by node:crypto and by our reader, every profile', async () => {
    for (const [profile, der] of Object.entries({ ...(await oneOfEach()), rootCa: root.der, ica: ica.der })) {
      const theirs = new X509Certificate(der);
      const ours = parseCertificate(der);
      expect(ours.kind).toBe(profile);
      expect(ours.serialHex).toBe(theirs.serialNumber.toLowerCase());
      expect(Date.parse(ours.notBefore)).toBe(theirs.validFromDate.getTime());
      expect(Date.parse(ours.notAfter)).toBe(theirs.validToDate.getTime());
      expect(ours.isCa).toBe(theirs.ca);
      expect(toHex(ours.spki)).toBe(theirs.publicKey.export({ type: 'spki', format: 'der' }).toString('hex'));
      expect(Object.values(ours.subject).every(value => theirs.subject.includes(`=${value}`))).toBe(true);
      expect(ours.eku).toEqual(theirs.keyUsage);
      expect(theirs.checkIssued(new X509Certificate(profile === 'rootCa' || profile === 'ica' ? root.der : ica.der))).toBe(true);
    }
  });

  it('of a device name its UID, OBJ_ID, hardware and revocation addresses (R78)', async () => {
    covers('R78');
    const device = parseCertificate(await makeDevice(ica));
    expect(device).toMatchObject({ uid, objId, crlUrl, ocspUrl, isCa: false, kind: 'device' });
    expect(device.subject).toEqual({ organization, commonName: objId, serialNumber: uid });
    expect(device.keyUsage).toEqual({ digitalSignature: true, keyCertSign: false, crlSign: false });
    expect(device.eku).toEqual([oids.clientAuth, oids.spdmResponderAuth]);
    expect(toHex(device.hardwareSerial as Uint8Array)).toBe(uid);
    expect(device.aki).toEqual(ica.certificate.ski);
  });

  it('of authorities sign certificates and CRLs only, and an ICA has no authority below it (R1, R2)', () => {
    covers('R1', 'R2');
    expect(root.certificate).toMatchObject({ isCa: true, kind: 'rootCa' });
    expect(root.certificate.pathLength).toBeUndefined();
    expect(ica.certificate).toMatchObject({
      isCa: true,
      pathLength: 0,
      kind: 'ica',
      keyUsage: { digitalSignature: false, keyCertSign: true, crlSign: true },
    });
    expect(ica.certificate.subject.organizationalUnit).toBe('meter');
  });

  it('stay within the validity of their issuer, which is made to outlive them: a device has no end (I15)', async () => {
    covers('I15');
    const fields = { ...leafFields(ica, makeKey().spki), organization, uid, objId };
    const forEver = await issueCertificate('device', { ...fields, notAfter: '9999-12-31T23:59:59Z' }, ica.key.signer);
    const usual = await issueCertificate('device', fields, ica.key.signer);
    const short = await issueCertificate('device', { ...fields, notAfter: afterDays(30).replace('.000Z', '.700Z') }, ica.key.signer);
    for (const { notAfter } of [forEver, usual, ica.certificate, root.certificate]) expect(notAfter).toBe('9999-12-31T23:59:59.000Z');
    const early = await issueCertificate('device', { ...fields, notBefore: afterDays(-30) }, ica.key.signer);
    expect(early.notBefore).toBe(ica.certificate.notBefore);
    const old = { ...ica.certificate, notAfter: afterDays(3652) };
    expect((await issueCertificate('device', { ...fields, issuer: old }, ica.key.signer)).notAfter).toBe(old.notAfter);
    expect(short.notAfter).toBe(afterDays(30));
    expect(await codeOf(() => issueCertificate('device', { ...fields, issuer: old, notBefore: afterDays(4000) }, ica.key.signer))).toBe(
      'CERTIFICATE_EXPIRED',
    );
  });

  it('write 2050 and later as GeneralizedTime (RFC 5280 §4.1.2.5)', async () => {
    const late = await makeRoot('P-256', '2040-01-01T00:00:00Z');
    expect(late.certificate.notAfter).toBe('9999-12-31T23:59:59.000Z');
    expect(new X509Certificate(late.der).validToDate.toISOString()).toBe(late.certificate.notAfter);
  });

  it('may have a P-384 root above a P-256 ICA (R1)', async () => {
    covers('R1');
    const big = await makeRoot('P-384');
    const below = await makeIca(big);
    expect(below.certificate.signatureCurve).toBe('P-384');
    expect(
      run('openssl', ['verify', '-x509_strict', '-CAfile', 'r.pem', 'i.pem'], {
        'r.pem': pem(big.der),
        'i.pem': pem(below.der),
      }),
    ).toBe('i.pem: OK\n');
  });

  it('have positive serial numbers of exactly 16 octets whatever the random bytes', async () => {
    for (const fill of [0, 0x7f, 0x80, 0xff]) {
      const fields = { ...leafFields(ica, makeKey().spki), serial: new Uint8Array(16).fill(fill), organization, uid };
      const issued = await issueCertificate('programmer', fields, ica.key.signer);
      expect(issued.serialHex).toHaveLength(32);
      expect(Number.parseInt(issued.serialHex.slice(0, 2), 16)).toBeLessThan(0x80);
      expect(parseCertificate(issued.der).serialHex).toBe(issued.serialHex);
    }
  });

  it('stay at or under 2000 bytes, and a larger one is refused before it is signed (I15)', async () => {
    covers('I15');
    const device = await makeDevice(ica);
    console.log(`device ${device.length} bytes, device + ICA + root ${device.length + ica.der.length + root.der.length} bytes`);
    expect(device.length).toBeLessThanOrEqual(maxCertificateBytes);
    const dnsNames = Array.from({ length: 60 }, (_, i) => `host-${i}.a-rather-long-name.example`);
    const fields = { ...leafFields(ica, makeKey().spki), commonName: 'big', dnsNames, ipAddresses: [] };
    const signer = { ...ica.key.signer, sign: () => Promise.reject(new Error('signed')) };
    expect(await codeOf(() => issueCertificate('server', fields, signer))).toBe('CERTIFICATE_TOO_LARGE');
  });

  it('are CA:FALSE with the profile’s usage although the CSR asked for CA:TRUE (T32)', async () => {
    covers('T32');
    const config =
      '[req]\nprompt=no\ndistinguished_name=d\nreq_extensions=e\n[d]\nserialNumber=00112233445566778899aabbccddeeff\n[e]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\nsubjectAltName=DNS:evil.example\n';
    const key = makeKey();
    const files = { 'c.cnf': config, 'k.pem': key.privateKey.export({ type: 'pkcs8', format: 'pem' }) };
    const csr = Buffer.from(
      run('openssl', ['req', '-new', '-config', 'c.cnf', '-key', 'k.pem'], files).replace(/-----[^-]+-----|\n/g, ''),
      'base64',
    );
    const { publicKey } = judgeCsr(csr);
    const fields = { ...leafFields(ica, publicKey), organization, uid, objId };
    const issued = parseCertificate((await issueCertificate('device', fields, ica.key.signer)).der);
    expect(issued).toMatchObject({ isCa: false, dnsNames: [], keyUsage: { digitalSignature: true, keyCertSign: false, crlSign: false } });
    expect(new X509Certificate(issued.der).ca).toBe(false);
  });

  it('are built only for keys and names of the right form', async () => {
    const { signer } = ica.key;
    const fields = leafFields(ica, makeKey().spki);
    const refused = (work: Promise<unknown>) => codeOf(() => work);
    expect(await refused(issueCertificate('programmer', { ...leafFields(ica, makeKey('P-384').spki), organization, uid }, signer))).toBe(
      'KEY_REFUSED',
    );
    expect(await refused(issueCertificate('device', { ...fields, organization, uid: uid.toUpperCase(), objId }, signer))).toBe(
      'BAD_REQUEST',
    );
    expect(await refused(issueCertificate('device', { ...fields, organization, uid, objId: '' }, signer))).toBe('BAD_REQUEST');
    expect(await refused(issueCertificate('gateway', { ...fields, organization, id: 'a\u0000b' }, signer))).toBe('BAD_REQUEST');
    expect(await refused(issueCertificate('gateway', { ...fields, organization, id: 'g', crlUrl: 'https://x' }, signer))).toBe(
      'BAD_REQUEST',
    );
    expect(await refused(issueCertificate('gateway', { ...fields, organization, id: 'g', serial: serial().subarray(1) }, signer))).toBe(
      'BAD_REQUEST',
    );
    expect(
      await refused(issueCertificate('server', { ...fields, commonName: 'x', dnsNames: ['*.example'], ipAddresses: [] }, signer)),
    ).toBe('BAD_REQUEST');
    expect(
      await refused(issueCertificate('server', { ...fields, commonName: 'x', dnsNames: [], ipAddresses: ['1.2.3.256'] }, signer)),
    ).toBe('BAD_REQUEST');
  });

  it('come from the request to the certificate by its key alone (R78)', async () => {
    covers('R78');
    const key = makeKey();
    const request = judgeCsr(makeCsr(key), { commonName: objId, serialNumber: uid });
    const issued = parseCertificate(
      (await issueCertificate('device', { ...leafFields(ica, request.publicKey), organization, uid, objId }, ica.key.signer)).der,
    );
    expect(issued.spki).toEqual(key.spki);
    expect(issued.point).toEqual(key.point);
  });
});
