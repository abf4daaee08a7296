import type { KemProvider } from '../agreement.ts';
import type { SlotSource } from '../certSlot.ts';
import type { EcdhProvider, RandomSource } from '../ecdh.ts';
import type { VerifyOptions } from '../evidence.ts';
import type { Binding } from '../record.ts';
import type { IdentifyOptions } from './identify.ts';

/** What a requester needs to set up a session. */
export type SessionSetupOptions = IdentifyOptions & {
  /** RandomData of KEY_EXCHANGE, 32 bytes. A nonce chosen by the server makes the resulting evidence fresh for the server. */
  readonly nonce: Uint8Array;
  readonly trust: VerifyOptions['trust'];
  /** For a responder that is known by its public key. */
  readonly trustKey?: NonNullable<VerifyOptions['trustKey']>;
  readonly uidHex?: string;
  readonly randomBytes: RandomSource;
  readonly binding: Binding;
  readonly ecdh: EcdhProvider;
  /** Needed for ML-KEM only. */
  readonly kem?: KemProvider;
  /** ReqSessionID, 16 bits. */
  readonly sessionId: number;
  /** Measurement summary in KEY_EXCHANGE_RSP: 0 none, 1 trusted computing base, 0xFF all. */
  readonly summaryType: number;
  readonly policy: number;
  /** Of secured messages (DSP0277), offered to the responder. */
  readonly securedVersions: readonly number[];
  /** Our own certificates and keys, for a responder that wants to know who we are; without them such a responder is refused. */
  readonly ownSlots: SlotSource;
};
