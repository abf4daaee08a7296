import { concat, equalBytes } from '../../bytes.ts';
import { decodeCertificateChain } from '../certChain.ts';
import { capability, maxChainBytes, maxMessageBytes, type SpdmVersion } from '../constants.ts';
import { type AlgorithmBits, encodeNegotiateAlgorithms } from '../messages/algorithms.ts';
import { type Capabilities, encodeGetCapabilities } from '../messages/capabilities.ts';
import { encodeGetCertificate } from '../messages/certificate.ts';
import { encodeGetDigests, type KeyPairInfo, type KeyUse, modelOf, requireKeyUse } from '../messages/digests.ts';
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
  readonly slot: number;
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

/** Capabilities of a requester with `ownSlots`, for responders that ask who it is. */
export const knownRequester: Pick<IdentifyOptions, 'capabilities'> = {
  capabilities: {
    ...defaultIdentifyOptions.capabilities,
    flags: requesterFlags | capability.mutualAuthentication | capability.encapsulated,
  },
};

export type Identification = {
  readonly step: 'version' | 'capabilities' | 'algorithms' | 'digests' | 'certificate' | 'done';
  readonly connection: Connection;
  /** To be sent now; empty when done. */
  readonly request: Uint8Array;
  /** The chain structure as far as it has come, a view of CERTIFICATE when it came in one; whole when done. */
  readonly chain: Uint8Array;
  readonly digest: Uint8Array;
  /** What DIGESTS say of the key of the slot; on connections with several keys only. */
  readonly keyPair?: KeyPairInfo;
};

const none = new Uint8Array();

export function startIdentification(options: IdentifyOptions): Identification {
  const connection = newConnection(options.capabilities, options.algorithms);
  return { step: 'version', connection, request: encodeGetVersion(), chain: none, digest: none };
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
      if (!options.vcaOnly) requirePeer(next, capability.certificate, 'certificates');
      const offer = offerFor(options.algorithms, next.version, next.peer?.flags ?? 0);
      return { ...state, step: 'algorithms', connection: next, request: encodeNegotiateAlgorithms(next.version, offer) };
    }
    case 'algorithms': {
      const next = acceptAlgorithms(connection, request, response);
      if (options.vcaOnly) return done({ ...state, connection: next });
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
  const { digest, keyPair } = requireKeyUse(digests, options.slot, options.uses ?? []);
  const { knownChain } = options;
  if (knownChain && equalBytes(hashOf(algorithmsOf(connection).hash, knownChain), digest))
    return done({ ...state, connection, digest, chain: knownChain });
  return askPortion(options, { ...state, connection, digest, ...(keyPair && { keyPair }) });
}

/** @throws SPDM_UNEXPECTED when the chain is not the one of DIGESTS  SPDM_MALFORMED when it is longer than 32 KiB */
function afterCertificate(options: IdentifyOptions, state: Identification, response: Uint8Array): Identification {
  const [connection, part] = acceptCertificate(state.connection, state.request, response);
  if (state.keyPair && part.certificateInfo !== modelOf(state.keyPair)) throw unexpected('CERTIFICATE has another model than DIGESTS');
  const chain = state.chain.length === 0 ? part.portion : concat(state.chain, part.portion);
  if (chain.length + part.remainder > maxChainBytes) throw unexpected('certificate chain is too long');
  if (part.remainder > 0) return askPortion(options, { ...state, connection, chain });
  const { hash } = algorithmsOf(connection);
  if (!equalBytes(hashOf(hash, chain), state.digest)) throw unexpected('certificate chain is not that of DIGESTS');
  decodeCertificateChain(connection.version, hash, chain);
  return done({ ...state, connection, chain });
}

/** In the large form when both sides have it (1.4). */
function askPortion({ slot, portionBytes }: IdentifyOptions, state: Identification): Identification {
  const { version } = state.connection;
  const large = version >= 0x14 && bothHave(state.connection, capability.largeResponse);
  const request = encodeGetCertificate(version, { slot, offset: state.chain.length, length: portionBytes, large });
  return { ...state, step: 'certificate', request };
}

const done = (state: Identification): Identification => ({ ...state, step: 'done', request: none });
