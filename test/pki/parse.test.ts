import { sign, X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { concat } from '../../src/bytes.ts';
import { checkChain } from '../../src/pki/chain.ts';
import { contextPrimitive } from '../../src/pki/der.ts';
import { bitString, context, integer, integerOf, octetString, oid, sequence, time, tlv } from '../../src/pki/derWriter.ts';
import { caConstraints, extension, extKeyUsage, subjectKeyIdentifier } from '../../src/pki/extensions.ts';
import { signatureAlgorithms } from '../../src/pki/keys.ts';
import { encodeName } from '../../src/pki/names.ts';
import { oids } from '../../src/pki/oids.ts';
import { maxReadCertificateBytes, parseCertificate } from '../../src/pki/parse.ts';
import { fromPem, toPem } from '../../src/pki/pem.ts';
import { covers } from '../support/covers.ts';
import { type Authority, afterDays, codeOf, makeDevice, makeIca, makeKey, makeRoot, now, run, uid } from './support.ts';

let root: Authority;
let ica: Authority;
let device: Uint8Array;
beforeAll(async () => {
  root = await makeRoot();
  ica = await makeIca(root);
  device = await makeDevice(ica);
});

const key = makeKey();
type Body = { version?: Uint8Array; serial?: Uint8Array; inner?: Uint8Array; times?: Uint8Array; tail?: readonly Uint8Array[] };

/** A certificate of any build, properly signed. */
function build(body: Body): Uint8Array {
  const algorithm = signatureAlgorithms['P-256'];
  const { version = context(0, integerOf(2)), serial = integerOf(7), inner = algorithm } = body;
  const { times = sequence(time(now), time(afterDays(1))), tail = [context(3, sequence(caConstraints()))] } = body;
  const name = encodeName({ commonName: 'x' });
  const tbs = sequence(version, serial, inner, name, times, name, key.spki, ...tail);
  return sequence(tbs, algorithm, bitString(sign('sha256', tbs, key.privateKey)));
}

const parsed = (der: Uint8Array) => codeOf(() => parseCertificate(der));

const keyUsage = (...value: readonly number[]) => extension('keyUsage', true, Uint8Array.from(value));
const altName = (...names: readonly Uint8Array[]) => extension('subjectAltName', false, sequence(...names));
const hardwareName = (serial: number, ...behind: readonly Uint8Array[]) =>
  context(0, oid(oids.hardwareModuleName), context(0, sequence(oid(oids.hardwareType), octetString(Uint8Array.of(serial)))), ...behind);

describe('the certificate reader', () => {
  it('reads and checks a chain made by openssl, of another curve and another key identifier method', () => {
    const sign384 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:secp384r1', '-nodes', '-keyout', 'r.key', '-out', 'r.pem'];
    const usage = 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n';
    const leaf =
      'basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nsubjectAltName=DNS:a.example,email:x@a.example,IP:::1\nextendedKeyUsage=serverAuth\ncrlDistributionPoints=URI:ldap://a/b,URI:http://a.example/c.crl\nauthorityInfoAccess=caIssuers;URI:http://a.example/i,OCSP;URI:http://a.example/o\n';
    const script = [
      `openssl req -x509 -sha384 -days 30 -subj /C=TW/O=Öl/CN=r/emailAddress=a@b.example -utf8 ${sign384.join(' ')} -config c.cnf -extensions ca`,
      'openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout l.key -subj /CN=l -out l.csr -config c.cnf',
      'openssl x509 -req -sha384 -days 20 -in l.csr -CA r.pem -CAkey r.key -out l.pem -extfile c.cnf -extensions leaf',
      'cat l.pem r.pem',
    ].join(' 2>/dev/null && ');
    const config = `[req]\ndistinguished_name=d\n[d]\n[ca]\n${usage}[leaf]\n${leaf}`;
    const [leafDer, rootDer] = fromPem('CERTIFICATE', run('sh', ['-c', script], { 'c.cnf': config })) as [Uint8Array, Uint8Array];
    const opened = checkChain([leafDer], {
      roots: [rootDer],
      now: Date.now(),
      purpose: 'server',
      host: 'a.example',
      recorded: () => [{ use: 'server' }],
    });
    expect(opened).toMatchObject({
      dnsNames: ['a.example'],
      crlUrl: 'http://a.example/c.crl',
      ocspUrl: 'http://a.example/o',
      kind: 'server',
    });
    expect(parseCertificate(rootDer)).toMatchObject({ subject: { country: 'TW', organization: 'Öl', commonName: 'r' }, curve: 'P-384' });
  });

  it('reads RSA certificates but trusts no chain of them', () => {
    const args = [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      '/dev/null',
      '-subj',
      '/CN=rsa',
      '-addext',
      'keyUsage=critical,keyCertSign',
    ];
    const text = run('openssl', args, {});
    const [rsa] = fromPem('CERTIFICATE', text.slice(text.indexOf('-----BEGIN CERT'))) as [Uint8Array];
    const opened = parseCertificate(rsa);
    expect(opened).toMatchObject({ isCa: true, subject: { commonName: 'rsa' } });
    expect(opened.curve).toBeUndefined();
    expect(opened.signatureCurve).toBeUndefined();
    expect(() => checkChain([rsa], { roots: [rsa], now, purpose: 'device' })).toThrow(expect.objectContaining({ code: 'CHAIN_REFUSED' }));
  });

  it('accepts what is built right and refuses every other build (T27)', async () => {
    covers('T27');
    expect(await parsed(build({}))).toMatchObject({ isCa: true, serialHex: '07' });
    expect(await parsed(build({ tail: [] }))).toMatchObject({ isCa: false, kind: 'unknown' });
    const usual = [context(3, sequence(keyUsage(3, 2, 7, 0x80), altName(hardwareName(1))))];
    expect(await parsed(build({ tail: usual }))).toMatchObject({ keyUsage: { digitalSignature: true }, hardwareSerial: Uint8Array.of(1) });
    const algorithm384 = signatureAlgorithms['P-384'];
    const generalized = tlv(0x18, [Buffer.from('20260101000000Z')]);
    const wrong: Readonly<Record<string, Body>> = {
      'version 1': { version: new Uint8Array() },
      'version 2': { version: context(0, integerOf(1)) },
      'serial zero': { serial: integerOf(0) },
      'serial negative': { serial: Uint8Array.of(2, 1, 0x80) },
      'serial of 21 bytes': { serial: integer(new Uint8Array(21).fill(1)) },
      'two algorithms': { inner: algorithm384 },
      'GeneralizedTime before 2050': { times: sequence(generalized, generalized) },
      'three times': { times: sequence(time(now), time(now), time(now)) },
      'unique identifier': { tail: [tlv(contextPrimitive(1), [Uint8Array.of(0, 1)]), context(3, sequence(caConstraints()))] },
      'something behind': { tail: [context(3, sequence(caConstraints())), integerOf(1)] },
      'path length without CA': { tail: [context(3, sequence(extension('basicConstraints', true, sequence(integerOf(1)))))] },
      'no usages': { tail: [context(3, sequence(extKeyUsage()))] },
      'no names': { tail: [context(3, sequence(extension('subjectAltName', false, sequence())))] },
      'value that is not DER': { tail: [context(3, sequence(extension('keyUsage', true, Uint8Array.of(3, 0x81, 2, 7, 0x80))))] },
      'no extension': { tail: [context(3, sequence())] },
      'keyUsage of no bit': { tail: [context(3, sequence(keyUsage(3, 1, 0)))] },
      'keyUsage with zero bits at its end': { tail: [context(3, sequence(keyUsage(3, 2, 0, 0x80)))] },
      'keyUsage with a zero byte at its end': { tail: [context(3, sequence(keyUsage(3, 3, 7, 0x80, 0)))] },
      'two hardware names': { tail: [context(3, sequence(altName(hardwareName(1), hardwareName(2))))] },
      'something behind a hardware name': { tail: [context(3, sequence(altName(hardwareName(1, integerOf(1)))))] },
      'key identifier twice': {
        tail: [context(3, sequence(subjectKeyIdentifier(new Uint8Array(20)), subjectKeyIdentifier(new Uint8Array(20))))],
      },
      'too many extensions': {
        tail: [
          context(3, sequence(...Array.from({ length: 30 }, (_, i) => sequence(Uint8Array.of(6, 2, 0x2a, i + 1), Uint8Array.of(4, 0))))),
        ],
      },
    };
    for (const [what, body] of Object.entries(wrong)) expect(await parsed(build(body)), what).toBe('CERTIFICATE_MALFORMED');
    expect(await parsed(concat(device, Uint8Array.of(0)))).toBe('CERTIFICATE_MALFORMED');
    expect(await parsed(new Uint8Array(maxReadCertificateBytes + 1))).toBe('CERTIFICATE_MALFORMED');
  });

  it('takes a UID only in its one form, lower-case hex', () => {
    expect(parseCertificate(device).uid).toBe(uid);
    expect(ica.certificate.uid).toBeUndefined();
    expect(ica.certificate.objId).toBeUndefined();
  });

  it('ends with its one code for every mutant, and reads nothing that node:crypto cannot (T27)', () => {
    covers('T27');
    let accepted = 0;
    for (let at = 0; at < device.length; at += 1) {
      for (const change of [0x01, 0x20, 0x80, 0xff]) {
        const mutant = device.slice();
        mutant[at] = (mutant[at] ?? 0) ^ change;
        try {
          parseCertificate(mutant);
        } catch (error) {
          expect(error).toMatchObject({ code: 'CERTIFICATE_MALFORMED' });
          continue;
        }
        accepted += 1;
        expect(() => new X509Certificate(mutant)).not.toThrow();
      }
      expect(() => parseCertificate(device.subarray(0, at))).toThrow(expect.objectContaining({ code: 'CERTIFICATE_MALFORMED' }));
    }
    expect(accepted).toBeGreaterThan(0);
  });

  it('survives the way through PEM', () => {
    expect(fromPem('CERTIFICATE', toPem('CERTIFICATE', device))).toEqual([device]);
  });
});
