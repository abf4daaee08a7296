import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { allotment, allotmentStream } from '../../domain/allotment.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { SignedGrant } from '../../domain/grant.ts';
import { job, jobStream } from '../../domain/job.ts';
import { type KeyHolder, publicKey, publicKeyStream } from '../../domain/publicKey.ts';
import { judgeCsr } from '../../pki/csr.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, execute, stateOf } from '../base/context.ts';
import { jobOf } from './jobs.ts';

/** Stops the work when a unit shows the public key of another holder (T26, I4, silence 6). One programmer can make that happen by itself, with
 *  a key of its own in two requests: then its share of the job is frozen and the others continue. Two units of one job, built by two programmers,
 *  with one key are a fault of the chips or of both: the job is suspended. So is a job that nobody else works on. */

const system = 'system:production';
const clonedKeyReason = 'cloned-key';

export async function stopForClonedKey(parts: Parts, { jobId, programmer, uid, objId }: SignedGrant, csr: Uint8Array): Promise<void> {
  const { ctx, alarms } = parts;
  const holder = await holderOf(ctx, judgeCsr(csr, { commonName: objId, serialNumber: uid }).publicKey);
  const stopsJob = (await isUnitOfAnother(ctx, holder, jobId, programmer)) || (await worksAlone(ctx, jobId, programmer));
  const reason = `public key of ${uid} seen before`;
  if (stopsJob) await execute(ctx, job, jobStream(jobId), { type: 'SuspendJob', reason, by: system }, system);
  else
    await execute(
      ctx,
      allotment,
      allotmentStream(jobId, programmer),
      { type: 'FreezeAllotment', reason: clonedKeyReason, by: system },
      system,
    );
  const stopped = stopsJob ? 'the job is suspended' : 'its share of the job is frozen';
  const whose = holder === undefined ? 'another holder' : `${holder.kind} ${holder.uid}`;
  const detail = `unit ${uid} of programmer ${programmer} has the key of ${whose}; ${stopped}`;
  await alarms.raise({ code: 'WEAK_OR_CLONED_KEY', subject: jobStream(jobId), detail });
}

async function holderOf(ctx: Context, spki: Uint8Array): Promise<KeyHolder | undefined> {
  const state = await stateOf(ctx, publicKey, publicKeyStream(sha256Hex(spki)));
  return state.status === 'NONE' ? undefined : state.holder;
}

async function isUnitOfAnother(ctx: Context, holder: KeyHolder | undefined, jobId: string, programmer: string): Promise<boolean> {
  if (holder?.kind !== 'device') return false;
  const state = await stateOf(ctx, device, deviceStream(holder.uid));
  return state.status !== 'NONE' && state.jobId === jobId && state.programmer !== programmer;
}

async function worksAlone(ctx: Context, jobId: string, programmer: string): Promise<boolean> {
  return (await jobOf(ctx, jobId)).allotments.every(share => share.settled || share.programmer === programmer);
}

/** A person has checked it: the share continues. A freeze for another reason is lifted elsewhere, or not at all.
 *  @throws NusecError NOT_FOUND, STATE */
export async function thawShare(ctx: Context, jobId: string, programmer: string, reason: string, by: Actor): Promise<void> {
  const thaw = { type: 'ThawAllotment', lifts: clonedKeyReason, reason, by } as const;
  await execute(ctx, allotment, allotmentStream(jobId, programmer), thaw, by);
}
