import { NusecError } from '../../errors.ts';

/** DevAuth result codes: key 0 of every response. */
export const devAuthCodes = {
  ok: 0,
  'bad-cbor': 2,
  'bad-state': 3,
  'bad-arg': 4,
  unauthenticated: 5,
  'otp-used': 7,
  'otp-verify': 8,
  flash: 9,
  version: 10,
  rollback: 11,
  'too-big': 12,
  locked: 13,
  busy: 14,
  entropy: 15,
  policy: 16,
} as const;

export type DevAuthReason = Exclude<keyof typeof devAuthCodes, 'ok'>;

/** A refusal by the responder. Handlers throw it; the host throws it again on the other side. */
export class DevAuthError extends NusecError {
  readonly reason: DevAuthReason;

  constructor(reason: DevAuthReason) {
    super('DEVAUTH_REFUSED', `refused by the device: ${reason}`);
    this.name = 'DevAuthError';
    this.reason = reason;
  }
}

export const devAuthMalformed = (detail: string): NusecError => new NusecError('DEVAUTH_MALFORMED', detail);

/** @returns undefined for 0 and for codes that do not exist */
export function reasonOf(code: number): DevAuthReason | undefined {
  const found = Object.entries(devAuthCodes).find(([name, value]) => value === code && name !== 'ok');
  return found?.[0] as DevAuthReason | undefined;
}
