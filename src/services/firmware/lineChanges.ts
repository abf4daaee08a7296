import { fromBase64url } from '../../bytes.ts';
import type { Actor } from '../../domain/actor.ts';
import { type DefinedLine, defaultAttestationDays, type LineCommand, line, lineStream } from '../../domain/line.ts';
import { type LineChange, proposalContent } from '../../domain/lineChange.ts';
import { importKey, spkiOfPoint } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { deviceQueries } from '../../projections/deviceQueries.ts';
import { releaseQueries } from '../../projections/releases.ts';
import { type Approval, approve } from '../base/approval.ts';
import { type Context, execute, nowIso } from '../base/context.ts';
import { lineOf } from './lines.ts';

/** Changes of a line that last (RULE-11, I16). One person alone makes them while the line has no devices, and raises the floor to a counter that two people
 *  have published: there is an image then for every device. Anything beyond is proposed by one and approved by another. */

/** Makes the change, or proposes it. @returns the line, and whether the change waits for another person
 *  @throws NusecError NOT_FOUND, ROLLBACK, COUNTER_EXHAUSTED, BAD_REQUEST, KEY_REFUSED, CONFLICT */
export async function changeLine(ctx: Context, name: string, change: LineChange, by: Actor): Promise<Changed> {
  const before = await lineOf(ctx, name);
  if ('encryption' in change && change.encryption.publicKey !== undefined)
    importKey(spkiOfPoint(fromBase64url(change.encryption.publicKey)));
  const isForTwo = !(await isForOne(ctx, before, change));
  const command = isForTwo ? ({ type: 'ProposeLineChange', change, by, now: nowIso(ctx) } as const) : commandOf(change, by);
  const { events } = await execute(ctx, line, lineStream(name), command, by);
  return { line: await lineOf(ctx, name), isProposed: isForTwo && events.length > 0 };
}

function commandOf(change: LineChange, by: Actor): LineCommand {
  if ('floor' in change) return { type: 'RaiseRollbackFloor', floor: change.floor, by };
  if ('encryption' in change) return { type: 'SetLineEncryption', encryption: change.encryption, by };
  return { type: 'SetAttestationRetention', days: change.attestationDays, by };
}

type Changed = { readonly line: DefinedLine; readonly isProposed: boolean };

/** By a person other than who proposed it. @throws NusecError NOT_FOUND, STATE (nothing waits), FOUR_EYES_REQUIRED, CONFLICT (not what was seen), and
 *  what the change itself is refused with by now */
export async function approveLineChange(ctx: Context, name: string, by: Actor, approval?: Approval): Promise<DefinedLine> {
  await approve(
    ctx,
    {
      decider: line,
      stream: lineStream(name),
      content: async () => {
        const { proposal } = await lineOf(ctx, name);
        if (proposal === undefined) throw new NusecError('STATE', 'no change of this line waits for an approval');
        return proposalContent(name, proposal);
      },
      command: content => ({ type: 'ApproveLineChange' as const, by, now: nowIso(ctx), content }),
    },
    by,
    approval,
  );
  return lineOf(ctx, name);
}

async function isForOne(ctx: Context, { line: name, attestationDays }: DefinedLine, change: LineChange): Promise<boolean> {
  if ('attestationDays' in change && change.attestationDays >= (attestationDays ?? defaultAttestationDays)) return true;
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['releases', 'devices'] });
  if ('floor' in change && change.floor <= (await releaseQueries(ctx.reads.db).highestCounter(name, 'app', 'PUBLISHED'))) return true;
  return (await deviceQueries(ctx.reads.db).uids({ lines: [name], limit: 1 })).length === 0;
}
