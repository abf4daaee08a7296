import { ContentInfo, SignedData } from 'pkijs';
import { beforeAll, describe, expect, it } from 'vitest';
import { csrAttributes } from '../../src/pki/csrAttributes.ts';
import { context, integerOf, octetString, oid, sequence, setOf, tlv } from '../../src/pki/derWriter.ts';
import { oids } from '../../src/pki/oids.ts';
import { fromPem } from '../../src/pki/pem.ts';
import { buildCertsOnly, readCertsOnly } from '../../src/pki/pkcs7.ts';
import { covers } from '../support/covers.ts';
import { type Authority, codeOf, makeIca, makeRoot, run } from './support.ts';

let root: Authority;
let ica: Authority;
beforeAll(async () => {
  root = await makeRoot();
  ica = await makeIca(root);
});

describe('PKCS#7 certs-only (RFC 5652 §5)', () => {
  it('is read by openssl, certtool and pkijs, and reads back', () => {
    const der = buildCertsOnly([root.der, ica.der]);
    const pem = run('openssl', ['pkcs7', '-inform', 'DER', '-in', 'p7', '-print_certs'], { p7: der });
    const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/g) ?? [];
    const sorted = [root.der, ica.der].toSorted(Buffer.compare);
    expect(fromPem('CERTIFICATE', blocks.join('')).map(each => Buffer.from(each))).toEqual(sorted.map(each => Buffer.from(each)));
    expect(run('certtool', ['--p7-info', '--inder', '--infile', 'p7'], { p7: der })).toContain('Number of certificates: 2');
    const signed = new SignedData({ schema: ContentInfo.fromBER(Uint8Array.from(der)).content });
    expect(signed.certificates).toHaveLength(2);
    expect(readCertsOnly(der).map(each => Buffer.from(each))).toEqual(sorted.map(each => Buffer.from(each)));
  });

  it('is read strictly', async () => {
    const code = (der: Uint8Array) => codeOf(() => readCertsOnly(der));
    const signed = (...fields: readonly Uint8Array[]) => sequence(oid(oids.cmsSignedData), context(0, sequence(...fields)));
    const data = sequence(oid(oids.cmsData));
    const certificates = context(0, root.der);
    for (const der of [
      buildCertsOnly([]),
      buildCertsOnly(Array.from({ length: 33 }, () => root.der)),
      signed(integerOf(3), setOf(), data, certificates, setOf()),
      signed(integerOf(1), setOf(), data, setOf()),
      signed(integerOf(1), setOf(), sequence(oid(oids.cmsData), context(0, octetString(new Uint8Array(3)))), certificates, setOf()),
      signed(integerOf(1), setOf(), data, certificates, setOf(sequence())),
      sequence(oid(oids.cmsData), context(0, sequence())),
      tlv(0x30, [new Uint8Array(70_000)]),
    ])
      expect(await code(der)).toBe('DER_MALFORMED');
  });

  it('never crashes on a changed byte (T27)', async () => {
    covers('T27');
    const good = buildCertsOnly([root.der]);
    for (let at = 0; at < good.length; at += 1)
      for (const flip of [1, 0x80, 0xff]) {
        const bad = good.slice();
        bad[at] = (bad[at] ?? 0) ^ flip;
        const result = await codeOf(() => readCertsOnly(bad));
        if (typeof result === 'string') expect(result).toBe('DER_MALFORMED');
      }
  });
});

it('EST says: a P-256 key, ECDSA with SHA-256 (RFC 7030 §4.5.2)', () => {
  const text = run('openssl', ['asn1parse', '-inform', 'DER', '-in', 'a'], { a: csrAttributes });
  for (const name of ['id-ecPublicKey', 'prime256v1', 'ecdsa-with-SHA256']) expect(text).toContain(name);
});
