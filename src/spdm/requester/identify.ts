import { concat, equalBytes } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { decodeCertificateChain, digestOfChain } from '../certChain.ts';
import { capability, maxChainBytes, maxMessageBytes, provisionedSlot, type SpdmVersion } from '../constants.ts';
import { type AlgorithmBits, encodeNegotiateAlgorithms } from '../messages/algorithms.ts';
import { type Capabilities, encodeGetCapabilities } from '../messages/capabilities.ts';
import { encodeGetCertificate } from '../messages/certificate.ts';
import {
  encodeGetDigests,
  type KeyPairInfo,
  type KeyUse,
  keyUse,
  modelOf,
  requireKeyUse,
  type SlotDigest,
  slotsForUse,
} from '../messages/digests.ts';
import { encodeGetVersion } from '../messages/version.ts';
import { offerFor, p256Algorithms } from '../negotiation.ts';
import { hashOf } from '../signature.ts';
import {
  acceptAlgorithms,
  acceptCapabilities,
  acceptCertificate,
  acceptDigests,
  acceptVersion,
  algorithmsOf,
  bothHave,
  type Connection,
  newConnection,
  requirePeer,
  unexpected,
} from './connection.ts';

/** How every flow begins: GET_VERSION, GET_CAPABILITIES, NEGOTIATE_ALGORITHMS, GET_DIGESTS, GET_CERTIFICATE in portions. */

export type IdentifyOptions = {
  readonly versions: readonly SpdmVersion[];
  readonly capabilities: Capabilities;
  readonly algorithms: AlgorithmBits;
  /** 'any': the slot with the known chain, or the first one whose chain `isOurs` (the first one of all when none is). */
  readonly slot: number | 'any';
  /** Whether a chain (DER, root first, leaf last) is of an authority that counts here. Nothing is trusted by it. */
  readonly isOurs?: (certificates: readonly Uint8Array[]) => boolean;
  /** SubjectPublicKeyInfo of a responder that has no certificates and is known by this key (slot 0xFF). */
  readonly publicKey?: Uint8Array;
  /** Asked for in one GET_CERTIFICATE; at most 65535 before 1.4. */
  readonly portionBytes: number;
  /** A chain structure verified before: it is not asked for again when its digest is in DIGESTS. */
  readonly knownChain?: Uint8Array;
  /** What the key of the slot must be for, on connections with several keys. */
  readonly uses?: readonly KeyUse[];
  /** Stop after ALGORITHMS: nothing is asked about certificates, as for PSK. */
  readonly vcaOnly?: boolean;
};

/** Flags of our requesters. */
export const requesterFlags =
  capability.certificate |
  capability.challenge |
  capability.encrypt |
  capability.mac |
  capability.keyExchange |
  capability.heartbeat |
  capability.keyUpdate;

export const defaultIdentifyOptions: IdentifyOptions = {
  versions: [0x12],
  capabilities: { flags: requesterFlags, ctExponent: 0, dataTransferBytes: 0x1200, maxMessageBytes },
  algorithms: p256Algorithms,
  slot: 0,
  portionBytes: 1024,
};

export type Identification = {
  readonly step: 'version' | 'capabilities' | 'algorithms' | 'digests' | 'certificate' | 'done';
  readonly connection: Connection;
  /** To be sent now; empty when done. */
  readonly request: Uint8Array;
  /** The chain structure as far as it has come, a view of CERTIFICATE when it came in one; whole when done. */
  readonly chain: Uint8Array;
  readonly digest: Uint8Array;
  /** The slot that is used; 0xFF when the responder is known by its public key, which then is `chain`. */
  readonly slot: number;
  /** Slots that may still be asked for, and the first chain that was read; with slot 'any' only. */
  readonly others?: readonly SlotDigest[];
  /** Whether there are slots that this version cannot use. */
  readonly hasMore?: boolean;
  readonly first?: Pick<Identification, 'chain' | 'digest' | 'slot'>;
  /** What DIGESTS say of the key of the slot; on connections with several keys only. */
  readonly keyPair?: KeyPairInfo;
};

const none = new Uint8Array();

export function startIdentification(options: IdentifyOptions): Identification {
  const connection = newConnection(options.capabilities, options.algorithms);
  return { step: 'version', connection, request: encodeGetVersion(), chain: none, digest: none, slot: 0 };
}

export function continueIdentification(options: IdentifyOptions, state: Identification, response: Uint8Array): Identification {
  const { connection, request } = state;
  switch (state.step) {
    case 'version': {
      const next = acceptVersion(connection, options.versions, request, response);
      return { ...state, step: 'capabilities', connection: next, request: encodeGetCapabilities(next.version, next.own) };
    }
    case 'capabilities': {
      const next = acceptCapabilities(connection, request, response);
      if (!options.vcaOnly && !isKnownByKey(options, next)) requirePeer(next, capability.certificate, whyNoKey(options, next));
      const offer = offerFor(options.algorithms, next.version, next.peer?.flags ?? 0);
      return { ...state, step: 'algorithms', connection: next, request: encodeNegotiateAlgorithms(next.version, offer) };
    }
    case 'algorithms': {
      const next = acceptAlgorithms(connection, request, response);
      if (options.vcaOnly) return done({ ...state, connection: next });
      if (isKnownByKey(options, next)) return knownByKey(options, { ...state, connection: next });
      return { ...state, step: 'digests', connection: next, request: encodeGetDigests(next.version) };
    }
    case 'digests':
      return afterDigests(options, state, response);
    case 'certificate':
      return afterCertificate(options, state, response);
    case 'done':
      throw unexpected('nothing was asked');
  }
}

function afterDigests(options: IdentifyOptions, state: Identification, response: Uint8Array): Identification {
  const [connection, digests] = acceptDigests(state.connection, state.request, response);
  const hasChallenge = ((connection.peer?.flags ?? 0) & capability.challenge) !== 0;
  const uses = (options.uses ?? []).filter(use => use !== keyUse.challenge || hasChallenge);
  const slots = connection.version < 0x11 ? digests.filter(({ slot }) => slot === 0) : digests;
  const able = options.slot === 'any' ? slotsForUse(slots, uses) : [requireKeyUse(slots, options.slot, uses)];
  const { knownChain } = options;
  const knownDigest = knownChain && digestOfChain(algorithmsOf(connection).hash, knownChain);
  const known = knownDigest && able.find(({ digest }) => equalBytes(digest, knownDigest));
  if (known) return done({ ...state, connection, digest: known.digest, slot: known.slot, chain: knownChain! });
  return readSlot(options, { ...state, connection, hasMore: digests.length > slots.length }, able);
}

/** Begins with the chain of the first one of these slots. */
function readSlot(options: IdentifyOptions, { keyPair: _, ...state }: Identification, able: readonly SlotDigest[]): Identification {
  const [{ slot, digest, keyPair }, ...others] = able as [SlotDigest, ...SlotDigest[]];
  return askPortion(options, { ...state, slot, digest, chain: none, others, ...(keyPair && { keyPair }) });
}

/** Whether the responder has no certificates, and we know its key. */
const isKnownByKey = ({ publicKey }: IdentifyOptions, { peer }: Connection): boolean =>
  publicKey !== undefined && ((peer?.flags ?? 0) & (capability.certificate | capability.publicKeyId)) === capability.publicKeyId;

const whyNoKey = ({ publicKey }: IdentifyOptions, { peer }: Connection): string =>
  (peer?.flags ?? 0) & capability.publicKeyId && publicKey === undefined
    ? 'certificates, only a public key, and none is known here'
    : 'certificates';

function knownByKey({ publicKey = none }: IdentifyOptions, state: Identification): Identification {
  const digest = hashOf(algorithmsOf(state.connection).hash, publicKey);
  return done({ ...state, slot: provisionedSlot, chain: publicKey, digest });
}

/** @throws SPDM_UNEXPECTED when the chain is not the one of DIGESTS  SPDM_MALFORMED when it is longer than 64 KiB */
function afterCertificate(options: IdentifyOptions, state: Identification, response: Uint8Array): Identification {
  const [connection, part] = acceptCertificate(state.connection, state.request, response);
  if (state.keyPair && part.certificateInfo !== modelOf(state.keyPair)) throw unexpected('CERTIFICATE has another model than DIGESTS');
  const chain = state.chain.length === 0 ? part.portion : concat(state.chain, part.portion);
  if (chain.length + part.remainder > maxChainBytes) throw unexpected('certificate chain is too long');
  if (part.remainder > 0) return askPortion(options, { ...state, connection, chain });
  const { hash } = algorithmsOf(connection);
  if (!equalBytes(hashOf(hash, chain), state.digest)) throw unexpected('certificate chain is not that of DIGESTS');
  const { certificates } = decodeCertificateChain(connection.version, hash, chain);
  const { slot, digest, others = [], first = { slot, digest, chain } } = state;
  if (options.isOurs?.(certificates) !== false) return done({ ...state, connection, chain });
  if (connection.version < 0x11 && state.hasMore === true)
    throw new NusecError('SPDM_UNSUPPORTED', 'in 1.0 slot 0 alone signs measurements, and its certificate is not ours');
  return others.length > 0 ? readSlot(options, { ...state, connection, first }, others) : done({ ...state, connection, ...first });
}

/** In the large form when both sides have it (1.4). */
function askPortion({ portionBytes }: IdentifyOptions, state: Identification): Identification {
  const { slot } = state;
  const { version } = state.connection;
  const large = version >= 0x14 && bothHave(state.connection, capability.largeResponse);
  const request = encodeGetCertificate(version, { slot, offset: state.chain.length, length: portionBytes, large });
  return { ...state, step: 'certificate', request };
}

const done = (state: Identification): Identification => ({ ...state, step: 'done', request: none });
