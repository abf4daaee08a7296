import type { Seconds } from '../../times.ts';
import type { KemProvider } from '../agreement.ts';
import type { CertSlot, SlotSource } from '../certSlot.ts';
import { capability, maxMessageBytes, type SpdmErrorCode, type SpdmVersion, spdmError } from '../constants.ts';
import type { EcdhProvider, RandomSource } from '../ecdh.ts';
import type { EventInbox } from '../eventInbox.ts';
import type { Subscription } from '../eventQueue.ts';
import type { HandshakeSecrets } from '../keySchedule.ts';
import type { MeasurementSource } from '../measurement.ts';
import type { AlgorithmBits } from '../messages/algorithms.ts';
import { type Capabilities, capabilitiesFor } from '../messages/capabilities.ts';
import type { GetCsr } from '../messages/csr.ts';
import type { DeviceClass } from '../messages/endpointInfo.ts';
import type { DmtfEvent, EventGroup, SpdmEvent } from '../messages/events.ts';
import type { KeyPair, SetKeyPairInfo } from '../messages/keyPairInfo.ts';
import type { SetCertificate } from '../messages/setCertificate.ts';
import type { VendorDefined } from '../messages/vendorDefined.ts';
import type { Binding } from '../record.ts';
import type { SessionEnd } from '../session.ts';
import type { LeafKey } from '../signature.ts';
import type { Algorithms } from '../suite.ts';
import type { Transcript } from '../transcript.ts';

/** What a responder is given, and what it remembers between two requests. */

export type { CertSlot } from '../certSlot.ts';

export type ResponderSettings = {
  readonly slots: SlotSource;
  /** The key that requesters know without a certificate (PUB_KEY_ID); slots are then empty. */
  readonly provisionedKey?: ProvisionedKey;
  readonly randomBytes: RandomSource;
  /** In rising order of their index; asked at every request for measurements or for their summary. */
  readonly measurements: () => readonly MeasurementSource[] | Promise<readonly MeasurementSource[]>;
  readonly versions: readonly SpdmVersion[];
  readonly capabilities: Capabilities;
  readonly algorithms: AlgorithmBits;
  /** Which secured messages: over MCTP (also MQTT), or over TCP. */
  readonly binding: Binding;
  /** 0 = no heartbeat asked for. */
  readonly heartbeatSeconds: Seconds;
  readonly ecdh: EcdhProvider;
  /** Needed for ML-KEM only. */
  readonly kem?: KemProvider;
  readonly nextSessionId: () => number;
  /** Asks the requester of a session who it is. Absent: nobody is asked. */
  readonly mutualAuthentication?: MutualAuthentication;
  /** The pre-shared key for a hint. Absent, or undefined returned: PSK is refused. */
  readonly psk?: (hint: Uint8Array) => Uint8Array | undefined;
  /** Makes a certification request. @returns DER, or 'reset' when a reset must come first */
  readonly onGetCsr?: (request: GetCsr) => Promise<Uint8Array | 'reset'>;
  /** Stores, or erases, the certificates of a slot. @returns 'reset' when they take effect after a reset, 'refused' when they are not valid */
  readonly onSetCertificate?: (request: InstalledCertificates) => Promise<'done' | 'reset' | 'refused'>;
  /** Key pairs in the order of their ids, which are 1 and up. Absent: GET_KEY_PAIR_INFO is not supported. */
  readonly keyPairs?: () => readonly KeyPair[] | Promise<readonly KeyPair[]>;
  /** Changes a key pair as far as the key pair lets itself be changed. @returns 'policy' when it is against the policy of the responder */
  readonly onSetKeyPairInfo?: (request: SetKeyPairInfo) => Promise<'done' | 'reset' | 'refused' | 'policy'>;
  /** Device class identifiers (DSP0274 table "DeviceClassIdentifier"). Absent: ENDPOINT_INFO is not supported. */
  readonly endpointInfo?: Uint8Array;
  /** The whole log, in the format of DMTF. Absent: there is none. */
  readonly measurementLog?: () => Uint8Array | Promise<Uint8Array>;
  /** Events that `notify` may be called with. Absent: EVENT is not supported. */
  readonly eventTypes?: readonly DmtfEvent['kind'][];
  /** Called with each event of a requester that tells of events, which is then asked for all of DMTF that it has. What it throws is answered with
   *  ERROR, and the event may come again. Absent: no requester is asked for events. */
  readonly onPeerEvent?: (event: SpdmEvent) => void;
  /** Called once in a session with what the requester says of its kind (DSP0274 1.3, encapsulated GET_ENDPOINT_INFO), signed when it can and has proved
   *  itself. Absent: no requester is asked. */
  readonly onPeerEndpoint?: (classes: readonly DeviceClass[], isSigned: boolean) => void;
  /** Whether a request is worked on longer than the peer should wait: it is answered with ResponseNotReady and fetched by RESPOND_IF_READY. */
  readonly defers?: (code: number) => boolean;
  /** RDTExponent of ResponseNotReady: ask again after 2^n µs. */
  readonly rdtExponent: number;
  /** Application data of an established session (an MCTP message, type byte first). Nothing is sent back for undefined. */
  readonly onApplicationData?: (sessionId: number, data: Uint8Array) => Promise<Uint8Array | undefined>;
  readonly onVendorDefined?: (request: VendorDefined, sessionId: number | undefined) => Promise<VendorDefined>;
  /** Called with faults of the passed-in functions, which the peer only sees as ERROR Unspecified. */
  readonly onFault?: (error: unknown) => void;
};

/** SubjectPublicKeyInfo, and signatures as those of a slot. */
export type ProvisionedKey = { readonly publicKey: Uint8Array; readonly sign: CertSlot['sign'] };

export type MutualAuthentication = {
  /** How the certificates come: asked for in encapsulated requests, the same with GET_DIGESTS implied, or known before. */
  readonly how: 'encapsulated' | 'digests' | 'known';
  /** Whether a requester of 1.1 must also prove itself in the clear, after CHALLENGE_AUTH (deprecated since 1.2, where it is not asked). */
  readonly inChallenge?: boolean;
  /** The requester's slot. */
  readonly slot: number;
  /** DER, root first; needed for 'known'. */
  readonly certificates?: readonly Uint8Array[];
  /** Whether a requester that cannot be asked is refused. */
  readonly required: boolean;
  /** Judges the requester's chain (DER, root first, leaf last). @returns the leaf's public key, or throws */
  readonly trust: (certificates: readonly Uint8Array[]) => LeafKey | Promise<LeafKey>;
};

export type InstalledCertificates = Pick<SetCertificate, 'slot' | 'keyPairId' | 'certificateModel' | 'erase'> & {
  /** DER, root first, leaf last; empty when the slot is erased. */
  readonly certificates: readonly Uint8Array[];
  /** Whether the request came in a session. */
  readonly inSession: boolean;
};

/** What is asked of the requester in encapsulated requests, and what is known of it so far. */
export type Questions = {
  /** `challenge`: basic mutual authentication of 1.1. */
  readonly purpose: 'identity' | 'challenge' | 'keyUpdate' | 'endpoint' | 'subscription' | 'events';
  /** What the next encapsulated response answers. */
  asked?: 'digests' | 'certificate' | 'challenge' | 'newKey' | 'newKeyProof' | 'endpoint' | 'eventTypes' | 'subscription' | 'events';
  requestId: number;
  /** The encapsulated request that waits for its response. */
  message?: Uint8Array;
  readonly slot: number;
  /** Distinguishes this update of keys from others. */
  readonly tag: number;
  chain: Uint8Array;
  digest?: Uint8Array;
  digests?: Uint8Array;
  /** On their way to the requester. */
  sent?: readonly SpdmEvent[];
  /** What we want to know of the requester. */
  wanted?: readonly EventGroup[];
  /** What a later signature is over, and whose it must be. */
  readonly messages?: Uint8Array[];
  peer?: Peer;
};

/** The requester of a session as far as it is known. */
export type Peer = {
  readonly certificates: readonly Uint8Array[];
  readonly leafKey: LeafKey;
  readonly chainDigest: Uint8Array;
  /** Its encapsulated DIGESTS, part of the transcript on multi-key connections. */
  readonly digests?: Uint8Array;
};

export type LiveSession = {
  readonly kind: 'exchange' | 'psk';
  readonly keys: SessionEnd;
  readonly handshake: HandshakeSecrets;
  readonly clearHandshake: boolean;
  phase: 'handshake' | 'established';
  /** New keys are in use that the requester has not proved yet: nothing but that proof is admitted. */
  updating: boolean;
  /** Whether FINISH must be signed. */
  readonly mutual: boolean;
  peer?: Peer;
  questions?: Questions | undefined;
  /** Distinguishes the update of our sending key that is to come at the next GET_ENCAPSULATED_REQUEST. */
  newKeyTag?: number | undefined;
  /** What the requester wants to be told of. */
  events?: Subscription;
  /** Whether the requester was asked which events it has; where its events arrive, once it knows that they are wanted. */
  isAskedForEvents?: boolean;
  isAskedForEndpoint?: boolean;
  inbox?: EventInbox;
  /** TH so far: up to and with KEY_EXCHANGE_RSP or PSK_EXCHANGE_RSP. */
  readonly transcript: Uint8Array;
  measurements: readonly Uint8Array[];
};

export type Phase = 'start' | 'version' | 'capabilities' | 'negotiated';

export type ResponderState = {
  phase: Phase;
  version: number;
  transcript: Transcript;
  requester?: Capabilities | undefined;
  algorithms?: Algorithms | undefined;
  session?: LiveSession | undefined;
  /** What is asked of the requester in the clear, outside of a handshake; and who has answered. */
  questions?: Questions | undefined;
  provedPeer?: Peer | undefined;
  /** A large request on its way in, a large response on its way out. */
  incoming?: IncomingChunks | undefined;
  outgoing?: OutgoingChunks | undefined;
  nextHandle: number;
  deferred?: Deferred | undefined;
};

export type IncomingChunks = {
  readonly handle: number;
  readonly sequence: number;
  readonly totalBytes: number;
  readonly data: Uint8Array;
  readonly session: LiveSession | undefined;
};
export type OutgoingChunks = {
  readonly handle: number;
  readonly sequence: number;
  readonly sentBytes: number;
  readonly message: Uint8Array;
  readonly session: LiveSession | undefined;
};
/** A request that is worked on while the requester waits: `reply` is there when it is done. */
export type Deferred = {
  readonly code: number;
  readonly token: number;
  readonly session: LiveSession | undefined;
  readonly work: Promise<void>;
  reply?: Reply;
};

/** What a handler works on. */
export type Exchange = {
  readonly settings: ResponderSettings;
  readonly state: ResponderState;
  readonly request: Uint8Array;
  /** The session the request came in, absent in the clear. */
  readonly session?: LiveSession;
  /** Whether the request was put together from chunks. */
  readonly assembled?: boolean;
};

/** `afterwards` runs after the response has been sealed: new keys, end of session. */
export type Reply = { readonly message: Uint8Array; readonly afterwards?: () => void };
export type Handler = (exchange: Exchange) => Reply | Promise<Reply>;

/** A request that is answered with ERROR. */
export class Refusal extends Error {
  readonly errorCode: SpdmErrorCode;
  readonly data: number;
  /** Whether the session is over once the ERROR has been sent in it. */
  readonly endsSession: boolean;
  readonly extended: Uint8Array | undefined;

  constructor(errorCode: SpdmErrorCode, data = 0, endsSession = false, extended?: Uint8Array) {
    super(`refused with SPDM error ${errorCode}`);
    this.errorCode = errorCode;
    this.data = data;
    this.endsSession = endsSession;
    this.extended = extended;
  }
}

export const invalidRequest = (): Refusal => new Refusal(spdmError.invalidRequest);
/** Whatever is wrong with a handshake ends it. */
export const handshakeFailed = (errorCode: SpdmErrorCode): Refusal => new Refusal(errorCode, 0, true);
export const unexpectedRequest = (): Refusal => new Refusal(spdmError.unexpectedRequest);

/** The algorithms of a negotiated connection. The rule table lets no handler run before that. */
export function negotiated(state: ResponderState): Algorithms {
  if (!state.algorithms) throw unexpectedRequest();
  return state.algorithms;
}

/** Large messages on their way in the session end with it. */
export function endSession(state: ResponderState): void {
  const { session } = state;
  if (!session) return;
  session.keys.end();
  state.session = undefined;
  if (state.incoming?.session === session) state.incoming = undefined;
  if (state.outgoing?.session === session) state.outgoing = undefined;
}

/** Whether both sides have a capability. */
export function bothHave({ settings, state }: Pick<Exchange, 'settings' | 'state'>, flag: number): boolean {
  return ((state.requester?.flags ?? 0) & settings.capabilities.flags & flag) !== 0;
}

/** Longest response that reaches the requester: in chunks, or in one transfer (no such sizes before 1.2). */
export function longestResponse(exchange: Pick<Exchange, 'settings' | 'state'>): number {
  const { version, requester } = exchange.state;
  if (version < 0x12 || !requester) return maxMessageBytes;
  return bothHave(exchange, capability.chunk) ? requester.maxMessageBytes : requester.dataTransferBytes;
}

/** Capabilities in force: what this version knows of them. */
export const ownCapabilities = ({ settings, state }: Pick<Exchange, 'settings' | 'state'>): Capabilities =>
  capabilitiesFor(state.version, settings.capabilities);
