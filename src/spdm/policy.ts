import { NusecError } from '../errors.ts';
import { capability, maxMessageBytes, type SpdmVersion, spdmVersionName, spdmVersions } from './constants.ts';
import type { NegotiatedFacts } from './evidence.ts';
import { allAlgorithms, p256Algorithms } from './negotiation.ts';
import { defaultIdentifyOptions, type IdentifyOptions, requesterFlags } from './requester/identify.ts';
import { type HashAlgorithm, pqcSignatureAlgorithms, type SignatureAlgorithm, signatureAlgorithms } from './suite.ts';

/** What is asked of a responder: the least version, signature algorithms, capabilities. It becomes the offer of our requester, and what
 *  evidence is held against. */

export type SpdmPolicy = {
  readonly leastVersion: SpdmVersion;
  readonly signatures: readonly SignatureName[];
  /** Capability flags that the responder must have, all of them. */
  readonly requires: number;
};

export const signatureNames = ['P-256', 'P-384', 'ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87'] as const;
export type SignatureName = (typeof signatureNames)[number];

/** Where nobody said otherwise: nothing before 1.2, and both curves. */
export const defaultSpdmPolicy: SpdmPolicy = { leastVersion: 0x12, signatures: ['P-256', 'P-384'], requires: 0 };

const nameOf = (algorithm: SignatureAlgorithm): string =>
  'curve' in algorithm ? algorithm.curve : 'mlDsa' in algorithm ? algorithm.mlDsa.toUpperCase() : 'none';
const hashName = ({ name }: HashAlgorithm): string => name.toUpperCase().replace('SHA', 'SHA-');

/** What our requester asks with: every version from the least on, these algorithms, chunks, several keys, any slot.
 *  @param policy the default one when not given */
export function offerUnder(
  policy: SpdmPolicy = defaultSpdmPolicy,
): Pick<IdentifyOptions, 'versions' | 'capabilities' | 'algorithms' | 'slot'> {
  return { ...known(policy), slot: 'any' };
}

/** The same for a requester with `ownSlots`, for responders that ask who it is: its own key is P-256. */
export function knownOffer(policy?: SpdmPolicy): ReturnType<typeof offerUnder> {
  const offer = offerUnder(policy);
  const flags = offer.capabilities.flags | capability.mutualAuthentication | capability.encapsulated;
  const algorithms = { ...offer.algorithms, requesterAsym: p256Algorithms.requesterAsym };
  return { ...offer, capabilities: { ...offer.capabilities, flags }, algorithms };
}

/** The policy of a line as machines tell it each other. */
export type NamedPolicy = {
  /** `1.2` */
  readonly leastVersion?: string | undefined;
  readonly signatures?: readonly string[] | undefined;
};

/** The policy that was named; the default for what was not, or is not known here. */
export function policyNamed({ leastVersion, signatures }: NamedPolicy): SpdmPolicy {
  const version = spdmVersions.find(one => spdmVersionName(one) === leastVersion);
  return {
    ...defaultSpdmPolicy,
    ...(version && { leastVersion: version }),
    ...(signatures && { signatures: signatureNames.filter(name => signatures.includes(name)) }),
  };
}

const offers = new WeakMap<SpdmPolicy, Pick<IdentifyOptions, 'versions' | 'capabilities' | 'algorithms'>>();

function known(policy: SpdmPolicy) {
  const before = offers.get(policy);
  if (before) return before;
  const pqcAsym = bitsOf(pqcSignatureAlgorithms, policy);
  const offer = {
    versions: spdmVersions.filter(version => version >= policy.leastVersion),
    capabilities: { ...defaultIdentifyOptions.capabilities, flags: requesterFlags | capability.chunk, maxMessageBytes },
    algorithms: { ...allAlgorithms, baseAsym: bitsOf(signatureAlgorithms, policy), ...(pqcAsym !== 0 && { pqcAsym }) },
  };
  offers.set(policy, offer);
  return offer;
}

const bitsOf = (rows: readonly Exclude<SignatureAlgorithm, { readonly bit: 0 }>[], { signatures }: SpdmPolicy): number =>
  rows.reduce((bits, row) => (signatures.some(name => name === nameOf(row)) ? bits | row.bit : bits), 0);

/** What was agreed on, in words. */
export type NegotiatedView = {
  /** `1.2` */
  readonly version: string;
  readonly signature: string;
  readonly hash: string;
  /** 15: known by its public key. */
  readonly slot: number;
  /** Capability flags of the responder, hex. */
  readonly capabilities: string;
};

export const negotiatedView = (
  { version, algorithms: { signature, hash }, capabilities }: NegotiatedFacts,
  slot: number,
): NegotiatedView => ({
  version: spdmVersionName(version),
  signature: nameOf(signature),
  hash: hashName(hash),
  slot,
  capabilities: (capabilities >>> 0).toString(16),
});

/** Holds evidence against the policy.
 *  @throws SPDM_UNSUPPORTED when the device does not speak what is asked; SPDM_UNEXPECTED when whoever asked it had offered less than the policy: nothing
 *  about the device follows from that */
export function requirePolicy(policy: SpdmPolicy, { version, algorithms, capabilities, versions, offered }: NegotiatedFacts): void {
  const { leastVersion, signatures, requires } = policy;
  const { baseAsym, pqcAsym } = offered;
  const talkedDown = version < leastVersion && versions.some(one => one >= leastVersion);
  const wanted = known(policy).algorithms;
  const askedFor = (wanted.baseAsym & ~baseAsym) === 0 && (version < 0x14 || ((wanted.pqcAsym ?? 0) & ~pqcAsym) === 0);
  const isOurs = signatures.some(name => name === nameOf(algorithms.signature));
  if (talkedDown || (!isOurs && !askedFor)) throw new NusecError('SPDM_UNEXPECTED', 'the device was not offered what the line allows');
  if (version < leastVersion)
    throw unsupported(`SPDM ${spdmVersionName(version)}, and the line asks for ${spdmVersionName(leastVersion)} or later`);
  if (!isOurs) throw unsupported(`${nameOf(algorithms.signature)}, and the line allows ${signatures.join(', ')}`);
  const missing = namesOf(requires & ~capabilities);
  if (missing.length > 0) throw unsupported(`the device has no ${missing.join(', ')}, which the line asks for`);
}

const unsupported = (detail: string): NusecError => new NusecError('SPDM_UNSUPPORTED', detail);

/** Capabilities that a line may ask for, as the specification calls them. */
export const demandedCapabilities = {
  CHAL: capability.challenge,
  MEAS_FRESH: capability.measurementsFresh,
  KEY_EX: capability.keyExchange,
  ENCRYPT: capability.encrypt,
  MAC: capability.mac,
  MUT_AUTH: capability.mutualAuthentication,
  CHUNK: capability.chunk,
  ALIAS_CERT: capability.aliasCertificate,
} as const;

const namesOf = (flags: number): readonly string[] =>
  Object.entries(demandedCapabilities).flatMap(([name, flag]) => (flags & flag ? [name] : []));
