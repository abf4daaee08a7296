import { type KeyObject, verify } from 'node:crypto';
import { equalBytes } from '../bytes.ts';
import { decodeForeignCbor } from '../cbor/decode.ts';
import { encodeCbor } from '../cbor/encode.ts';
import { type CborMap, type CborValue, isArray, isMap, isTag } from '../cbor/value.ts';
import { coseMalformed, coseTag } from '../cose/headers.ts';
import type { RawSigner } from '../cose/sign1.ts';
import { NusecError } from '../errors.ts';
import {
  componentKey,
  encodeClaims,
  lifeCycleOf,
  maxClientId,
  type PsaProfile,
  type PsaToken,
  profileOf,
  type SoftwareComponent,
  tokenBytes,
} from './psaClaims.ts';

/** PSA attestation tokens (RFC 9783, a profile of EAT, RFC 9711): a COSE_Sign1 (tag 18) over a map of claims, signed with the initial attestation key.
 *  Tokens under a MAC are refused: the verifier would have to hold the secret of every device. */

/** Longest token that is read; those of TF-M have about 500 bytes. */
export const maxTokenBytes = 16 * 1024;
const maxDepth = 16;
const maxComponents = 64;

/** COSE_Mac0 (RFC 9052 §6.2). */
const mac0Tag = 17;
const header = { alg: 1, crit: 2 } as const;

/** ECDSA (RFC 9053 §2.1): the receiver accepts these three (RFC 9783 §5.2), each with the curve that it is meant for. */
const algorithms = [
  { id: -7, name: 'ES256', hash: 'sha256', curve: 'prime256v1', signatureBytes: 64 },
  { id: -35, name: 'ES384', hash: 'sha384', curve: 'secp384r1', signatureBytes: 96 },
  { id: -36, name: 'ES512', hash: 'sha512', curve: 'secp521r1', signatureBytes: 132 },
] as const;
type Algorithm = (typeof algorithms)[number];

/** Whether these bytes are meant to be a token: evidence of SPDM begins with another byte. */
export const isToken = (bytes: Uint8Array): boolean => bytes[0] === (0xc0 | coseTag.sign1) || bytes[0] === (0xc0 | mac0Tag);

export type VerifiedToken = PsaToken & { readonly algorithm: Algorithm['name'] };

/** @param nonce 32 bytes of the verifier @param key the initial attestation key of the device
 *  @throws NusecError COSE_MALFORMED, CBOR_MALFORMED, ATTESTATION_FAILED (a claim is missing or wrong, another nonce), EVIDENCE_UNSUPPORTED (a MAC, another
 *  algorithm or profile), COSE_SIGNATURE: then nothing of it is from the device */
export async function verifyToken(bytes: Uint8Array, { nonce, key }: { readonly nonce: Uint8Array; readonly key: KeyObject }) {
  const { algorithm, claims, ...signed } = readSign1(bytes);
  const token = readClaims(claims);
  if (!(await isSignedBy(key, algorithm, signed))) throw new NusecError('COSE_SIGNATURE', 'the key of the device has not signed the token');
  if (!equalBytes(token.nonce, nonce)) throw new NusecError('ATTESTATION_FAILED', 'the token has another nonce');
  return { ...token, algorithm: algorithm.name } satisfies VerifiedToken;
}

function readSign1(bytes: Uint8Array) {
  if (bytes.length > maxTokenBytes) throw coseMalformed(`a token has at most ${maxTokenBytes} bytes`);
  const outer = decodeForeignCbor(bytes, maxDepth);
  if (isTag(outer) && outer.tag === mac0Tag) throw unsupported('a token under a MAC: the verifier has no secret of the device');
  if (!isTag(outer) || outer.tag !== coseTag.sign1 || !isArray(outer.value) || outer.value.length !== 4)
    throw coseMalformed('a token is a COSE_Sign1 with its tag');
  const [protectedBytes, unprotected, payload, signature] = outer.value;
  if (!isBytes(protectedBytes) || !isBytes(payload) || !isBytes(signature) || unprotected === undefined || !isMap(unprotected))
    throw coseMalformed('headers, payload or signature');
  const algorithm = algorithmIn(protectedBytes, unprotected);
  if (signature.length !== algorithm.signatureBytes)
    throw coseMalformed(`a signature of ${algorithm.name} has ${algorithm.signatureBytes} bytes`);
  const claims = decodeForeignCbor(payload, maxDepth);
  if (!isMap(claims)) throw coseMalformed('the payload is no map of claims');
  return { algorithm, claims, signature, toBeSigned: encodeCbor(['Signature1', protectedBytes, new Uint8Array(), payload]) };
}

/** Parameters that we do not know are read over, unless `crit` names one (RFC 9052 §3.1). */
function algorithmIn(protectedBytes: Uint8Array, unprotected: CborMap): Algorithm {
  const inside = decodeForeignCbor(protectedBytes, maxDepth);
  if (!isMap(inside)) throw coseMalformed('protected header');
  if (inside.has(header.crit) || unprotected.has(header.crit)) throw coseMalformed('a critical header that is not known here');
  const id = inside.get(header.alg);
  const known = algorithms.find(algorithm => algorithm.id === id);
  if (known === undefined) throw unsupported(`the algorithm ${String(id)}; known are ${algorithms.map(({ name }) => name).join(', ')}`);
  return known;
}

async function isSignedBy(
  key: KeyObject,
  { curve, hash }: Algorithm,
  { toBeSigned, signature }: { readonly toBeSigned: Uint8Array; readonly signature: Uint8Array },
): Promise<boolean> {
  if (key.asymmetricKeyDetails?.namedCurve !== curve) return false;
  return new Promise((resolve, reject) => {
    verify(hash, toBeSigned, { key, dsaEncoding: 'ieee-p1363' }, signature, (error, isValid) => (error ? reject(error) : resolve(isValid)));
  });
}

/** Claims that are not known are read over (RFC 9783 §5.1.3). */
function readClaims(claims: CborMap): PsaToken {
  const profile = profileOf(claims);
  if (profile === undefined) throw unsupported('the profile of the token; known are those of RFC 9783 and its drafts');
  const { keys } = profile;
  const reader = claimReader(claims);
  const clientId = reader.integer('client id', keys.clientId);
  if (clientId === 0 || clientId > maxClientId || clientId < -maxClientId - 1) throw flawed('client id');
  const lifeCycle = lifeCycleOf(reader.integer('security life cycle', keys.lifeCycle));
  const instanceId = reader.bytes('instance id', keys.instanceId, tokenBytes.instanceId);
  if (instanceId[0] !== tokenBytes.instanceIdType) throw flawed('instance id');
  return {
    profile: profile.name,
    nonce: reader.bytes('nonce', keys.nonce, tokenBytes.nonce),
    clientId,
    instanceId,
    implementationId: reader.bytes('implementation id', keys.implementationId, tokenBytes.implementationId),
    lifeCycle,
    components: componentsIn(claims, profile),
    ...bootSeedIn(claims, profile),
    ...reader.optionalText('certificationReference', keys.certificationReference),
    ...reader.optionalText('verificationService', keys.verificationService),
  };
}

function claimReader(claims: CborMap) {
  const bytesOf = (what: string, value: CborValue | undefined, lengths: readonly number[]): Uint8Array => {
    if (!isBytes(value) || !lengths.includes(value.length)) throw flawed(what);
    return value;
  };
  return {
    bytes: (what: string, key: number, lengths: readonly number[]): Uint8Array => bytesOf(what, claims.get(key), lengths),
    integer(what: string, key: number): number {
      const value = claims.get(key);
      if (typeof value !== 'number') throw flawed(what);
      return value;
    },
    optionalText<Name extends string>(name: Name, key: number): { readonly [N in Name]?: string } {
      const value = claims.get(key);
      if (value === undefined) return {};
      if (typeof value !== 'string') throw flawed(name);
      return { [name]: value } as { readonly [N in Name]: string };
    },
  };
}

function bootSeedIn(claims: CborMap, { keys, bootSeedBytes: [least, most] }: PsaProfile): { readonly bootSeed?: Uint8Array } {
  const value = claims.get(keys.bootSeed);
  if (value === undefined) return {};
  if (!isBytes(value) || value.length < least || value.length > most) throw flawed('boot seed');
  return { bootSeed: value };
}

function componentsIn(claims: CborMap, { keys }: PsaProfile): readonly SoftwareComponent[] {
  const list = claims.get(keys.components);
  if (list === undefined || !isArray(list) || list.length === 0 || list.length > maxComponents) throw flawed('software components');
  return list.map(one => {
    if (!isMap(one)) throw flawed('software components');
    const reader = claimReader(one);
    return {
      value: reader.bytes('measurement value', componentKey.value, tokenBytes.hash),
      signerId: reader.bytes('signer id', componentKey.signerId, tokenBytes.hash),
      ...reader.optionalText('type', componentKey.type),
      ...reader.optionalText('version', componentKey.version),
      ...reader.optionalText('description', componentKey.description),
    };
  });
}

const isBytes = (value: CborValue | undefined): value is Uint8Array => value instanceof Uint8Array;
const flawed = (claim: string): NusecError => new NusecError('ATTESTATION_FAILED', `the token has no proper ${claim}`);
const unsupported = (what: string): NusecError => new NusecError('EVIDENCE_UNSUPPORTED', what);

/** Signs claims of the profile of RFC 9783 with ES256, as a device does. @param sign gives r ‖ s, 64 bytes */
export async function signToken(token: Omit<PsaToken, 'profile'>, sign: RawSigner): Promise<Uint8Array> {
  const protectedBytes = encodeCbor(new Map([[header.alg, algorithms[0].id]]));
  const payload = encodeCbor(encodeClaims(token));
  const signature = await sign(encodeCbor(['Signature1', protectedBytes, new Uint8Array(), payload]));
  return encodeCbor({ tag: coseTag.sign1, value: [protectedBytes, new Map(), payload, signature] });
}
