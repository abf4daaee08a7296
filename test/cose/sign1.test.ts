import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { equalBytes, fromHex, utf8 } from '../../src/bytes.ts';
import { encodeCbor } from '../../src/cbor/encode.ts';
import type { CborKey, CborValue } from '../../src/cbor/value.ts';
import { sign1, verifySign1 } from '../../src/cose/sign1.ts';
import { NusecError } from '../../src/errors.ts';
import { decodeWithCborX } from '../support/cborX.ts';
import { covers } from '../support/covers.ts';
import { everyByteFlipped, keyFrom, testKey, testKeyFromJwk } from './keys.ts';

const code = (name: string) => expect.objectContaining({ code: name });
const key = testKey();
const payload = utf8('This is the content.');
const resolveKey = () => key.spki;
const signed = await sign1({ kid: key.kid, type: 'application/test', payload }, key.sign);

describe('COSE_Sign1', () => {
  it('verifies the example of RFC 8152 Appendix C.2.1 with the key "11"', async () => {
    const example = fromHex(
      'd28443a10126a10442313154546869732069732074686520636f6e74656e742e5840' +
        '8eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36',
    );
    const known = testKeyFromJwk({
      x: 'usWxHK2PmfnHKwXPS54m0kTcGJ90UiglWiGahtagnv8',
      y: 'IBOL-C3BttVivg-lSreASjpkttcsz-1rb7btKLv8EX4',
      d: 'V8kgd2ZBRuh2dgyVINBUqpPDr7BOMGcF22CQMIUHtNM',
    });
    const only11 = (kid: Uint8Array) => (equalBytes(kid, utf8('11')) ? known.spki.slice(-65) : undefined);
    expect((await verifySign1(example, { resolveKey: only11 })).payload).toEqual(payload);
    for (const changed of everyByteFlipped(example)) await expect(verifySign1(changed, { resolveKey: only11 })).rejects.toThrow(NusecError);
  });

  it('gives back payload, kid and type, with the key as SubjectPublicKeyInfo or as point', async () => {
    const expected = { payload, kid: key.kid, headers: { kid: key.kid, type: 'application/test' } };
    expect(await verifySign1(signed, { resolveKey, expectedType: 'application/test' })).toEqual(expected);
    expect(await verifySign1(signed, { resolveKey: async () => key.spki.slice(-65) })).toEqual(expected);
  });

  it('has the form of RFC 9052 §4.2 for an independent decoder', () => {
    const decoded = decodeWithCborX(signed);
    const [protectedBytes, unprotected, content, signature] = decoded.value;
    expect(decoded.tag).toBe(18);
    expect(decodeWithCborX(protectedBytes)).toEqual(
      new Map<number, unknown>([
        [1, -7],
        [4, key.kid],
        [16, 'application/test'],
      ]),
    );
    expect(unprotected.size).toBe(0);
    expect(new Uint8Array(content)).toEqual(payload);
    expect(signature).toHaveLength(64);
  });

  it('refuses every changed byte (T27)', async () => {
    covers('T27');
    for (const changed of everyByteFlipped(signed)) await expect(verifySign1(changed, { resolveKey })).rejects.toThrow(NusecError);
  });

  it('refuses another key, an unknown key, another type and other external data', async () => {
    const withAad = await sign1({ kid: key.kid, payload, externalAad: utf8('a') }, key.sign);
    const other = testKey();
    await expect(verifySign1(signed, { resolveKey: () => other.spki })).rejects.toThrow(code('COSE_SIGNATURE'));
    await expect(verifySign1(signed, { resolveKey: () => undefined })).rejects.toThrow(code('COSE_SIGNATURE'));
    await expect(verifySign1(signed, { resolveKey, expectedType: 'application/other' })).rejects.toThrow(code('COSE_MALFORMED'));
    await expect(verifySign1(withAad, { resolveKey, externalAad: utf8('b') })).rejects.toThrow(code('COSE_SIGNATURE'));
    await expect(verifySign1(withAad, { resolveKey })).rejects.toThrow(code('COSE_SIGNATURE'));
    expect((await verifySign1(withAad, { resolveKey, externalAad: utf8('a') })).payload).toEqual(payload);
  });

  it('verifies ECDSA-sig-02 of the COSE working group (ES384, key "P384")', async () => {
    const example = fromHex(
      'd28444a1013822a104445033383454546869732069732074686520636f6e74656e742e5860' +
        'b8f85eff78c88f5351ced2f1887b79b296490795594b62e41e22529bb90208b7d8cddd4a46d0e9c986464d83d0a5d1ed' +
        'f39b3e2c5750364230d0e8d76460d8808e76c83830fbbd1978cc174066eb437f17887979ecf027dcc9d51baf6c4fd8c0',
    );
    const jwk = {
      x: 'kTJyP2KSsBBhnb4kjWmMF7WHVsY55xUPgb7k64rDcjatChoZ1nvjKmYmPh5STRKc',
      y: 'mM0weMVU2DKsYDxDJkEP9hZiRZtB8fPfXbzINZj_fF7YQRynNWedHEyzAJOX2e8s',
      d: 'ok3Nq97AXlpEusO7jIy1FZATlBP9PNReMU7DWbkLQ5dU90snHuuHVDjEPmtV0fTo',
    };
    const known = testKeyFromJwk(jwk, 'P-384');
    const named = (kid: Uint8Array) => (equalBytes(kid, utf8('P384')) ? known.spki : undefined);
    expect((await verifySign1(example, { resolveKey: named })).payload).toEqual(payload);
    for (const changed of everyByteFlipped(example)) await expect(verifySign1(changed, { resolveKey: named })).rejects.toThrow(NusecError);
  });

  describe('with a P-384 key (ES384)', () => {
    const big = testKey('P-384');
    const make = (by: Parameters<typeof sign1>[0]['curve'], signer = big) =>
      sign1({ kid: big.kid, payload, ...(by && { curve: by }) }, signer.sign);

    it('is signed over SHA-384 with 96 bytes, and -35 in the protected header', async () => {
      const made = await make('P-384');
      const { value } = decodeWithCborX(made);
      expect(decodeWithCborX(value[0]).get(1)).toBe(-35);
      expect(value[3]).toHaveLength(96);
      for (const spki of [big.spki, big.spki.slice(-97)])
        expect((await verifySign1(made, { resolveKey: () => spki })).payload).toEqual(payload);
    });

    it('the key decides the algorithm: neither passes for the other (T27)', async () => {
      covers('T27');
      const [es384, es256] = [await make('P-384'), signed];
      await expect(verifySign1(es384, { resolveKey: () => key.spki })).rejects.toThrow(code('COSE_SIGNATURE'));
      await expect(verifySign1(es256, { resolveKey: () => big.spki })).rejects.toThrow(code('COSE_SIGNATURE'));
      await expect(make('P-256')).rejects.toThrow(code('KEY_REFUSED'));
    });

    it('a good signature of the key under the name of the other algorithm is refused, whatever its length (T27)', async () => {
      covers('T27');
      const named = async (alg: number, by: typeof key, signatureBytes: number) => {
        const inside = header([1, alg], [4, by.kid]);
        const signature = await by.sign(encodeCbor(['Signature1', inside, new Uint8Array(), payload]));
        const widened = new Uint8Array(signatureBytes);
        const [from, to] = [signature.length / 2, signatureBytes / 2];
        for (const half of [0, 1])
          widened.set(signature.subarray(half * from, (half + 1) * from).slice(-to), half * to + Math.max(0, to - from));
        return verifySign1(tagged(inside, new Map(), payload, widened), { resolveKey: () => by.spki });
      };
      await expect(named(-35, key, 96)).rejects.toThrow(code('COSE_SIGNATURE'));
      await expect(named(-7, big, 64)).rejects.toThrow(code('COSE_SIGNATURE'));
      await expect(named(-7, big, 96)).rejects.toThrow(code('COSE_MALFORMED'));
      expect((await named(-35, big, 96)).payload).toEqual(payload);
    });

    it('a signature over SHA-256 is refused (T27)', async () => {
      covers('T27');
      const wrong = keyFrom(generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey, 'P-384', 'sha256');
      await expect(verifySign1(await make('P-384', wrong), { resolveKey: () => wrong.spki })).rejects.toThrow(code('COSE_SIGNATURE'));
    });

    it('every changed byte is refused (T27)', async () => {
      covers('T27');
      for (const changed of everyByteFlipped(await make('P-384')))
        await expect(verifySign1(changed, { resolveKey: () => big.spki })).rejects.toThrow(NusecError);
    });
  });

  const header = (...entries: [CborKey, CborValue][]) => encodeCbor(new Map(entries));
  const plain = header([1, -7], [4, key.kid]);
  const raw = new Uint8Array(64).fill(1);
  const tagged = (...value: CborValue[]) => encodeCbor({ tag: 18, value });

  it.each<[string, Uint8Array]>([
    ['no tag', encodeCbor([plain, new Map(), payload, raw])],
    ['another tag', encodeCbor({ tag: 98, value: [plain, new Map(), payload, raw] })],
    ['three parts', tagged(plain, new Map(), payload)],
    ['an algorithm that is not ours (ES512)', tagged(header([1, -36], [4, key.kid]), new Map(), payload, new Uint8Array(132))],
    ['an ES384 signature of 64 bytes', tagged(header([1, -35], [4, key.kid]), new Map(), payload, raw)],
    ['an ES256 signature of 96 bytes', tagged(plain, new Map(), payload, new Uint8Array(96).fill(1))],
    ['a truncated ES384 signature', tagged(header([1, -35], [4, key.kid]), new Map(), payload, new Uint8Array(95).fill(1))],
    ['no algorithm', tagged(header([4, key.kid]), new Map(), payload, raw)],
    ['the algorithm outside', tagged(header([4, key.kid]), new Map([[1, -7]]), payload, raw)],
    ['crit', tagged(header([1, -7], [2, [1]], [4, key.kid]), new Map(), payload, raw)],
    ['an unknown protected header', tagged(header([1, -7], [4, key.kid], [99, 0]), new Map(), payload, raw)],
    ['an unknown unprotected header', tagged(plain, new Map([[99, 0]]), payload, raw)],
    ['kid in both buckets', tagged(plain, new Map([[4, key.kid]]), payload, raw)],
    ['no kid', tagged(header([1, -7]), new Map(), payload, raw)],
    ['a detached payload', tagged(plain, new Map(), null, raw)],
    ['a DER signature', tagged(plain, new Map(), payload, new Uint8Array(71))],
    ['headers not wrapped', tagged(new Map([[1, -7]]), new Map(), payload, raw)],
    ['loose CBOR in the headers', tagged(fromHex('a20126044800000000000000000000'), new Map(), payload, raw)],
  ])('refuses %s (T27)', async (_, bytes) => {
    covers('T27');
    await expect(verifySign1(bytes, { resolveKey })).rejects.toThrow(code('COSE_MALFORMED'));
  });

  it('refuses random bytes and random changes with a code (T27)', async () => {
    covers('T27');
    const changes = fc.array(fc.tuple(fc.nat(signed.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(changes, fc.nat(signed.length), async (edits, cut) => {
        const bytes = signed.slice(0, cut);
        for (const [at, byte] of edits) if (at < bytes.length) bytes[at] = byte;
        await verifySign1(bytes, { resolveKey }).then(
          () => expect(bytes).toEqual(signed),
          error => expect(['COSE_MALFORMED', 'COSE_SIGNATURE']).toContain(error.code),
        );
      }),
      // A change that changes nothing, too.
      { numRuns: 1000, examples: [[[[103, signed[103] as number]], signed.length]] },
    );
  });
});
