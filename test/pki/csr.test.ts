import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex } from '../../src/bytes.ts';
import { assembleCsr, buildCertificationRequestInfo, judgeCsr, maxCsrBytes, readCertificationRequestInfo } from '../../src/pki/csr.ts';
import { tags } from '../../src/pki/der.ts';
import { bitString, context, integerOf, oid, sequence, setOf, text } from '../../src/pki/derWriter.ts';
import { encodeName } from '../../src/pki/names.ts';
import { oids } from '../../src/pki/oids.ts';
import { toPem } from '../../src/pki/pem.ts';
import { covers } from '../support/covers.ts';
import { codeOf, makeCsr, makeKey, objId, run, signedCsr, uid } from './support.ts';

const expected = { commonName: objId, serialNumber: uid, organization: 'Example' };
const key = makeKey();
const csr = makeCsr(key);

/** CertificationRequestInfo with any of its four parts replaced. */
function info(parts: { version?: Uint8Array; subject?: Uint8Array; spki?: Uint8Array; attributes?: Uint8Array }): Uint8Array {
  const { version = integerOf(0), subject = encodeName({ serialNumber: uid }), spki = key.spki, attributes = context(0) } = parts;
  return sequence(version, subject, spki, attributes);
}

const judged = (der: Uint8Array) => codeOf(() => judgeCsr(der, expected));

describe('a certification request', () => {
  it('gives UID, OBJ_ID and key of the target (R75)', () => {
    covers('R75');
    expect(judgeCsr(csr, expected)).toEqual({
      subject: { commonName: objId, serialNumber: uid },
      uid,
      objId,
      publicKey: key.spki,
      point: key.point,
    });
    expect(key.spki).toHaveLength(91);
    expect(key.point).toHaveLength(65);
  });

  it('assembled by the PC from info, key and signature is one that openssl verifies (R14)', () => {
    covers('R14');
    const output = run('openssl', ['req', '-in', 'csr.pem', '-verify', '-noout', '-subject', '-nameopt', 'RFC2253'], {
      'csr.pem': toPem('CERTIFICATE REQUEST', csr),
    });
    expect(output).toContain('verify OK');
    expect(output).toContain(uid);
  });

  it('made by openssl is accepted', () => {
    const files = { 'k.pem': key.privateKey.export({ type: 'pkcs8', format: 'pem' }) };
    const pem = run('openssl', ['req', '-new', '-key', 'k.pem', '-subj', `/CN=${objId}/serialNumber=${uid}`], files);
    expect(judgeCsr(Buffer.from(pem.replace(/-----[^-]+-----|\n/g, ''), 'base64'), expected).uid).toBe(uid);
  });

  it('may leave its subject empty, but not name another (I6)', async () => {
    covers('I6');
    const subject = (name: Parameters<typeof encodeName>[0]) => judged(makeCsr(key, name));
    expect(await subject({})).toMatchObject({ subject: {} });
    expect(await subject(expected)).toMatchObject({ uid, objId });
    const other = 'ffffffffffffffffffffffffffffffff';
    for (const name of [
      { commonName: objId, serialNumber: other },
      { commonName: other, serialNumber: uid },
      { serialNumber: uid },
      { commonName: objId },
      { ...expected, organization: 'Other' },
      { ...expected, organizationalUnit: 'programmer' },
    ]) {
      expect(await subject(name)).toBe('CSR_SUBJECT');
    }
    expect(await codeOf(() => judgeCsr(makeCsr(key, { serialNumber: uid.toUpperCase() })))).toBe('CSR_SUBJECT');
  });

  it('with unknown or repeated subject attributes is refused', async () => {
    const attribute = (type: string, value: Uint8Array) => setOf(sequence(oid(type), value));
    const cn = attribute(oids.commonName, text(tags.utf8String, 'a'));
    const withSubject = (...rdns: Uint8Array[]) => judged(signedCsr(info({ subject: sequence(...rdns) }), key));
    expect(await withSubject(attribute('2.5.4.12', text(tags.utf8String, 'Dr.')))).toBe('CSR_SUBJECT');
    expect(await withSubject(cn, cn)).toBe('CSR_MALFORMED');
    expect(await withSubject(attribute(oids.serialNumber, text(tags.utf8String, uid)))).toBe('CSR_MALFORMED');
    expect(await withSubject(attribute(oids.commonName, text(tags.utf8String, '')))).toBe('CSR_MALFORMED');
    expect(await withSubject(...Array.from({ length: 17 }, (_, i) => attribute(`2.5.4.${100 + i}`, text(tags.utf8String, 'x'))))).toBe(
      'CSR_MALFORMED',
    );
  });

  it('is refused without proof of possession (RULE-10, RFC 2986 §4.2)', async () => {
    covers('RULE-10');
    const cri = buildCertificationRequestInfo({ subject: expected, publicKeyPoint: key.point });
    expect(await judged(signedCsr(cri, makeKey()).slice())).toBe('CSR_SIGNATURE');
    expect(await judged(assembleCsr(cri, new Uint8Array(71)))).toBe('CSR_SIGNATURE');
    const sha384 = sequence(cri, sequence(oid(oids.ecdsaSha384)), bitString(sign('sha384', cri, key.privateKey)));
    expect(await judged(sha384)).toBe('CSR_ALGORITHM');
    const mislabelled = sequence(cri, sequence(oid(oids.ecdsaSha384)), bitString(sign('sha256', cri, key.privateKey)));
    expect(await judged(mislabelled)).toBe('CSR_ALGORITHM');
    const padded = concat(sign('sha256', cri, key.privateKey), Uint8Array.of(0));
    expect(await judged(assembleCsr(cri, padded))).toBe('CSR_SIGNATURE');
    const raw = sign('sha256', cri, { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
    expect(await judged(assembleCsr(cri, raw))).toBe('CSR_SIGNATURE');
  });

  it('is refused for a key that is not a P-256 point', async () => {
    const offCurve = key.spki.slice();
    offCurve[90] = (offCurve[90] ?? 0) ^ 1;
    const infinity = sequence(key.spki.subarray(2, 23), bitString(Uint8Array.of(0)));
    const compressed = sequence(
      key.spki.subarray(2, 23),
      bitString(concat(Uint8Array.of(2 + ((key.point[64] ?? 0) & 1)), key.point.subarray(1, 33))),
    );
    const hybrid = key.spki.slice();
    hybrid[26] = 6 + ((key.point[64] ?? 0) & 1);
    for (const spki of [offCurve, infinity, compressed, hybrid, makeKey('P-384').spki]) {
      expect(await judged(signedCsr(info({ spki }), key)), toHex(spki)).toBe('KEY_REFUSED');
    }
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ type: 'spki', format: 'der' });
    expect(await judged(signedCsr(info({ spki: rsa }), key))).toBe('KEY_REFUSED');
    const ed25519 = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'der' });
    expect(await judged(signedCsr(info({ spki: ed25519 }), key))).toBe('KEY_REFUSED');
  });

  it('over 2 KiB is not even looked at (T27)', async () => {
    covers('T27');
    expect(await judged(new Uint8Array(1 << 20).fill(0x30))).toBe('CSR_TOO_LARGE');
    expect(await judged(new Uint8Array(maxCsrBytes + 1))).toBe('CSR_TOO_LARGE');
    expect(await codeOf(() => readCertificationRequestInfo(new Uint8Array(maxCsrBytes + 1)))).toBe('CSR_TOO_LARGE');
  });

  it('is strict DER of version 0 with nothing more or less (T27)', async () => {
    covers('T27');
    expect(await judged(concat(csr, Uint8Array.of(0)))).toBe('CSR_MALFORMED');
    expect(await judged(csr.subarray(0, -1))).toBe('CSR_MALFORMED');
    expect(await judged(new Uint8Array())).toBe('CSR_MALFORMED');
    expect(await judged(signedCsr(info({ version: integerOf(1) }), key))).toBe('CSR_MALFORMED');
    expect(await judged(signedCsr(info({ attributes: context(1) }), key))).toBe('CSR_MALFORMED');
    expect(await judged(signedCsr(info({ attributes: context(0, integerOf(1)) }), key))).toBe('CSR_MALFORMED');
    expect(await judged(signedCsr(info({ attributes: new Uint8Array() }), key))).toBe('CSR_MALFORMED');
    expect(await judged(signedCsr(sequence(fromHex('02020000'), encodeName({}), key.spki, context(0)), key))).toBe('CSR_MALFORMED');
  });

  it('may carry attributes, which count for nothing (T32)', async () => {
    covers('T32');
    const challenge = sequence(oid('1.2.840.113549.1.9.7'), setOf(text(tags.utf8String, 'secret')));
    const judgement = await judged(signedCsr(info({ subject: sequence(), attributes: context(0, challenge) }), key));
    expect(judgement).toEqual({ subject: {}, publicKey: key.spki, point: key.point });
  });
});

describe('the target before it signs', () => {
  it('reads its own key and UID from the CertificationRequestInfo (T28)', () => {
    covers('T28');
    const cri = buildCertificationRequestInfo({ subject: { commonName: objId, serialNumber: uid }, publicKeyPoint: key.point });
    expect(readCertificationRequestInfo(cri)).toMatchObject({ uid, objId, point: key.point });
  });

  it('refuses what is not a CertificationRequestInfo (T28, T27)', async () => {
    covers('T28', 'T27');
    const reading = (bytes: Uint8Array) => codeOf(() => readCertificationRequestInfo(bytes));
    expect(await reading(csr)).toBe('CSR_MALFORMED');
    expect(await reading(concat(info({}), Uint8Array.of(0)))).toBe('CSR_MALFORMED');
    expect(await reading(info({ spki: makeKey('P-384').spki }))).toBe('KEY_REFUSED');
    expect(await codeOf(() => buildCertificationRequestInfo({ subject: {}, publicKeyPoint: key.point.subarray(1) }))).toBe('KEY_REFUSED');
  });
});

describe('100 000 mutated requests', () => {
  const algorithmBytes = 12;
  const bitStringHeadBytes = 3;

  /** xorshift32: repeatable noise. */
  const noise = (seed: number) => {
    let state = seed;
    return (below: number) => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) % below;
    };
  };

  function mutate(original: Uint8Array, next: (below: number) => number): Uint8Array {
    const at = next(original.length);
    const flipped = original.slice();
    flipped[at] = next(256);
    switch (next(6)) {
      case 0:
        return original.slice(0, at);
      case 1:
        return concat(original.subarray(0, at), Uint8Array.of(next(256)), original.subarray(at));
      case 2:
        return concat(original.subarray(0, at), original.subarray(at + 1 + next(4)));
      case 3:
        return concat(original.subarray(0, at), original.subarray(next(original.length)));
      default:
        flipped[next(original.length)] = next(256);
        return flipped;
    }
  }

  it('end with a known code, and none is accepted whose signature node:crypto refuses (T27, RULE-10)', () => {
    covers('T27', 'RULE-10');
    const next = noise(0x6e75_5345);
    const codes = new Map<string, number>();
    for (let i = 0; i < 100_000; i += 1) {
      const mutant = mutate(csr, next);
      try {
        const { publicKey } = judgeCsr(mutant);
        const spki = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
        const criEnd = 4 + 3 + (mutant[6] ?? 0);
        expect(verify('sha256', mutant.subarray(4, criEnd), spki, mutant.subarray(criEnd + algorithmBytes + bitStringHeadBytes))).toBe(
          true,
        );
        codes.set('accepted', (codes.get('accepted') ?? 0) + 1);
      } catch (error) {
        const code = String((error as { code?: unknown }).code);
        codes.set(code, (codes.get(code) ?? 0) + 1);
      }
    }
    const known = ['accepted', 'CSR_MALFORMED', 'CSR_SIGNATURE', 'CSR_ALGORITHM', 'CSR_SUBJECT', 'KEY_REFUSED', 'CSR_TOO_LARGE'];
    expect([...codes.keys()].filter(code => !known.includes(code))).toEqual([]);
  });
});
