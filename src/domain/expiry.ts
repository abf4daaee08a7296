import type { IsoTime } from './actor.ts';
import type { Decider } from './decider.ts';
import { isPast, refuse } from './rules.ts';

/** That a certificate's end comes near was said, and that it is reached. Stream `expiry-{serial}`. A device's own certificate expires in the
 *  stream of the device.  NONE → NOTICED (90, 30, 7 days) → ENDED */

/** Days before the end at which a notice is given, earliest notice first. */
export const expiryNoticeDays = [90, 30, 7] as const;

export type ExpiryEvent =
  | {
      readonly type: 'CertificateExpiryNoticed';
      readonly data: {
        readonly serial: string;
        readonly kind: string;
        readonly subject: string;
        readonly days: number;
        readonly notAfter: IsoTime;
      };
    }
  | { readonly type: 'CertificateEnded'; readonly data: { readonly serial: string; readonly notAfter: IsoTime } };
export type ExpiryCommand =
  | {
      readonly type: 'NoticeExpiry';
      readonly serial: string;
      readonly kind: string;
      readonly subject: string;
      readonly days: number;
      readonly notAfter: IsoTime;
    }
  | { readonly type: 'EndCertificate'; readonly serial: string; readonly notAfter: IsoTime; readonly now: IsoTime };
export type ExpiryState =
  | { readonly status: 'NONE' }
  | { readonly status: 'NOTICED'; readonly days: number }
  | { readonly status: 'ENDED' };

export const expiryStream = (serial: string): string => `expiry-${serial}`;

/** Each threshold is noticed once, and none after a nearer one. */
function decide(command: ExpiryCommand, state: ExpiryState): readonly ExpiryEvent[] {
  if (state.status === 'ENDED') return [];
  if (command.type === 'EndCertificate') {
    const { serial, notAfter } = command;
    if (!isPast(notAfter, command.now)) refuse('STATE', `the certificate is good until ${notAfter}`);
    return [{ type: 'CertificateEnded', data: { serial, notAfter } }];
  }
  const { type: _, ...data } = command;
  return state.status === 'NOTICED' && state.days <= data.days ? [] : [{ type: 'CertificateExpiryNoticed', data }];
}

function evolve(state: ExpiryState, event: ExpiryEvent): ExpiryState {
  switch (event.type) {
    case 'CertificateExpiryNoticed':
      return { status: 'NOTICED', days: event.data.days };
    case 'CertificateEnded':
      return { status: 'ENDED' };
    default:
      return state;
  }
}

export const expiry: Decider<ExpiryCommand, ExpiryState, ExpiryEvent> = { initialState: { status: 'NONE' }, decide, evolve };
