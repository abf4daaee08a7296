import { authority, authorityStream } from '../../domain/authority.ts';
import { partitionFact } from '../../domain/crlList.ts';
import { device, deviceStream } from '../../domain/device.ts';
import { type RevocationReason, revocationReasons } from '../../domain/deviceEvents.ts';
import { gateway, gatewayStream } from '../../domain/gateway.ts';
import { storeStream } from '../../domain/storeEvents.ts';
import { newEvent } from '../../eventstore/recorded.ts';
import { certificateQueries } from '../../projections/certificates.ts';
import { type Context, execute, nowIso } from '../base/context.ts';
import { reportStolen, retireProgrammer, revokeProgrammer, suspendProgrammer } from '../production/programmers.ts';
import type { MarkEntry } from '../revocation/markFile.ts';
import type { Revocations } from '../revocation/revocations.ts';
import { ignoreRefusal } from './restorePeople.ts';

/** Revokes again what a store has forgotten: first every certificate, so that handshakes, lists and OCSP refuse it whatever else is known of it,
 *  then its holder. */

const by = 'system:restore';
const note = 'it was so before an older store was put back';
const eventsAtOnce = 1000;

/** @returns how many certificates were revoked or put on hold again */
export async function restoreRevocations(
  { ctx, revocations }: { readonly ctx: Context; readonly revocations: Revocations },
  revoked: ReadonlyMap<string, MarkEntry>,
): Promise<number> {
  const lost = await lostIn(ctx, [...revoked.values()]);
  for (let from = 0; from < lost.length; from += eventsAtOnce) {
    const events = lost.slice(from, from + eventsAtOnce).map(entry => eventOf(ctx, entry));
    await ctx.store.append(storeStream, 'any', events);
  }
  for (const entry of lost) await endHolder(ctx, entry).catch(ignoreRefusal);
  await revocations.caughtUp(await ctx.store.head());
  return lost.length;
}

/** Those that are valid, unknown, or only on hold in the store. */
async function lostIn(ctx: Context, entries: readonly MarkEntry[]): Promise<readonly MarkEntry[]> {
  const queries = certificateQueries(ctx.reads.db);
  const lost: MarkEntry[] = [];
  for (const entry of entries) {
    const known = (await queries.bySerial(entry.serial))?.reason ?? null;
    if (known === null || (known === 'certificateHold' && entry.reason !== 'certificateHold')) lost.push(entry);
  }
  return lost;
}

function eventOf(ctx: Context, { reason, revokedAt, crlPartition, ...certificate }: MarkEntry) {
  const at = nowIso(ctx);
  const data = { ...certificate, ...partitionFact(crlPartition), reason: reason ?? 'unspecified', revokedAt: revokedAt ?? at };
  return newEvent('CertificateRevocationRestored', data, { id: ctx.newId(), at, by });
}

async function endHolder(ctx: Context, { kind, subject, serial, reason }: MarkEntry): Promise<void> {
  const isHold = reason === 'certificateHold';
  switch (kind) {
    case 'device': {
      const command = isHold
        ? ({ type: 'SuspendDevice', reason: note, by } as const)
        : ({ type: 'RevokeCertificate', serial, reason: deviceReason(reason), by } as const);
      await execute(ctx, device, deviceStream(subject), command, by);
      return;
    }
    case 'gateway':
      if (reason === 'superseded') return;
      await execute(ctx, gateway, gatewayStream(subject), { type: isHold ? 'SuspendGateway' : 'RevokeGateway', reason: note, by }, by);
      return;
    case 'programmer':
      await endProgrammer(ctx, subject, reason);
      return;
    case 'ica':
      await execute(ctx, authority, authorityStream(ctx.project), { type: 'CompromiseIssuingCa', icaId: subject, reason: note, by }, by);
      return;
    default:
  }
}

async function endProgrammer(ctx: Context, uid: string, reason: string | null): Promise<void> {
  if (reason === 'certificateHold') await suspendProgrammer(ctx, uid, note, by);
  else if (reason === 'keyCompromise') await reportStolen(ctx, uid, note, by);
  else if (reason === 'cessationOfOperation') await retireProgrammer(ctx, uid, by);
  else await revokeProgrammer(ctx, uid, note, by);
}

const deviceReason = (reason: string | null): RevocationReason => revocationReasons.find(known => known === reason) ?? 'unspecified';
