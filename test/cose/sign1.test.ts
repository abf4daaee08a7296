import { Decoder } from 'cbor-x';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { equalBytes, fromHex, utf8 } from '../../src/bytes.ts';
import { encodeCbor } from '../../src/cbor/encode.ts';
import type { CborKey, CborValue } from '../../src/cbor/value.ts';
import { sign1, verifySign1 } from '../../src/cose/sign1.ts';
import { NusecError } from '../../src/errors.ts';
import { everyByteFlipped, testKey, testKeyFromJwk } from './keys.ts';

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
    const decoded = new Decoder({ mapsAsObjects: false, useRecords: false }).decode(signed);
    const [protectedBytes, unprotected, content, signature] = decoded.value;
    expect(decoded.tag).toBe(18);
    expect(new Decoder({ mapsAsObjects: false }).decode(protectedBytes)).toEqual(
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

  it('refuses every changed byte (T4, T27)', async () => {
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

  const header = (...entries: [CborKey, CborValue][]) => encodeCbor(new Map(entries));
  const plain = header([1, -7], [4, key.kid]);
  const raw = new Uint8Array(64).fill(1);
  const tagged = (...value: CborValue[]) => encodeCbor({ tag: 18, value });

  it.each<[string, Uint8Array]>([
    ['no tag', encodeCbor([plain, new Map(), payload, raw])],
    ['another tag', encodeCbor({ tag: 98, value: [plain, new Map(), payload, raw] })],
    ['three parts', tagged(plain, new Map(), payload)],
    ['another algorithm', tagged(header([1, -35], [4, key.kid]), new Map(), payload, raw)],
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
    await expect(verifySign1(bytes, { resolveKey })).rejects.toThrow(code('COSE_MALFORMED'));
  });

  it('refuses random bytes and random changes with a code (T27)', async () => {
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
      { numRuns: 1000 },
    );
  });
});
