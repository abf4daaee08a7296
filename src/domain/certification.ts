import { hourMs } from '../times.ts';
import type { IsoTime } from './actor.ts';
import type { Decider } from './decider.ts';
import { refuse, timeAfter } from './rules.ts';

/** What is signed for a programmer, a gateway, or a device's operational certificate (LDevID), recorded with it or before it: an intent without a result
 *  is used first. Devices keep the intent of their IDevID in their own stream.
 *  Stream `certification-{kind}-{subject}`.  IDLE ⇄ PENDING */

export type CertifiedKind = 'programmer' | 'gateway' | 'ldevid';

export type Intent = {
  /** 16 bytes, hex. */
  readonly serial: string;
  readonly csrSha256: string;
  readonly publicKeySha256: string;
  readonly icaId: string;
  readonly notBefore: IsoTime;
  readonly notAfter: IsoTime;
  /** Which list of its authority the certificate is on when it is revoked; default: the first one. */
  readonly crlPartition?: number;
  /** Two people have agreed on this key: the machine of this name, which may not be theirs any more, cannot use up what they may ask for. */
  readonly agreed?: true;
};

export type CertificationEvent =
  | { readonly type: 'CertificateIntended'; readonly data: Intent }
  | { readonly type: 'CertificateIntentDone'; readonly data: { readonly serial: string } };
export type CertificationCommand =
  /** The intent at hand for the same key stays; one for another key that was never recorded as done gives way. */
  ({ readonly type: 'IntendCertificate' } & Intent) | { readonly type: 'FinishIntent'; readonly serial: string };
/** `recent`: beginnings of the newest intents, oldest first. */
type Recent = { readonly recent: readonly IsoTime[] };
export type CertificationState = Recent & ({ readonly status: 'IDLE' } | { readonly status: 'PENDING'; readonly intent: Intent });

/** Certificates that one machine may ask for within an hour. */
const maxCertificatesPerHour = 6;

export const certificationStream = (kind: CertifiedKind, subject: string): string => `certification-${kind}-${subject}`;

function decide(command: CertificationCommand, state: CertificationState): readonly CertificationEvent[] {
  if (command.type === 'FinishIntent') {
    const isPending = state.status === 'PENDING' && state.intent.serial === command.serial;
    return isPending ? [{ type: 'CertificateIntentDone', data: { serial: command.serial } }] : [];
  }
  const { type: _, ...intent } = command;
  if (state.status === 'PENDING' && state.intent.publicKeySha256 === intent.publicKeySha256) return [];
  const hourAgo = timeAfter(intent.notBefore, -hourMs);
  if (intent.agreed !== true && state.recent.filter(begun => begun > hourAgo).length >= maxCertificatesPerHour)
    refuse('RATE_LIMITED', `at most ${maxCertificatesPerHour} certificates an hour`);
  if (intent.notAfter <= intent.notBefore) refuse('CERTIFICATE_EXPIRED', 'nothing of the issuer’s validity is left');
  return [{ type: 'CertificateIntended', data: intent }];
}

function evolve(state: CertificationState, event: CertificationEvent): CertificationState {
  switch (event.type) {
    case 'CertificateIntended':
      return { status: 'PENDING', intent: event.data, recent: [...state.recent, ...countedOf(event.data)].slice(-maxCertificatesPerHour) };
    case 'CertificateIntentDone':
      return { status: 'IDLE', recent: state.recent };
    default:
      return state;
  }
}

const countedOf = ({ agreed, notBefore }: Intent): readonly IsoTime[] => (agreed === true ? [] : [notBefore]);

export const certification: Decider<CertificationCommand, CertificationState, CertificationEvent> = {
  initialState: { status: 'IDLE', recent: [] },
  decide,
  evolve,
};
