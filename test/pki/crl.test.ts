import { sign } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { concat, toHex } from '../../src/bytes.ts';
import { buildCrl, type CrlFields, encodeCrlEntry, type Revocation } from '../../src/pki/crl.ts';
import { bitString, context, integerOf, sequence, time } from '../../src/pki/derWriter.ts';
import { extension } from '../../src/pki/extensions.ts';
import { signatureAlgorithms } from '../../src/pki/keys.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { toPem } from '../../src/pki/pem.ts';
import { isRevocationReason, type RevocationReason, revocationReasons } from '../../src/pki/revocationReasons.ts';
import { covers } from '../support/covers.ts';
import { maxCrlBytes, readCrl } from './readCrl.ts';
import { type Authority, afterDays, codeOf, makeDevice, makeIca, makeRoot, now, run, serial } from './support.ts';

let root: Authority;
let ica: Authority;
beforeAll(async () => {
  root = await makeRoot();
  ica = await makeIca(root);
});

const reasons = Object.keys(revocationReasons) as RevocationReason[];
const serialHex = () => toHex(Uint8Array.from(serial(), (byte, i) => (i === 0 ? (byte & 0x3f) | 0x40 : byte)));
const revocations = (count: number): Revocation[] =>
  Array.from({ length: count }, (_, i) => ({
    serialHex: serialHex(),
    revokedAt: now,
    reason: reasons[i % reasons.length] ?? 'unspecified',
  }));

const build = (list: readonly Revocation[], changes: Partial<CrlFields> = {}, by = ica) =>
  buildCrl(
    { issuer: by.certificate, number: 7, thisUpdate: now, nextUpdate: afterDays(7), entries: list.map(encodeCrlEntry), ...changes },
    by.key.signer,
    nextTurn,
  );

const crlPem = (der: Uint8Array) => toPem('X509 CRL', der);
const certificatePem = (...ders: readonly Uint8Array[]) => ders.map(der => toPem('CERTIFICATE', der)).join('');

describe('a certificate revocation list (R86, RULE-16)', () => {
  it('is verified and read by openssl, every reason of RFC 5280', async () => {
    covers('R86', 'RULE-16');
    const list = revocations(10);
    const files = { 'crl.pem': crlPem(await build(list)), 'ica.pem': certificatePem(ica.der) };
    const output = run('openssl', ['crl', '-in', 'crl.pem', '-verify', '-CAfile', 'ica.pem', '-noout', '-text'], files);
    expect(output).toContain('verify OK');
    for (const { serialHex: hex } of list) expect(output).toContain(hex.toUpperCase());
    for (const text of [
      'Key Compromise',
      'CA Compromise',
      'Affiliation Changed',
      'Superseded',
      'Cessation Of Operation',
      'Certificate Hold',
      'Remove From CRL',
      'Privilege Withdrawn',
      'AA Compromise',
    ]) {
      expect(output).toContain(text);
    }
    expect(output.match(/Serial Number:/g)).toHaveLength(10);
    expect(output.match(/X509v3 CRL Reason Code/g)).toHaveLength(9);
  });

  it('is put together with turns of others in between, whatever its length (RULE-16)', async () => {
    covers('RULE-16');
    const entry = encodeCrlEntry({ serialHex: '11'.repeat(16), revokedAt: now, reason: 'keyCompromise' });
    const many = Buffer.concat(Array.from({ length: 100 }, () => entry));
    const count = 300;
    let [turns, isOpen] = [0, true];
    const others = (): void => {
      turns += 1;
      if (isOpen) setImmediate(others);
    };
    setImmediate(others);
    const der = await build([], { entries: Array.from({ length: count }, () => many) });
    isOpen = false;
    expect(turns).toBeGreaterThanOrEqual(Math.floor((count * many.length) / (256 * 1024)));
    const files = { 'crl.pem': crlPem(der), 'ica.pem': certificatePem(ica.der) };
    expect(run('openssl', ['crl', '-in', 'crl.pem', '-verify', '-CAfile', 'ica.pem', '-noout'], files)).toContain('verify OK');
  });

  it('makes openssl refuse the revoked device and accept the others', async () => {
    const [revoked, good] = [await makeDevice(ica), await makeDevice(ica)];
    const crl = await build([{ serialHex: parseCertificate(revoked).serialHex, revokedAt: now, reason: 'keyCompromise' }]);
    const files = {
      'ca.pem': certificatePem(root.der, ica.der),
      'crl.pem': crlPem(crl),
      'bad.pem': certificatePem(revoked),
      'good.pem': certificatePem(good),
    };
    const check = (leaf: string) =>
      run('openssl', ['verify', '-x509_strict', '-crl_check', '-CRLfile', 'crl.pem', '-CAfile', 'ca.pem', leaf], files);
    expect(check('good.pem')).toBe('good.pem: OK\n');
    expect(() => check('bad.pem')).toThrow(expect.objectContaining({ stdout: expect.stringContaining('certificate revoked') }));
  });

  it('is read by GnuTLS, empty or not', async () => {
    for (const count of [0, 3]) {
      const output = run('certtool', ['--crl-info', '--infile', 'crl.pem'], { 'crl.pem': crlPem(await build(revocations(count))) });
      expect(output).toContain(count === 0 ? 'No revoked certificates' : 'Revoked certificates (3)');
      expect(output).toContain('CRL Number (not critical): 07');
      const verdict = run('certtool', ['--verify-crl', '--load-ca-certificate', 'ica.pem', '--infile', 'crl.pem'], {
        'crl.pem': crlPem(await build(revocations(count))),
        'ica.pem': certificatePem(ica.der),
      });
      expect(verdict).toContain('Verification output: Verified.');
    }
  });

  it('reads back as it was written, full and delta', async () => {
    const list = revocations(25);
    expect(readCrl(await build(list), ica.certificate, now)).toEqual({
      number: 7,
      thisUpdate: now,
      nextUpdate: afterDays(7),
      entries: list,
    });
    expect(readCrl(await build([], { number: 2 ** 40, baseNumber: 5 }), ica.certificate, undefined)).toMatchObject({
      number: 2 ** 40,
      baseNumber: 5,
      entries: [],
    });
    const big = await makeRoot('P-384');
    expect(readCrl(await build(list, {}, big), big.certificate, now).entries).toEqual(list);
  });

  it('is refused from another issuer, key or time, and when altered', async () => {
    const crl = await build(revocations(3));
    const code = (der: Uint8Array, issuer = ica, at: string | undefined = now) => codeOf(() => readCrl(der, issuer.certificate, at));
    expect(await code(crl, root)).toBe('CHAIN_REFUSED');
    expect(await code(crl, await makeIca(root))).toBe('CHAIN_REFUSED');
    expect(await code(crl, { ...ica, certificate: parseCertificate(await makeDevice(ica)) })).toBe('CHAIN_REFUSED');
    const keyUsage = { digitalSignature: false, keyCertSign: true, crlSign: false };
    expect(await code(crl, { ...ica, certificate: { ...ica.certificate, keyUsage } })).toBe('CHAIN_REFUSED');
    expect(await code(crl, ica, afterDays(-1))).toBe('CHAIN_REFUSED');
    expect(await code(crl, ica, afterDays(8))).toBe('CHAIN_REFUSED');
    expect(await code(await build([], { issuer: root.certificate }))).toBe('CHAIN_REFUSED');
    expect(await code(await build([], { issuer: { subjectDer: ica.certificate.subjectDer, ski: new Uint8Array(20) } }))).toBe(
      'CHAIN_REFUSED',
    );
    expect(await code(new Uint8Array(maxCrlBytes + 1))).toBe('DER_MALFORMED');
    for (let at = 0; at < crl.length; at += 1) {
      const flipped = crl.slice();
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      expect(['CHAIN_REFUSED', 'DER_MALFORMED'], `byte ${at}`).toContain(await code(flipped));
    }
  });

  it('is refused without a number, of version 1, or with a critical extension that is not known', async () => {
    const algorithm = signatureAlgorithms['P-256'];
    const between = [time(now), time(afterDays(1))];
    const forged = (
      version: Uint8Array,
      extensions: readonly Uint8Array[],
      entries: readonly Uint8Array[] = [],
      times: readonly Uint8Array[] = between,
    ) => {
      const revoked = entries.length > 0 ? [sequence(...entries)] : [];
      const tbs = sequence(version, algorithm, ica.certificate.subjectDer, ...times, ...revoked, context(0, sequence(...extensions)));
      return sequence(tbs, algorithm, bitString(sign('sha256', tbs, ica.key.privateKey)));
    };
    const number = extension('crlNumber', false, integerOf(1));
    const code = (der: Uint8Array) => codeOf(() => readCrl(der, ica.certificate, undefined));
    expect(await code(forged(integerOf(1), [number]))).toMatchObject({ number: 1 });
    expect(await code(forged(integerOf(0), [number]))).toBe('DER_MALFORMED');
    expect(await code(forged(integerOf(1), []))).toBe('DER_MALFORMED');
    expect(await code(forged(integerOf(1), [number, extension('keyUsage', true, integerOf(1))]))).toBe('DER_MALFORMED');
    const entry = (extra: Uint8Array) => sequence(integerOf(9), time(now), sequence(extra));
    expect(await code(forged(integerOf(1), [number], [entry(extension('keyUsage', true, integerOf(1)))]))).toBe('DER_MALFORMED');
    expect(await code(forged(integerOf(1), [number], [entry(extension('reasonCode', false, Uint8Array.of(0x0a, 1, 7)))]))).toBe(
      'DER_MALFORMED',
    );
    expect(await code(forged(integerOf(1), [number], [entry(extension('keyUsage', false, integerOf(1)))]))).toMatchObject({
      entries: [{ reason: 'unspecified' }],
    });
    // What is in an extension is DER too, once each, and nothing behind it.
    const reason = (...value: readonly number[]) => extension('reasonCode', false, Uint8Array.from(value));
    const two = (...extra: readonly Uint8Array[]) => sequence(integerOf(9), time(now), sequence(...extra));
    const numbered = (value: Uint8Array) => extension('crlNumber', false, value);
    expect(await code(forged(integerOf(1), [number], [entry(reason(0x0a, 1, 1))]))).toMatchObject({
      entries: [{ reason: 'keyCompromise' }],
    });
    const [old, fresh] = [time(afterDays(-2)), time(now)];
    for (const [what, der] of Object.entries({
      'reason of two bytes': forged(integerOf(1), [number], [entry(reason(0x0a, 2, 0, 1))]),
      'bytes behind a reason': forged(integerOf(1), [number], [entry(reason(0x0a, 1, 1, 0))]),
      'two reasons': forged(integerOf(1), [number], [two(reason(0x0a, 1, 1), reason(0x0a, 1, 4))]),
      'no extension of an entry': forged(integerOf(1), [number], [two()]),
      'bytes behind the number': forged(integerOf(1), [numbered(concat(integerOf(1), Uint8Array.of(0)))]),
      'two numbers': forged(integerOf(1), [number, numbered(integerOf(2))]),
      'an end before the beginning': forged(integerOf(1), [number], [], [fresh, old]),
      'no entry in the list of entries': forged(integerOf(1), [number], [], [fresh, time(afterDays(1)), sequence()]),
    }))
      expect(await code(der), what).toBe('DER_MALFORMED');
  });

  it('keeps any serial number and time (property)', async () => {
    const second = fc.integer({ min: 0, max: 4_000_000_000 }).map(value => new Date(value * 1000).toISOString());
    const serials = fc
      .bigInt({ min: 1n, max: 2n ** 127n - 1n })
      .map(value => value.toString(16))
      .map(hex => (hex.length % 2 === 0 ? hex : `0${hex}`));
    const one = fc.record({ serialHex: serials, revokedAt: second, reason: fc.constantFrom(...reasons) });
    await fc.assert(
      fc.asyncProperty(fc.array(one, { maxLength: 20 }), async list => {
        expect(readCrl(await build(list), ica.certificate, undefined).entries).toEqual(list);
      }),
    );
  });

  it('of 100 000 entries is signed again after one revocation from the entries that were kept encoded', async () => {
    const kept = revocations(100_000).map(encodeCrlEntry);
    kept.push(encodeCrlEntry({ serialHex: serialHex(), revokedAt: now, reason: 'superseded' }));
    const der = await build([], { entries: kept });
    expect(readCrl(der, ica.certificate, now).entries).toHaveLength(100_001);
  });

  it('names reasons in the spelling of RFC 5280', () => {
    expect(isRevocationReason('cACompromise')).toBe(true);
    expect(isRevocationReason('toString')).toBe(false);
    expect(isRevocationReason('caCompromise')).toBe(false);
  });
});
