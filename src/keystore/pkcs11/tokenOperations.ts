import { createCipheriv, createHmac } from 'node:crypto';
import { concat, utf8 } from '../../bytes.ts';
import { sha256 } from '../../digest.ts';
import { NusecError } from '../../errors.ts';
import type { Kdf, KeyInfo, WrappedKey } from '../port.ts';
import { attribute, kdfNull, keyType, mechanism, objectClass } from './constants.ts';
import { CryptokiError } from './cryptoki.ts';
import { encodeCbcData, encodeEcdh, type Template } from './encode.ts';
import {
  createObject,
  deriveKey,
  destroyObject,
  digestKey,
  generatePair,
  type Session,
  signWith,
  unwrapObject,
  wrapObject,
} from './session.ts';
import { isLost, type Token } from './token.ts';
import { curveParams, forUse, publicPart, readPublicKey, secret, secretBytes, type TokenKey, type TokenKeys } from './tokenKeys.ts';

/** What the keys of a token do.
 *
 *  SoftHSM and most tokens have no HKDF. HKDF-Extract (RFC 5869 §2.2) is HMAC with the secret as the *message*, so the token digests
 *  the secret behind the salt (C_DigestKey) and only the extracted key comes out, never the secret itself: for `seal` that is the
 *  key of one package; for `derive` it is the agreed key on its way into the token. */

export type TokenOperations = {
  /** @param digest of the curve's length @returns r ‖ s */
  sign(id: string, digest: Uint8Array): Promise<Uint8Array>;
  derive(id: string, peerPoint: Uint8Array, kdf: Kdf, targetId: string, createdAt: string): Promise<KeyInfo>;
  mac(id: string, message: Uint8Array): Promise<Uint8Array>;
  seal(id: string, kdf: Kdf, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Promise<Uint8Array>;
  generateWrapped(kekId: string, context: string): Promise<WrappedKey>;
  /** @param digest 32 bytes @returns r ‖ s @throws KEY_REFUSED */
  signWrapped(kekId: string, context: string, wrapped: Uint8Array, digest: Uint8Array): Promise<Uint8Array>;
  rewrap(kekId: string, context: string, wrapped: Uint8Array, newKekId: string): Promise<Uint8Array>;
  /** Wraps a boot key that was born outside. @param scalar 32 bytes, wiped by the caller */
  wrapBorn(kekId: string, context: string, scalar: Uint8Array): Promise<Uint8Array>;
};

const temporary: Template = [[attribute.token, false]];
const aSecret: Template = [...temporary, [attribute.class, objectClass.secretKey], [attribute.valueLen, secretBytes]];
const genericSecret: Template = [...secret, ...aSecret, [attribute.keyType, keyType.genericSecret], ...forUse('secretKey', 'sign')];
const wrappingKey: Template = [...secret, ...aSecret, [attribute.keyType, keyType.aes], ...forUse('secretKey', 'wrap', 'unwrap')];
const privateEc: Template = [...temporary, [attribute.class, objectClass.privateKey], [attribute.keyType, keyType.ec]];
const signingKey: Template = [...secret, ...privateEc, ...forUse('privateKey', 'sign')];
/** A boot key on its way out, wrapped: it leaves no other way and lives for one call. */
const leaving: Template = [[attribute.private, true], [attribute.sensitive, true], [attribute.extractable, true], ...forUse('privateKey')];

export function createOperations({ pool, keyWrap }: Token, keys: TokenKeys): TokenOperations {
  /** Gives `work` a key that lasts as long as it. */
  const withKey = async <Result>(session: Session, made: Promise<bigint>, work: (key: bigint) => Promise<Result>): Promise<Result> => {
    const key = await made;
    try {
      return await work(key);
    } finally {
      destroyObject(session, key);
    }
  };
  const subkey = (session: Session, base: TokenKey, use: string, template: Template): Promise<bigint> =>
    deriveKey(session, encodeCbcData(session.cryptoki, mechanism.aesCbcEncryptData, sha256(utf8(use))), base.handles[0], template);

  /** Every context has its own wrapping key, so that a wrapped key does not open in another device's row. */
  const withWrappingKey = <Result>(session: Session, kekId: string, context: string, work: (key: bigint) => Promise<Result>) =>
    withKey(session, subkey(session, keys.entry(kekId), `${custodyUse} ${context}`, wrappingKey), work);

  /** An agreed secret serves as it is; an AES key serves through a subkey, as tokens tie a key to one algorithm. */
  const withMacKey = <Result>(session: Session, id: string, work: (key: bigint) => Promise<Result>): Promise<Result> => {
    const key = keys.entry(id);
    return key.origin === 'derived' ? work(key.handles[0]) : withKey(session, subkey(session, key, macUse, genericSecret), work);
  };

  const unwrap = async (session: Session, wrapping: bigint, wrapped: Uint8Array, template: Template): Promise<bigint> => {
    try {
      return await unwrapObject(session, keyWrap, wrapping, wrapped, template);
    } catch (error) {
      // The wrapping key was made a moment ago: general errors are about the wrapped bytes.
      const aboutBytes = error instanceof CryptokiError && (!isLost(error) || generalErrors.has(error.returnValue));
      throw aboutBytes ? new NusecError('KEY_REFUSED', 'the wrapped key does not open under this key and context') : error;
    }
  };

  return {
    sign: (id, digest) => pool.lease(session => signWith(session, mechanism.ecdsa, keys.entry(id).handles[0], digest)),

    async derive(id, peerPoint, kdf, targetId, createdAt) {
      const value = await pool.lease(session => {
        const mechanismOf = encodeEcdh(session.cryptoki, mechanism.ecdh1Derive, kdfNull, peerPoint);
        const shared = deriveKey(session, mechanismOf, keys.entry(id).handles[0], genericSecret);
        return withKey(session, shared, async key => hkdf(session, key, kdf));
      });
      try {
        return await keys.addAgreed(targetId, value, createdAt);
      } finally {
        value.fill(0);
      }
    },

    mac: (id, message) => pool.lease(session => withMacKey(session, id, key => signWith(session, mechanism.sha256Hmac, key, message))),

    async seal(id, kdf, iv, aad, plaintext) {
      const contentKey = await pool.lease(session => withMacKey(session, id, async key => hkdf(session, key, kdf)));
      const cipher = createCipheriv('aes-256-gcm', contentKey, iv).setAAD(aad);
      contentKey.fill(0);
      return concat(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
    },

    generateWrapped: (kekId, context) =>
      pool.lease(async session => {
        const forWrapping: Template = [...leaving, ...temporary];
        const pair = await generatePair(session, mechanism.ecKeyPairGen, [...publicPart('P-256'), ...temporary], forWrapping);
        const publicKey = readPublicKey(session, pair.publicKey);
        destroyObject(session, pair.publicKey);
        const wrapped = await withKey(session, Promise.resolve(pair.privateKey), key =>
          withWrappingKey(session, kekId, context, wrapping => wrapObject(session, keyWrap, wrapping, key)),
        );
        return { publicKey, wrapped };
      }),

    signWrapped: (kekId, context, wrapped, digest) =>
      pool.lease(session =>
        withWrappingKey(session, kekId, context, wrapping =>
          withKey(session, unwrap(session, wrapping, wrapped, signingKey), key => signWith(session, mechanism.ecdsa, key, digest)),
        ),
      ),

    rewrap: (kekId, context, wrapped, newKekId) =>
      pool.lease(session =>
        withWrappingKey(session, kekId, context, from =>
          withWrappingKey(session, newKekId, context, to =>
            withKey(session, unwrap(session, from, wrapped, [...leaving, ...privateEc]), key => wrapObject(session, keyWrap, to, key)),
          ),
        ),
      ),

    wrapBorn: (kekId, context, scalar) =>
      pool.lease(session => {
        const born: Template = [...leaving, ...privateEc, [attribute.ecParams, curveParams['P-256']], [attribute.value, scalar]];
        return withKey(session, Promise.resolve(createObject(session, born)), key =>
          withWrappingKey(session, kekId, context, wrapping => wrapObject(session, keyWrap, wrapping, key)),
        );
      }),
  };
}

const custodyUse = 'NuSEC token custody v1';
const macUse = 'NuSEC token mac v1';
/** GENERAL_ERROR and FUNCTION_FAILED: SoftHSM's answers to bytes that do not unwrap. */
const generalErrors: ReadonlySet<number> = new Set([0x5, 0x6]);

const hmacBlockBytes = 64;

/** HKDF-SHA-256 of 32 bytes (RFC 5869) with the secret in the token; HMAC's inner hash (RFC 2104 §2) is done there. */
function hkdf(session: Session, key: bigint, { salt, info }: Kdf): Uint8Array {
  const block = new Uint8Array(hmacBlockBytes);
  block.set(salt.length > hmacBlockBytes ? sha256(salt) : salt);
  const inner = digestKey(session, mechanism.sha256, xor(block, 0x36), key);
  const extracted = sha256(concat(xor(block, 0x5c), inner));
  const expanded = createHmac('sha256', extracted).update(info).update(Uint8Array.of(1)).digest();
  inner.fill(0);
  extracted.fill(0);
  return new Uint8Array(expanded);
}

const xor = (bytes: Uint8Array, pad: number): Uint8Array => bytes.map(byte => byte ^ pad);
