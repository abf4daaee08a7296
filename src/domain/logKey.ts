import type { IsoTime } from './actor.ts';
import type { Decider } from './decider.ts';

/** The key that signs checkpoints of the event log, and its certificates: one by each root. Stream `log-key`.  NONE → CERTIFIED */

export type LogCertificate = {
  readonly rootId: string;
  readonly keyId: string;
  /** DER, base64url. */
  readonly certificate: string;
  readonly serial: string;
  readonly sha256: string;
  readonly notAfter: IsoTime;
};
export type LogKeyEvent = { readonly type: 'LogKeyCertified'; readonly data: LogCertificate };
export type LogKeyCommand = { readonly type: 'CertifyLogKey' } & LogCertificate;
export type LogKeyState = { readonly status: 'NONE' | 'CERTIFIED'; readonly certificates: readonly LogCertificate[] };

export const logKeyStream = 'log-key';

/** One certificate for each root and key. */
function decide({ type: _, ...data }: LogKeyCommand, { certificates }: LogKeyState): readonly LogKeyEvent[] {
  const isKnown = certificates.some(({ rootId, keyId }) => rootId === data.rootId && keyId === data.keyId);
  return isKnown ? [] : [{ type: 'LogKeyCertified', data }];
}

function evolve(state: LogKeyState, event: LogKeyEvent): LogKeyState {
  switch (event.type) {
    case 'LogKeyCertified':
      return { status: 'CERTIFIED', certificates: [...state.certificates, event.data] };
    default:
      return state;
  }
}

export const logKey: Decider<LogKeyCommand, LogKeyState, LogKeyEvent> = {
  initialState: { status: 'NONE', certificates: [] },
  decide,
  evolve,
};
