import { type SpdmErrorCode, type SpdmVersion, spdmError } from '../constants.ts';
import type { EcdhProvider, RandomSource } from '../ecdh.ts';
import type { HandshakeSecrets } from '../keyschedule.ts';
import type { MeasurementSource } from '../measurement.ts';
import type { AlgorithmBits } from '../messages/algorithms.ts';
import type { Capabilities } from '../messages/capabilities.ts';
import type { KeyPairInfo } from '../messages/digests.ts';
import type { VendorDefined } from '../messages/vendor-defined.ts';
import type { Binding } from '../record.ts';
import type { SessionEnd } from '../session.ts';
import type { Algorithms } from '../suite.ts';
import type { Transcript } from '../transcript.ts';

/** What a responder is given, and what it remembers between two requests. */

export type CertSlot = {
  /** DER, root first, leaf last. */
  readonly certificates: readonly Uint8Array[];
  /** ECDSA over the connection's hash of `input` with the leaf's key. @returns raw r ‖ s (64 or 96 bytes) */
  readonly sign: (input: Uint8Array) => Promise<Uint8Array>;
  /** Sent in DIGESTS on multi-key connections (1.3+); its certificate model also in CERTIFICATE. */
  readonly keyPair?: KeyPairInfo;
};

export type ResponderSettings = {
  /** Index = slot number 0–7. */
  readonly slots: readonly (CertSlot | undefined)[];
  readonly randomBytes: RandomSource;
  /** In rising order of their index; asked at every request for measurements or for their summary. */
  readonly measurements: () => readonly MeasurementSource[] | Promise<readonly MeasurementSource[]>;
  readonly versions: readonly SpdmVersion[];
  readonly capabilities: Capabilities;
  readonly algorithms: AlgorithmBits;
  /** Which secured messages: over MCTP (also MQTT), or over TCP. */
  readonly binding: Binding;
  /** 0 = no heartbeat asked for. */
  readonly heartbeatSeconds: number;
  readonly ecdh: EcdhProvider;
  readonly nextSessionId: () => number;
  /** Application data of an established session (an MCTP message, type byte first). Nothing is sent back for undefined. */
  readonly onApplicationData?: (sessionId: number, data: Uint8Array) => Promise<Uint8Array | undefined>;
  readonly onVendorDefined?: (request: VendorDefined, sessionId: number | undefined) => Promise<VendorDefined>;
  /** Told about faults of the passed-in functions, which the peer only sees as ERROR Unspecified. */
  readonly onFault?: (error: unknown) => void;
};

export type LiveSession = {
  readonly keys: SessionEnd;
  readonly handshake: HandshakeSecrets;
  readonly clearHandshake: boolean;
  phase: 'handshake' | 'established';
  /** New keys are in use that the requester has not proved yet: nothing but that proof is admitted. */
  updating: boolean;
  /** TH so far: up to and with KEY_EXCHANGE_RSP. */
  readonly transcript: Uint8Array;
  measurements: readonly Uint8Array[];
};

export type Phase = 'start' | 'version' | 'capabilities' | 'negotiated';

export type ResponderState = {
  phase: Phase;
  version: number;
  transcript: Transcript;
  requester?: Capabilities;
  algorithms?: Algorithms;
  session?: LiveSession;
};

/** What a handler works on. */
export type Exchange = {
  readonly settings: ResponderSettings;
  readonly state: ResponderState;
  readonly request: Uint8Array;
  /** The session the request came in, absent in the clear. */
  readonly session?: LiveSession;
};

/** `afterwards` runs after the response has been sealed: new keys, end of session. */
export type Reply = { readonly message: Uint8Array; readonly afterwards?: () => void };
export type Handler = (exchange: Exchange) => Reply | Promise<Reply>;

/** A request that is answered with ERROR. */
export class Refusal extends Error {
  readonly errorCode: SpdmErrorCode;
  readonly data: number;

  constructor(errorCode: SpdmErrorCode, data = 0) {
    super(`refused with SPDM error ${errorCode}`);
    this.errorCode = errorCode;
    this.data = data;
  }
}

export const invalidRequest = (): Refusal => new Refusal(spdmError.invalidRequest);
export const unexpectedRequest = (): Refusal => new Refusal(spdmError.unexpectedRequest);

/** The algorithms of a negotiated connection. The rule table lets no handler run before that. */
export function negotiated(state: ResponderState): Algorithms {
  if (!state.algorithms) throw unexpectedRequest();
  return state.algorithms;
}

export function endSession(state: ResponderState): void {
  state.session?.keys.end();
  delete state.session;
}
