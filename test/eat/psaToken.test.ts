import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../src/bytes.ts';
import { encodeCbor } from '../../src/cbor/encode.ts';
import type { CborMap, CborValue } from '../../src/cbor/value.ts';
import { encodeClaims, instanceIdOf, instanceIdOfKey, type PsaToken, stateHash } from '../../src/eat/psaClaims.ts';
import { isToken, signToken, verifyToken } from '../../src/eat/psaToken.ts';
import { codeOf } from '../pki/support.ts';
import { covers } from '../support/covers.ts';

/** PSA attestation tokens against the examples of RFC 9783, and what the profile says of encodings, algorithms and earlier profiles. */

const read = (name: string) => JSON.parse(readFileSync(new URL(`../vectors/psa/${name}.json`, import.meta.url), 'utf8'));
const example = read('rfc9783-sign1');
const token = fromHex(example.token);
const exampleKey = createPublicKey({ key: example.key, format: 'jwk' });
const exampleNonce = fromHex(example.claims.nonce);

const nonce = new Uint8Array(32).fill(9);
const claims: Omit<PsaToken, 'profile'> = {
  nonce,
  clientId: -1,
  instanceId: new Uint8Array(33).fill(1),
  implementationId: new Uint8Array(32).fill(2),
  lifeCycle: 'secured',
  components: [
    { type: 'App', value: new Uint8Array(32).fill(3), version: '1.2.3', signerId: new Uint8Array(32).fill(4), description: 'sha-256' },
  ],
  bootSeed: new Uint8Array(32).fill(5),
};
const pair = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve });
const own = pair('P-256');

type Sign1 = {
  readonly inside?: CborValue;
  readonly outside?: CborMap;
  readonly payload: Uint8Array;
  readonly hash?: string;
  readonly key?: KeyObject;
};

/** A COSE_Sign1 in whatever form. */
function sign1({ inside = new Map([[1, -7]]), outside = new Map(), payload, hash = 'sha256', key = own.privateKey }: Sign1): Uint8Array {
  const protectedBytes = encodeCbor(inside);
  const signed = encodeCbor(['Signature1', protectedBytes, new Uint8Array(), payload]);
  const signature = new Uint8Array(sign(hash, signed, { key, dsaEncoding: 'ieee-p1363' }));
  return encodeCbor({ tag: 18, value: [protectedBytes, outside, payload, signature] });
}
const verify = (bytes: Uint8Array, key = own.publicKey) => verifyToken(bytes, { nonce, key });
const payloadOf = (map: ReadonlyMap<number, CborValue>) => encodeCbor(map);

describe('the example of RFC 9783', () => {
  it('verifies, and has the claims that the RFC lists', async () => {
    const {
      algorithm,
      nonce: got,
      instanceId,
      implementationId,
      bootSeed,
      components,
      ...rest
    } = await verifyToken(token, {
      nonce: exampleNonce,
      key: exampleKey,
    });
    const hex = (bytes: Uint8Array | undefined) => bytes && toHex(bytes);
    expect(algorithm).toBe('ES256');
    expect({
      ...rest,
      nonce: hex(got),
      instanceId: hex(instanceId),
      implementationId: hex(implementationId),
      bootSeed: hex(bootSeed),
      components: components.map(one => ({ ...one, value: hex(one.value), signerId: hex(one.signerId) })),
    }).toEqual(example.claims);
  });

  it('under a MAC is of a kind that is not read', async () => {
    const mac0 = fromHex(read('rfc9783-mac0').token);
    expect(isToken(mac0)).toBe(true);
    expect(await codeOf(() => verify(mac0))).toBe('EVIDENCE_UNSUPPORTED');
  });

  it('proves nothing for another nonce, by another key, or with any bit changed (T27)', async () => {
    covers('T27');
    expect(await codeOf(() => verifyToken(token, { nonce, key: exampleKey }))).toBe('ATTESTATION_FAILED');
    expect(await codeOf(() => verifyToken(token, { nonce: exampleNonce, key: own.publicKey }))).toBe('COSE_SIGNATURE');
    const changed = fc.asyncProperty(fc.nat(token.length - 1), fc.nat(7), async (at, bit) => {
      const bytes = token.slice();
      bytes[at]! ^= 1 << bit;
      await expect(verifyToken(bytes, { nonce: exampleNonce, key: exampleKey })).rejects.toMatchObject({ code: expect.any(String) });
    });
    await fc.assert(changed, { numRuns: 1000 });
  });
});

describe('a token', () => {
  const signRaw = async (input: Uint8Array) => new Uint8Array(sign('sha256', input, { key: own.privateKey, dsaEncoding: 'ieee-p1363' }));

  it('reads as it was signed', async () => {
    expect(await verify(await signToken(claims, signRaw))).toEqual({
      ...claims,
      profile: 'tag:psacertified.org,2023:psa#tfm',
      algorithm: 'ES256',
    });
  });

  it.each([
    ['ES384', -35, 'P-384', 'sha384'],
    ['ES512', -36, 'P-521', 'sha512'],
  ])('may be signed with %s, by a key of its curve only', async (name, id, curve, hash) => {
    const { privateKey, publicKey } = pair(curve);
    const bytes = sign1({ inside: new Map([[1, id]]), payload: payloadOf(encodeClaims(claims) as never), hash, key: privateKey });
    expect(await verify(bytes, publicKey)).toMatchObject({ algorithm: name });
    expect(await codeOf(() => verify(bytes))).toBe('COSE_SIGNATURE');
  });

  it('need not be deterministic CBOR, and may have claims and headers that nobody knows', async () => {
    const entries = [...encodeClaims(claims)].reverse().map(([key, value]) => Buffer.concat([encodeCbor(key), encodeCbor(value)]));
    const half = Buffer.from('1a000f4240fb3ff199999999999a', 'hex'); // 1000000: 1.1
    const tagged = Buffer.from('1a000f4241d903e7a1418019ffff', 'hex'); // 1000001: 999({h'80': 65535})
    const payload = Buffer.concat([Buffer.from([0xb8, entries.length + 2]), ...entries, half, tagged]);
    const bytes = sign1({
      inside: new Map<number, CborValue>([
        [1, -7],
        [3, 'application/eat+cwt'],
      ]),
      outside: new Map([[4, Uint8Array.of(7)]]),
      payload,
    });
    expect(await verify(bytes)).toMatchObject(claims);
  });

  it.each<[string, Partial<Sign1>]>([
    [
      'with a critical header',
      {
        inside: new Map<number, CborValue>([
          [1, -7],
          [2, [99]],
        ]),
      },
    ],
    ['without a map of claims', { payload: encodeCbor('claims') }],
  ])('is refused %s', async (_what, parts) => {
    expect(await codeOf(() => verify(sign1({ payload: payloadOf(encodeClaims(claims) as never), ...parts })))).toBe('COSE_MALFORMED');
  });

  it('of another algorithm or profile is of a kind that is not read', async () => {
    const other = new Map(encodeClaims(claims)).set(265, 'tag:example.org,2030:other');
    expect(await codeOf(() => verify(sign1({ payload: encodeCbor(other) })))).toBe('EVIDENCE_UNSUPPORTED');
    const payload = payloadOf(encodeClaims(claims) as never);
    expect(await codeOf(() => verify(sign1({ inside: new Map([[1, -8]]), payload })))).toBe('EVIDENCE_UNSUPPORTED');
  });

  it.each<[string, number, CborValue | undefined]>([
    ['a nonce of another length', 10, new Uint8Array(31)],
    ['several nonces', 10, [nonce, nonce]],
    ['the client id 0', 2394, 0],
    ['a client id beyond 32 bits', 2394, 2 ** 31],
    ['no life cycle', 2395, undefined],
    ['an instance id that is no UEID of type RAND', 256, new Uint8Array(33).fill(2)],
    ['a short implementation id', 2396, new Uint8Array(31)],
    ['no software components', 2399, []],
    ['a component without signer', 2399, [new Map<number, CborValue>([[2, new Uint8Array(32)]])]],
    [
      'a short measurement',
      2399,
      [
        new Map<number, CborValue>([
          [2, new Uint8Array(16)],
          [5, new Uint8Array(32)],
        ]),
      ],
    ],
    ['a boot seed of 4 bytes', 268, new Uint8Array(4)],
  ])('with %s is no proof', async (_what, key, value) => {
    const map = new Map(encodeClaims(claims));
    if (value === undefined) map.delete(key);
    else map.set(key, value);
    expect(await codeOf(() => verify(sign1({ payload: encodeCbor(map) })))).toBe('ATTESTATION_FAILED');
  });

  it('of an earlier profile is read under the keys of that profile', async () => {
    const [component] = [...encodeClaims(claims)].filter(([key]) => key === 2399).map(([, value]) => value);
    const before = new Map<number, CborValue>([
      [-75000, 'PSA_IOT_PROFILE_1'],
      [-75001, -1],
      [-75002, 0x3042],
      [-75003, claims.implementationId],
      [-75004, claims.bootSeed ?? null],
      [-75006, component ?? null],
      [-75008, nonce],
      [-75009, claims.instanceId],
    ]);
    expect(await verify(sign1({ payload: encodeCbor(before) }))).toMatchObject({ ...claims, profile: 'PSA_IOT_PROFILE_1' });
    const draft = new Map(encodeClaims(claims)).set(265, 'http://arm.com/psa/2.0.0');
    expect(await verify(sign1({ payload: encodeCbor(draft) }))).toMatchObject({ lifeCycle: 'secured' });
  });
});

it('has the instance id of its key as TF-M makes it, whatever the curve', () => {
  for (const curve of ['P-256', 'P-384', 'P-521']) {
    const { publicKey } = pair(curve);
    const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
    const point = Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
    expect(instanceIdOfKey(new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })))).toEqual(instanceIdOf(point));
  }
});

it('stands for the same state whatever nonce and boot seed it has', () => {
  const other = { ...claims, profile: 'x', nonce: new Uint8Array(32), bootSeed: new Uint8Array(8) };
  expect(stateHash(other)).toEqual(stateHash({ ...claims, profile: 'x' }));
  expect(stateHash({ ...other, lifeCycle: 'nonPsaRotDebug' })).not.toEqual(stateHash(other));
});
