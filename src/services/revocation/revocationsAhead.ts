import { setTimeout } from 'node:timers/promises';
import type { Recorded } from '../../eventstore/recorded.ts';
import { type CertificateRow, certificateQueries, revokedBy } from '../../projections/certificates.ts';
import type { Context } from '../base/context.ts';

/** Puts revocations in force that the read models do not show yet: somebody may hold their file for an hour, and a revoked device is not to stay
 *  online meanwhile. Only the log is waited for; which certificates a machine has is read from the inventory as it is, which nobody can lock. */

/** The read models are mostly faster than that, and then there is nothing to do here. They are looked at and not waited for: a wait would end the
 *  gathering of events, which a bulk revocation lives on. */
const readModelsMs = 250;
const looks = 10;

/** What is known of a certificate that the inventory does not have yet. */
export type RevokedAhead = Pick<CertificateRow, 'serial' | 'kind' | 'subject'>;

type Parts = {
  /** Position from which on events are looked at. */
  readonly start: number;
  /** When the inventory is there. */
  readonly begun: Promise<void>;
  /** Whether the read models have brought an event into force. */
  isShown(position: number): boolean;
  revoke(certificate: RevokedAhead, position: number): void;
};

export function followAhead(ctx: Context, { start, begun, isShown, revoke }: Parts): { close(): Promise<void> } {
  const queries = certificateQueries(ctx.reads.db);
  const certificatesOf = async ({ serial, subject, kind }: NonNullable<ReturnType<typeof revokedBy>>): Promise<readonly RevokedAhead[]> => {
    if (serial === undefined) return queries.openOf(subject, kind);
    return [(await queries.bySerial(serial)) ?? { serial, subject, kind }];
  };
  const handle = async (events: readonly Recorded[]): Promise<void> => {
    const last = events.findLast(event => revokedBy(event) !== undefined)?.position;
    if (last === undefined) return;
    for (let look = 0; look < looks && !isShown(last); look++) await setTimeout(readModelsMs / looks);
    for (const event of events) {
      const named = revokedBy(event);
      if (named === undefined || isShown(event.position)) continue;
      const certificates = await certificatesOf(named);
      // They may have come meanwhile, and with them what ended it again.
      if (!isShown(event.position)) for (const certificate of certificates) revoke(certificate, event.position);
    }
  };
  return ctx.followers.follow('revocations ahead', start, handle, { begin: () => begun });
}
