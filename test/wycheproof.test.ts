import { spawnSync } from 'node:child_process';
import { createPrivateKey, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex, utf8 } from '../src/bytes.ts';
import { aes256GcmOpen } from '../src/cose/encrypt0.ts';
import { sha256 } from '../src/digest.ts';
import { coordinateBytes, derToRaw } from '../src/ecdsa.ts';
import { type Curve, curveOf, digestOf, importKey, pointOf, verifyOnce } from '../src/ecKey.ts';
import { agree } from '../src/keystore/ec.ts';
import { unwrapKey, wrapKey } from '../src/keystore/kwp.ts';
import { unwrapKey as unwrapContentKey } from '../src/ota/ecies.ts';
import { checkSignature } from '../src/ota/signature.ts';
import { tlvType } from '../src/ota/tlv.ts';
import { openBox, sealBox } from '../src/sealedBox.ts';
import { ecdhFromRandom } from '../src/spdm/ecdh.ts';
import { expand, hmac } from '../src/spdm/hkdf.ts';
import { verifyByKey } from '../src/spdm/signature.ts';
import { type HashAlgorithm, hashAlgorithms } from '../src/spdm/suite.ts';

/** The vectors of Project Wycheproof (https://github.com/C2SP/wycheproof), through the functions that sign, verify, wrap, open and agree here. They are
 *  no part of the project: `npm test` fetches them (scripts/wycheproof.sh), and `WYCHEPROOF` names the folder of another copy. Cases of our own in their
 *  manner: cryptoEdges.test.ts. */

const given = process.env.WYCHEPROOF ?? fetched();
if (given === undefined) console.warn('wycheproof.test.ts: skipped, scripts/wycheproof.sh could not fetch the vectors from Debian');

/** Nothing is fetched when they are there already. */
function fetched(): string | undefined {
  const { status, stdout } = spawnSync(fileURLToPath(new URL('../scripts/wycheproof.sh', import.meta.url)), { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

type Vector = { readonly tcId: number; readonly comment: string; readonly result: 'valid' | 'invalid' | 'acceptable' } & Readonly<
  Record<string, string>
>;
type Group = Readonly<Record<string, unknown>> & { readonly tests: readonly Vector[] };

/** Files that had another name before 2024. */
const earlierNames: Readonly<Record<string, string>> = { ed25519: 'eddsa', aes_kwp: 'kwp' };

function groupsOf(name: string): readonly Group[] {
  const folder = [join(given ?? '', 'testvectors_v1'), given ?? ''].find(existsSync) ?? '';
  const file = [name, earlierNames[name]].map(known => join(folder, `${known}_test.json`)).find(existsSync) ?? name;
  return (JSON.parse(readFileSync(file, 'utf8')) as { testGroups: readonly Group[] }).testGroups;
}

/** Everything of a file that is of this kind. `acceptable` may go either way. */
async function hold(name: string, isOurs: (group: Group) => boolean, judge: (vector: Vector, group: Group) => unknown): Promise<void> {
  const wrong: string[] = [];
  let judged = 0;
  for (const group of groupsOf(name).filter(isOurs))
    for (const vector of group.tests) {
      judged += 1;
      const isTaken = (await judge(vector, group)) === true;
      if (vector.result !== 'acceptable' && isTaken !== (vector.result === 'valid')) wrong.push(`${vector.tcId} ${vector.comment}`);
    }
  expect(wrong, name).toEqual([]);
  expect(judged, name).toBeGreaterThan(20);
}

const all = (): boolean => true;
const bytes = (vector: Vector, field: string): Uint8Array => fromHex(vector[field] ?? '');
const keyOf = (group: Group): Uint8Array => fromHex((group.publicKeyDer ?? group.keyDer) as string);
/** What a refusal throws is no answer. */
const orUndefined = <Result>(work: () => Result): Result | undefined => {
  try {
    return work();
  } catch {
    return undefined;
  }
};
const isSame = (answer: Uint8Array | undefined, wanted: Uint8Array): boolean => answer !== undefined && toHex(answer) === toHex(wanted);

const hashOf = (curve: Curve): HashAlgorithm => hashAlgorithms.find(({ name }) => name === digestOf[curve]) as HashAlgorithm;

describe.skipIf(given === undefined)('Wycheproof', () => {
  describe.each([
    ['P-256', 'ecdsa_secp256r1_sha256'],
    ['P-384', 'ecdsa_secp384r1_sha384'],
  ] as const)('a signature on %s', (curve, file) => {
    it('in DER, as requests and certificates have it', () =>
      hold(file, all, (vector, group) => {
        const signature = bytes(vector, 'sig');
        const isTaken = verifyOnce({ curve, publicKey: keyOf(group), message: bytes(vector, 'msg'), signature });
        if (isTaken) expect(derToRaw(signature, coordinateBytes[curve]), vector.comment).toBeDefined();
        return isTaken;
      }));

    it('of r and s, as SPDM and COSE have it', () =>
      hold(`${file}_p1363`, all, async (vector, group) => {
        const algorithms = { hash: hashOf(curve), signature: { curve } } as unknown as Parameters<typeof verifyByKey>[0];
        const by = (place: 'pool' | 'caller') =>
          verifyByKey(algorithms, importKey(keyOf(group)), bytes(vector, 'msg'), bytes(vector, 'sig'), 'test', place).then(
            () => true,
            () => false,
          );
        const [apart, here] = [await by('pool'), await by('caller')];
        expect(apart).toBe(here);
        return here;
      }));
  });

  it.each([
    ['P-256', 'ecdsa_secp256r1_sha256', tlvType.ecdsaSignature],
    ['Ed25519-pure', 'ed25519', tlvType.ed25519Signature],
  ] as const)('a signature of firmware: %s', (algorithm, file, signatureType) =>
    hold(file, all, (vector, group) => {
      const spki = keyOf(group);
      const image = {
        body: bytes(vector, 'msg'),
        imageHash: sha256(bytes(vector, 'msg')),
        protectedTlvs: [],
        tlvs: [
          { type: tlvType.keyHash, value: sha256(spki) },
          { type: signatureType, value: bytes(vector, 'sig') },
        ],
      };
      return checkSignature(image as never, { algorithm, keyHashOf: [spki] }) === undefined;
    }),
  );

  /** PKCS#8 of a private number without its point. */
  const p256Key = (vector: Vector): KeyObject => {
    const number = fromHex((vector.private ?? '').slice(-64).padStart(64, '0'));
    const der = concat(fromHex('3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420'), number);
    return createPrivateKey({ key: Buffer.from(der), format: 'der', type: 'pkcs8' });
  };
  const kdf = { salt: utf8('salt'), info: utf8('info') };
  const derived = (shared: Uint8Array) => new Uint8Array(hkdfSync('sha256', shared, kdf.salt, kdf.info, 32));
  /** A content key wrapped for whoever comes to this secret. */
  const wrappedFor = (shared: Uint8Array, ephemeral: Uint8Array): Uint8Array => {
    const okm = new Uint8Array(hkdfSync('sha256', shared, new Uint8Array(), utf8('MCUBoot_ECIES_v1'), 64));
    const wrapped = new Uint8Array(32);
    return concat(ephemeral, hmac(hashOf('P-256'), okm.subarray(32), wrapped), wrapped);
  };

  it('an agreement on P-256, with a point', () =>
    hold('ecdh_secp256r1_ecpoint', all, vector => {
      const [point, shared] = [bytes(vector, 'public'), bytes(vector, 'shared')];
      const byKeystore = isSame(
        orUndefined(() => agree(p256Key(vector), point, kdf)),
        derived(shared),
      );
      const group = { curve: 'prime256v1', privateBytes: 32 } as unknown as Parameters<ReturnType<typeof ecdhFromRandom>>[0];
      const number = fromHex((vector.private ?? '').slice(-64).padStart(64, '0'));
      const bySpdm = isSame(
        orUndefined(() => ecdhFromRandom(() => number)(group).derive(point.slice(1))),
        shared,
      );
      const byFirmware = unwrapContentKey('P-256', wrappedFor(shared, point), p256Key(vector), 32) !== undefined;
      // SPDM's exchange data has no first byte that could say another form.
      if (point.length === 65) expect(bySpdm, vector.comment).toBe(byKeystore);
      expect(byFirmware, vector.comment).toBe(byKeystore);
      // A compressed point is a point, but not the form that is taken here.
      if (point.length === 33) expect(byKeystore).toBe(false);
      return byKeystore || (point.length === 33 && vector.result === 'valid');
    }));

  it('an agreement on P-256, with a SubjectPublicKeyInfo in its one form', () =>
    hold('ecdh_secp256r1', all, vector => {
      const spki = bytes(vector, 'public');
      if (curveOf(spki) !== 'P-256') return vector.result === 'valid' ? spki.length === 59 : false;
      return isSame(
        orUndefined(() => agree(p256Key(vector), pointOf(spki), kdf)),
        derived(bytes(vector, 'shared')),
      );
    }));

  it('an agreement on X25519, for firmware', () =>
    hold('x25519', all, vector => {
      const der = concat(fromHex('302e020100300506032b656e04220420'), bytes(vector, 'private'));
      const key = createPrivateKey({ key: Buffer.from(der), format: 'der', type: 'pkcs8' });
      return unwrapContentKey('X25519', wrappedFor(bytes(vector, 'shared'), bytes(vector, 'public')), key, 32) !== undefined;
    }));

  it('a key wrapped with padding under 256 bits', () =>
    hold(
      'aes_kwp',
      ({ keySize }) => keySize === 256,
      vector => {
        const kek = createSecretKey(bytes(vector, 'key'));
        const isOpened = isSame(
          orUndefined(() => unwrapKey(kek, bytes(vector, 'ct'))),
          bytes(vector, 'msg'),
        );
        if (vector.result === 'valid') expect(toHex(wrapKey(kek, bytes(vector, 'msg')))).toBe(vector.ct);
        return isOpened;
      },
    ));

  it('AES-256-GCM with nonces and tags of our lengths', () =>
    hold(
      'aes_gcm',
      ({ keySize, ivSize, tagSize }) => keySize === 256 && ivSize === 96 && tagSize === 128,
      async vector => {
        const [key, iv, aad, plaintext] = ['key', 'iv', 'aad', 'msg'].map(field => bytes(vector, field)) as [
          Uint8Array,
          Uint8Array,
          Uint8Array,
          Uint8Array,
        ];
        const ciphertext = concat(bytes(vector, 'ct'), bytes(vector, 'tag'));
        const isOpened = isSame(await aes256GcmOpen(key)({ iv, aad, ciphertext }), plaintext);
        expect(isSame(openBox(key, aad, concat(iv, ciphertext)), plaintext)).toBe(isOpened);
        if (vector.result === 'valid') expect(toHex(sealBox(key, iv, aad, plaintext))).toBe(toHex(concat(iv, ciphertext)));
        return isOpened;
      },
    ));

  it.each(['P-256', 'P-384'] as const)('HMAC and HKDF of a session, with the hash of %s', async curve => {
    const hash = hashOf(curve);
    const size = hash.hashBytes * 8;
    await hold(
      `hmac_${hash.name}`,
      ({ keySize, tagSize }) => (keySize as number) <= hash.blockBytes * 8 && tagSize === size,
      vector => isSame(hmac(hash, bytes(vector, 'key'), bytes(vector, 'msg')), bytes(vector, 'tag')),
    );
    await hold(`hkdf_${hash.name}`, all, vector => {
      const [salt, size] = [bytes(vector, 'salt'), Number(vector.size)];
      if (salt.length > hash.blockBytes || size > 255 * hash.hashBytes) return vector.result === 'valid';
      const extracted = hmac(hash, salt, bytes(vector, 'ikm'));
      return isSame(expand(hash, extracted, size, bytes(vector, 'info')), bytes(vector, 'okm'));
    });
  });
});
