import { createSign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { toBase64url, toHex, utf8 } from '../../src/bytes.ts';
import { decodeCbor } from '../../src/cbor/decode.ts';
import { encodeCbor } from '../../src/cbor/encode.ts';
import { type CborValue, isArray, isMap, isTag } from '../../src/cbor/value.ts';
import { sign1 } from '../../src/cose/sign1.ts';
import { type SigningUse, signingUses } from '../../src/domain/signingUse.ts';
import { type SignedReport, signReport, verifyReport } from '../../src/production/report.ts';
import { signingKeysOf, signTrustBundle, type TrustBundle, verifyTrustBundle } from '../../src/production/trustBundle.ts';
import { testKey } from '../cose/keys.ts';
import { makeKey } from '../pki/support.ts';

const root = testKey();
const key = testKey();
const bundleWith = (uses: readonly SigningUse[]): TrustBundle => ({
  version: 1,
  issuedAtSeconds: 1_800_000_000,
  roots: [Uint8Array.of(1)],
  issuers: [],
  signingKeys: [{ kid: key.kid, point: key.spki.slice(-65), uses }],
});

function payloadOf(bundle: Uint8Array): ReadonlyMap<unknown, CborValue> {
  const message = decodeCbor(bundle);
  const payload = isTag(message) && isArray(message.value) ? message.value[2] : undefined;
  const map = payload instanceof Uint8Array ? decodeCbor(payload) : undefined;
  if (map === undefined || !isMap(map)) throw new Error('no bundle');
  return map;
}
const usesOnTheWire = (bundle: Uint8Array) => (payloadOf(bundle).get(5) as unknown as readonly (readonly CborValue[])[])[0]?.[2];

/** The same bundle with something else in place of the uses. */
async function withUses(value: CborValue): Promise<Uint8Array> {
  const map = new Map(payloadOf(await signTrustBundle(bundleWith(['grant']), root)) as ReadonlyMap<number, CborValue>);
  map.set(5, [[key.kid, key.spki.slice(-65), value]]);
  return sign1({ kid: root.kid, type: 'application/nusec-trust-bundle', payload: encodeCbor(map) }, root.sign);
}

describe('signing keys in a trust bundle', () => {
  it('have the uses that they were written with, each set of them', async () => {
    for (let bits = 1; bits < 1 << signingUses.length; bits += 1) {
      const uses = signingUses.filter((_, index) => (bits & (1 << index)) !== 0);
      const read = await verifyTrustBundle(await signTrustBundle(bundleWith(uses), root), root.spki);
      for (const use of signingUses)
        expect(signingKeysOf(read, use)(key.kid) !== undefined, `${use} of ${uses.join()}`).toBe(uses.includes(use));
    }
  });

  it('with every use are written as they were before each use had its own', async () => {
    expect(usesOnTheWire(await signTrustBundle(bundleWith(signingUses), root))).toBe('package');
    expect(usesOnTheWire(await signTrustBundle(bundleWith(['package']), root))).toBe(1);
    const { signingKeys } = await verifyTrustBundle(await withUses('package'), root.spki);
    expect(signingKeys[0]?.uses).toEqual(signingUses);
  });

  it('are refused without a use, or with one that is not known', async () => {
    expect((await verifyTrustBundle(await withUses(2), root.spki)).signingKeys[0]?.uses).toEqual(['grant']);
    for (const value of [0, 32, 33, 'grant', '', null, ['grant']])
      await expect(verifyTrustBundle(await withUses(value), root.spki), String(value)).rejects.toMatchObject({ code: 'CBOR_MALFORMED' });
  });
});

describe('the report of a job', () => {
  const text = '{"jobId":"a"}';
  const keys = () => key.spki;

  it('is signed with its type, and none of its parts can be exchanged', async () => {
    const signed = await signReport(text, key);
    expect(await verifyReport(signed, keys)).toBe(text);
    const untyped = toBase64url(await sign1({ kid: key.kid, payload: utf8(text) }, key.sign));
    const order = toBase64url(await sign1({ kid: key.kid, type: 'application/nusec-order', payload: utf8(text) }, key.sign));
    for (const [changes, code] of [
      [{ report: '{"jobId":"b"}' }, 'COSE_SIGNATURE'],
      [{ signed: untyped }, 'COSE_MALFORMED'],
      [{ signed: order }, 'COSE_MALFORMED'],
      [{ signed: undefined }, 'COSE_SIGNATURE'],
    ] as const)
      await expect(verifyReport({ ...signed, ...changes }, keys)).rejects.toMatchObject({ code });
    await expect(verifyReport(signed, () => undefined)).rejects.toMatchObject({ code: 'COSE_SIGNATURE' });
  });

  it('from before is verified by its bare signature', async () => {
    const { privateKey, spki } = makeKey();
    const signature = createSign('sha256').update(text).sign({ key: privateKey, dsaEncoding: 'ieee-p1363' });
    const old: SignedReport = { report: text, kid: toHex(key.kid), signature: toBase64url(signature) };
    expect(await verifyReport(old, () => spki)).toBe(text);
    for (const bad of [signature.subarray(0, 63), Buffer.concat([signature, Buffer.of(0)]), Buffer.alloc(64), Buffer.alloc(0)])
      await expect(verifyReport({ ...old, signature: toBase64url(bad) }, () => spki)).rejects.toMatchObject({ code: 'COSE_SIGNATURE' });
  });
});
