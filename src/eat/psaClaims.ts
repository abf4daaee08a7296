import { concat } from '../bytes.ts';
import { encodeCbor } from '../cbor/encode.ts';
import type { CborMap, CborValue } from '../cbor/value.ts';
import { sha256 } from '../digest.ts';

/** Claims of PSA attestation tokens: RFC 9783 §4, and the keys of the profiles before it (§4.6). */

export type PsaToken = {
  /** `tag:psacertified.org,2023:psa#tfm`, or that of an earlier profile. */
  readonly profile: string;
  /** 32, 48 or 64 bytes. */
  readonly nonce: Uint8Array;
  /** Who asked for the token in the device: below zero the application (NSPE), above it the secure side (SPE). */
  readonly clientId: number;
  /** 33 bytes: 01 ‖ identity of the initial attestation key. */
  readonly instanceId: Uint8Array;
  /** 32 bytes: the hardware of the root of trust, the same for all devices of a kind. */
  readonly implementationId: Uint8Array;
  readonly lifeCycle: LifeCycle;
  readonly components: readonly SoftwareComponent[];
  /** 8 to 32 bytes, another one after each start. */
  readonly bootSeed?: Uint8Array;
  readonly certificationReference?: string;
  readonly verificationService?: string;
};

export type SoftwareComponent = {
  /** `BL`, `PRoT`, `ARoT`, `App`, `TS`; with `_CONFIG` a configuration; TF-M has `BL2`, `SPE`, `NSPE`. */
  readonly type?: string;
  /** Hash of 32, 48 or 64 bytes. */
  readonly value: Uint8Array;
  readonly version?: string;
  /** Hash of the signer's key. */
  readonly signerId: Uint8Array;
  /** Hash algorithm of the value. */
  readonly description?: string;
};

/** Keys in a software component (RFC 9783 §4.4.1). */
export const componentKey = { type: 1, value: 2, version: 4, signerId: 5, description: 6 } as const;

/** Lengths of claims, bytes. `instanceIdType`: UEID type RAND (RFC 9711 §4.2.1). */
export const tokenBytes = {
  nonce: [32, 48, 64],
  instanceId: [33],
  instanceIdType: 0x01,
  implementationId: [32],
  hash: [32, 48, 64],
} as const;

/** A client id is an integer of 32 bits with a sign. */
export const maxClientId = 0x7fff_ffff;

type ClaimKeys = {
  readonly nonce: number;
  readonly instanceId: number;
  readonly profile: number;
  readonly clientId: number;
  readonly lifeCycle: number;
  readonly implementationId: number;
  readonly bootSeed: number;
  readonly certificationReference: number;
  readonly components: number;
  readonly verificationService: number;
};
export type PsaProfile = { readonly name: string; readonly keys: ClaimKeys; readonly bootSeedBytes: readonly [number, number] };

/** EAT: nonce, ueid, eat_profile, bootseed; the others are of PSA (RFC 9783 §10.1). */
const registered: ClaimKeys = {
  nonce: 10,
  instanceId: 256,
  profile: 265,
  bootSeed: 268,
  clientId: 2394,
  lifeCycle: 2395,
  implementationId: 2396,
  certificationReference: 2398,
  components: 2399,
  verificationService: 2400,
};
/** draft-tschofenig-rats-psa-token-07: keys for private use (RFC 9783 §4.6). */
const privateUse: ClaimKeys = {
  profile: -75000,
  clientId: -75001,
  lifeCycle: -75002,
  implementationId: -75003,
  bootSeed: -75004,
  certificationReference: -75005,
  components: -75006,
  nonce: -75008,
  instanceId: -75009,
  verificationService: -75010,
};

const rfcProfile = 'tag:psacertified.org,2023:psa#tfm';
const profiles: readonly PsaProfile[] = [
  { name: rfcProfile, keys: registered, bootSeedBytes: [8, 32] },
  /** What TF-M gave before the RFC: its boot seed had a key of PSA. */
  { name: 'http://arm.com/psa/2.0.0', keys: { ...registered, bootSeed: 2397 }, bootSeedBytes: [8, 32] },
  { name: 'PSA_IOT_PROFILE_1', keys: privateUse, bootSeedBytes: [32, 32] },
];

/** The profile that the claims name, at the place where it has it. */
export const profileOf = (claims: CborMap): PsaProfile | undefined => profiles.find(({ name, keys }) => claims.get(keys.profile) === name);

/** Major states (RFC 9783 §4.3.1): first and last value; the lower byte is the implementer's. */
const lifeCycles = {
  unknown: [0x0000, 0x00ff],
  assemblyAndTest: [0x1000, 0x10ff],
  psaRotProvisioning: [0x2000, 0x20ff],
  secured: [0x3000, 0x30ff],
  nonPsaRotDebug: [0x4000, 0x40ff],
  recoverablePsaRotDebug: [0x5000, 0x50ff],
  decommissioned: [0x6000, 0x60ff],
} as const;
export type LifeCycle = keyof typeof lifeCycles;

/** `unknown` for a value that is none. */
export const lifeCycleOf = (value: number): LifeCycle =>
  (Object.keys(lifeCycles) as LifeCycle[]).find(name => lifeCycles[name][0] <= value && value <= lifeCycles[name][1]) ?? 'unknown';

/** The instance id as TF-M makes it: 01 ‖ SHA-256 of the uncompressed point. @param point of the initial attestation key */
export const instanceIdOf = (point: Uint8Array): Uint8Array => concat(Uint8Array.of(tokenBytes.instanceIdType), sha256(point));

/** Bytes of an uncompressed point at the end of a SubjectPublicKeyInfo, by the length of the whole: P-256, P-384, P-521. */
const pointBytesOf: Readonly<Record<number, number>> = { 91: 65, 120: 97, 158: 133 };

/** @param spki SubjectPublicKeyInfo of the initial attestation key, DER @returns 33 bytes */
export const instanceIdOfKey = (spki: Uint8Array): Uint8Array =>
  instanceIdOf(spki.subarray(spki.length - (pointBytesOf[spki.length] ?? 0)));

/** SHA-256 of what the device is and runs: equal when nothing changed. The nonce and the boot seed are not in it. */
export const stateHash = ({ lifeCycle, implementationId, components }: PsaToken): Uint8Array =>
  sha256(
    encodeCbor([
      lifeCycle,
      implementationId,
      components.map(({ type = '', value, version = '', signerId }) => [type, value, version, signerId]),
    ]),
  );

/** As a map under the keys of RFC 9783. */
export function encodeClaims(token: Omit<PsaToken, 'profile'>): CborMap {
  const { nonce, clientId, instanceId, implementationId, lifeCycle, components, bootSeed, certificationReference, verificationService } =
    token;
  const claims = new Map<number, CborValue>([
    [registered.nonce, nonce],
    [registered.instanceId, instanceId],
    [registered.profile, rfcProfile],
    [registered.clientId, clientId],
    [registered.lifeCycle, lifeCycles[lifeCycle][0]],
    [registered.implementationId, implementationId],
    [registered.components, components.map(encodeComponent)],
  ]);
  if (bootSeed !== undefined) claims.set(registered.bootSeed, bootSeed);
  if (certificationReference !== undefined) claims.set(registered.certificationReference, certificationReference);
  if (verificationService !== undefined) claims.set(registered.verificationService, verificationService);
  return claims;
}

function encodeComponent({ type, value, version, signerId, description }: SoftwareComponent): CborMap {
  const map = new Map<number, CborValue>([
    [componentKey.value, value],
    [componentKey.signerId, signerId],
  ]);
  if (type !== undefined) map.set(componentKey.type, type);
  if (version !== undefined) map.set(componentKey.version, version);
  if (description !== undefined) map.set(componentKey.description, description);
  return map;
}
