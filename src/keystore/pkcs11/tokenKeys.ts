import { createPublicKey, randomBytes } from 'node:crypto';
import { concat, fromHex, toBase64url, toHex, utf8 } from '../../bytes.ts';
import type { Curve } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { type KeyOrigin, keyExists, keyNotFound } from '../keyRules.ts';
import type { KeyAlgorithm, KeyInfo } from '../port.ts';
import { attribute, keyType, mechanism, objectClass } from './constants.ts';
import type { Template } from './encode.ts';
import { createObject, destroyObject, findObjects, generatePair, generateSecret, getAttributes, type Session } from './session.ts';
import type { Token } from './token.ts';

/** The keys of a token: found once, then known by id with their handles.
 *
 *  CKA_LABEL is the key id. CKA_ID has 16 bytes: milliseconds since 1970 (6, when the key was made) and 10 random ones, the same in
 *  both halves of a pair. A generated AES key is CKK_AES and only derives (see tokenCustody.ts); one agreed with a peer is
 *  CKK_GENERIC_SECRET, so that by its type it wraps nothing. */

export type TokenKey = KeyInfo & { readonly origin: KeyOrigin; readonly handles: readonly [bigint, ...bigint[]] };

export type TokenKeys = {
  /** @throws KEY_NOT_FOUND */
  entry(id: string): TokenKey;
  list(): readonly KeyInfo[];
  /** Finds the keys again: other processes may have made or destroyed some. @throws KEYSTORE_DAMAGED */
  find(): Promise<readonly KeyInfo[]>;
  /** @throws KEY_EXISTS */
  generate(id: string, algorithm: KeyAlgorithm, createdAt: string): Promise<KeyInfo>;
  /** A secret agreed with a peer; wiped by the caller. @param secret 32 bytes @throws KEY_EXISTS */
  addAgreed(id: string, secret: Uint8Array, createdAt: string): Promise<KeyInfo>;
  /** A pair that was born outside. @param scalar 32 or 48 bytes, wiped by the caller @throws KEY_EXISTS */
  addPair(info: KeyInfo, scalar: Uint8Array): Promise<KeyInfo>;
  destroy(id: string): Promise<void>;
};

const idBytes = 16;
const timeBytes = 6;
export const secretBytes = 32;

/** ECParameters: the named curve's OID, DER (RFC 5480 §2.1.1.1). */
export const curveParams: Readonly<Record<Curve, Uint8Array>> = {
  'P-256': fromHex('06082a8648ce3d030107'),
  'P-384': fromHex('06052b81040022'),
};
const coordinateBytes: Readonly<Record<Curve, number>> = { 'P-256': 32, 'P-384': 48 };

/** Nothing in the token is ever readable, and nobody changes what it may be used for. */
export const secret: Template = [
  [attribute.private, true],
  [attribute.sensitive, true],
  [attribute.extractable, false],
];
type Use = 'encrypt' | 'decrypt' | 'sign' | 'verify' | 'wrap' | 'unwrap' | 'derive';
const usesOf = {
  publicKey: ['encrypt', 'verify', 'wrap'],
  privateKey: ['decrypt', 'sign', 'unwrap', 'derive'],
  secretKey: ['encrypt', 'decrypt', 'sign', 'verify', 'wrap', 'unwrap', 'derive'],
} as const satisfies Record<string, readonly Use[]>;

/** Every use of a key said: tokens have their own defaults for what is left open. */
export const forUse = (type: keyof typeof usesOf, ...allowed: readonly Use[]): Template =>
  usesOf[type].map(use => [attribute[use], allowed.includes(use)]);

const permanent: Template = [
  [attribute.token, true],
  [attribute.modifiable, false],
];

/** Finds the keys. @throws KEYSTORE_DAMAGED for two keys of one id, or one whose secret could be read out (T17) */
export async function openTokenKeys({ pool }: Token): Promise<TokenKeys> {
  let keys = await pool.lease(async session => loadKeys(session));

  const reserve = <Made extends TokenKey>(id: string, make: (session: Session) => Promise<Made>): Promise<KeyInfo> =>
    pool.lease(async session => {
      if (keys.has(id)) throw keyExists(id);
      const made = await make(session);
      keys.set(id, made);
      return infoOf(made);
    });
  const making = new Map<string, Promise<unknown>>();
  /** The first of several that make one id in parallel wins; the others see its key. */
  const inTurn = async <Result>(id: string, work: () => Promise<Result>): Promise<Result> => {
    const before = making.get(id);
    const turn = before ? before.then(work, work) : work();
    making.set(id, turn);
    try {
      return await turn;
    } finally {
      if (making.get(id) === turn) making.delete(id);
    }
  };
  const entry = (id: string): TokenKey => {
    const found = keys.get(id);
    if (!found) throw keyNotFound(id);
    return found;
  };

  return {
    entry,
    list: () => Array.from(keys.values(), infoOf),
    async find() {
      keys = await pool.lease(async session => loadKeys(session));
      return Array.from(keys.values(), infoOf);
    },
    generate: (id, algorithm, createdAt) =>
      inTurn(id, () =>
        reserve(id, session => (algorithm === 'AES-256' ? makeAes(session, id, createdAt) : makePair(session, id, algorithm, createdAt))),
      ),
    addAgreed: (id, value, createdAt) => inTurn(id, () => reserve(id, async session => addSecret(session, id, value, createdAt))),
    addPair: (info, scalar) => inTurn(info.id, () => reserve(info.id, async session => addPair(session, info, scalar))),
    destroy: id =>
      inTurn(id, () =>
        pool.lease(async session => {
          for (const handle of entry(id).handles) destroyObject(session, handle);
          keys.delete(id);
        }),
      ),
  };
}

async function makeAes(session: Session, id: string, createdAt: string): Promise<TokenKey> {
  const template: Template = [
    ...secret,
    ...permanent,
    ...named(id, tokenId(createdAt)),
    [attribute.class, objectClass.secretKey],
    [attribute.keyType, keyType.aes],
    [attribute.valueLen, secretBytes],
    ...forUse('secretKey', 'derive'),
  ];
  const handle = await generateSecret(session, mechanism.aesKeyGen, template);
  return proven(session, { id, algorithm: 'AES-256', origin: 'generated', createdAt, handles: [handle] });
}

async function makePair(session: Session, id: string, algorithm: Curve, createdAt: string): Promise<TokenKey> {
  const name = named(id, tokenId(createdAt));
  const handles = await generatePair(
    session,
    mechanism.ecKeyPairGen,
    [...publicPart(algorithm), ...permanent, ...name],
    [...secret, ...permanent, ...name, ...pairUse(algorithm)],
  );
  const publicKey = readPublicKey(session, handles.publicKey);
  return proven(session, { id, algorithm, origin: 'generated', createdAt, publicKey, handles: [handles.privateKey, handles.publicKey] });
}

function addSecret(session: Session, id: string, value: Uint8Array, createdAt: string): TokenKey {
  const handle = createObject(session, [
    ...secret,
    ...permanent,
    ...named(id, tokenId(createdAt)),
    [attribute.class, objectClass.secretKey],
    [attribute.keyType, keyType.genericSecret],
    [attribute.value, value],
    ...forUse('secretKey', 'sign'),
  ]);
  return proven(session, { id, algorithm: 'AES-256', origin: 'derived', createdAt, handles: [handle] });
}

function addPair(session: Session, { id, algorithm, createdAt, publicKey }: KeyInfo, scalar: Uint8Array): TokenKey {
  const curve = algorithm === 'P-384' ? 'P-384' : 'P-256';
  const name = named(id, tokenId(createdAt));
  const point = (publicKey ?? new Uint8Array()).subarray(-(1 + 2 * coordinateBytes[curve]));
  const octets = concat(Uint8Array.of(0x04, point.length), point);
  const publicHandle = createObject(session, [
    ...publicPart(curve),
    ...permanent,
    ...name,
    [attribute.class, objectClass.publicKey],
    [attribute.keyType, keyType.ec],
    [attribute.ecPoint, octets],
  ]);
  const privateHandle = createObject(session, [
    ...secret,
    ...permanent,
    ...name,
    [attribute.class, objectClass.privateKey],
    [attribute.keyType, keyType.ec],
    [attribute.ecParams, curveParams[curve]],
    [attribute.value, scalar],
    ...pairUse(curve),
  ]);
  const made = { id, algorithm, origin: 'generated', createdAt, publicKey: readPublicKey(session, publicHandle) } as const;
  return proven(session, { ...made, handles: [privateHandle, publicHandle] });
}

export const publicPart = (curve: Curve): Template => [
  [attribute.ecParams, curveParams[curve]],
  [attribute.private, false],
  ...forUse('publicKey', 'verify'),
];

const pairUse = (curve: Curve): Template => (curve === 'P-256' ? forUse('privateKey', 'sign', 'derive') : forUse('privateKey', 'sign'));

const named = (id: string, idValue: Uint8Array): Template => [
  [attribute.label, utf8(id)],
  [attribute.id, idValue],
];

function tokenId(createdAt: string): Uint8Array {
  const time = Date.parse(createdAt)
    .toString(16)
    .padStart(2 * timeBytes, '0');
  return concat(fromHex(time), randomBytes(idBytes - timeBytes));
}

/** A key that the token would give out is destroyed immediately: the attributes are read back and compared with the template (T17). */
function proven(session: Session, key: TokenKey): TokenKey {
  if (isSecret(session, key.handles[0])) return key;
  for (const handle of key.handles) destroyObject(session, handle);
  throw new NusecError('KEY_REFUSED', `the token made key ${key.id} readable`);
}

function isSecret(session: Session, handle: bigint): boolean {
  const [sensitive, extractable] = getAttributes(session, handle, [attribute.sensitive, attribute.extractable]);
  return sensitive?.[0] === 1 && extractable?.[0] === 0;
}

/** @returns SubjectPublicKeyInfo of a CKO_PUBLIC_KEY. Its CKA_EC_POINT is an OCTET STRING of one length byte. */
export function readPublicKey(session: Session, handle: bigint): Uint8Array {
  const [octets] = getAttributes(session, handle, [attribute.ecPoint]);
  const point = (octets ?? new Uint8Array()).subarray(2);
  const size = (point.length - 1) / 2;
  const crv = size === coordinateBytes['P-384'] ? 'P-384' : 'P-256';
  const jwk = { kty: 'EC', crv, x: toBase64url(point.subarray(1, 1 + size)), y: toBase64url(point.subarray(1 + size)) };
  return new Uint8Array(createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'der' }));
}

function loadKeys(session: Session): Map<string, TokenKey> {
  const halves = new Map(find(session, objectClass.publicKey).map(handle => [nameOf(session, handle).idHex, handle]));
  const keys = new Map<string, TokenKey>();
  const add = (key: TokenKey): void => {
    if (keys.has(key.id)) throw new NusecError('KEYSTORE_DAMAGED', `the token has two keys ${key.id}`);
    if (!isSecret(session, key.handles[0])) throw new NusecError('KEYSTORE_DAMAGED', `key ${key.id} of the token is readable`);
    keys.set(key.id, key);
  };
  for (const handle of find(session, objectClass.privateKey)) {
    const { idHex, ...name } = nameOf(session, handle);
    const publicHandle = halves.get(idHex);
    // Making a pair was cut off between its halves, or it is somebody else's key.
    if (publicHandle === undefined || !isOurs(idHex)) continue;
    const publicKey = readPublicKey(session, publicHandle);
    const algorithm = publicKey.length > 100 ? 'P-384' : 'P-256';
    add({ ...name, algorithm, origin: 'generated', publicKey, handles: [handle, publicHandle] });
  }
  for (const handle of find(session, objectClass.secretKey)) {
    const { idHex, ...name } = nameOf(session, handle);
    if (!isOurs(idHex)) continue;
    const [type] = getAttributes(session, handle, [attribute.keyType]);
    add({ ...name, algorithm: 'AES-256', origin: type?.[0] === keyType.aes ? 'generated' : 'derived', handles: [handle] });
  }
  return keys;
}

const find = (session: Session, type: number): readonly bigint[] =>
  findObjects(session, [
    [attribute.class, type],
    [attribute.token, true],
  ]);

const isOurs = (idHex: string): boolean => idHex.length === 2 * idBytes;

function nameOf(session: Session, handle: bigint): { readonly id: string; readonly createdAt: string; readonly idHex: string } {
  const [label, idValue] = getAttributes(session, handle, [attribute.label, attribute.id]);
  const idHex = toHex(idValue ?? new Uint8Array());
  const time = Number.parseInt(idHex.slice(0, 2 * timeBytes), 16);
  return { id: new TextDecoder().decode(label), createdAt: isOurs(idHex) ? new Date(time).toISOString() : '', idHex };
}

const infoOf = ({ id, algorithm, createdAt, publicKey }: TokenKey): KeyInfo => ({
  id,
  algorithm,
  createdAt,
  ...(publicKey && { publicKey }),
});
