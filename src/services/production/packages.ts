import { fromHex, toHex } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { allotment, allotmentStream } from '../../domain/allotment.ts';
import type { ExportedPackage } from '../../domain/allotmentEvents.ts';
import { type AllotmentState, type OpenedAllotment, remainingUnits } from '../../domain/allotmentState.ts';
import { requireActiveCa } from '../../domain/authorityState.ts';
import { jobStream, job as jobs } from '../../domain/job.ts';
import type { BoundFirmware } from '../../domain/jobEvents.ts';
import { type CreatedJob, requireBoundFirmware, requireRunningJob } from '../../domain/jobState.ts';
import { nextNumber } from '../../domain/numbers.ts';
import { programmerStream, programmer as programmers, requireUsableProgrammer } from '../../domain/programmer.ts';
import { isPast } from '../../domain/rules.ts';
import { parseVersion } from '../../domain/version.ts';
import { NusecError } from '../../errors.ts';
import { parseCertificate } from '../../pki/parse.ts';
import { imageIds } from '../../production/fields.ts';
import { otpMapVersion } from '../../production/otpMap.ts';
import { type ContentSeal, type PackagePayload, sealPackage, strictestPolicy } from '../../production/package.ts';
import type { UnitDataRule } from '../../production/unitData.ts';
import { daySeconds, secondsOf } from '../../times.ts';
import { type Authorities, authorityOf, signerFor } from '../authority/authority.ts';
import { chainOf } from '../authority/issuingCa.ts';
import { type Condition, type Context, executeIf, nowIso, reader } from '../base/context.ts';
import { lineOf } from '../firmware/lines.ts';
import { allotmentOf } from './allotments.ts';
import { requireFirmware } from './conditions.ts';
import { jobOf } from './jobs.ts';
import { programmerOf } from './programmers.ts';
import { unitDataFor } from './series.ts';
import { uidRuleFor } from './uidLists.ts';

/** Production packages (R57–R61, R105, R106): the units a programmer may still build, sealed for that programmer alone. */

const packageLifetimeDays = 90;

/** The file of a share. A package that was lost is exported again byte for byte (silence 8); after the quota rose, when it has expired, or with
 *  `replace`, a new one is made with a higher sequence that supersedes it (silence 7, I13).
 *  @throws NusecError NOT_FOUND, JOB_NOT_RUNNING, PROGRAMMER_NOT_ACTIVE (suspended, stolen, given up), STATE (no AES_NuLink3 yet),
 *  COUNT_EXHAUSTED, VALUES_EXHAUSTED, ALLOTMENT_FROZEN, RELEASE_STATE (a release of the job is withdrawn), ROLLBACK (the floor of the line has risen
 *  above the job's application), ENCRYPTION_REQUIRED */
export async function exportPackage(ctx: Context, jobId: string, programmer: string, replace: boolean, by: Actor): Promise<Uint8Array> {
  const job = await jobOf(ctx, jobId);
  const state = opened(await allotmentOf(ctx, jobId, programmer));
  if (state.status === 'FROZEN') throw new NusecError('ALLOTMENT_FROZEN', 'the allotment is frozen');
  await mayBePacked(jobId, programmer)(reader(ctx));
  const newest = state.packages.at(-1);
  const isOver = newest !== undefined && (hasNoValues(state) || isPast(newest.expiresAt, nowIso(ctx)));
  if (newest !== undefined && !replace && !state.raisedSincePackage && !isOver) return ctx.blobs.get(newest.sha256);
  const { file, exported } = await makePackage(ctx, job, state, by);
  try {
    const stream = allotmentStream(jobId, programmer);
    await executeIf(
      ctx,
      mayBePacked(jobId, programmer),
      allotment,
      stream,
      { type: 'ExportPackage', after: newest?.sequence ?? 0, ...exported },
      by,
    );
  } catch (error) {
    const wasFirst = error instanceof NusecError && error.code === 'PACKAGE_REPLAYED' && !replace;
    if (!wasFirst) throw error;
    return exportPackage(ctx, jobId, programmer, false, by);
  }
  return file;
}

/** The values that its newest package carries are used up. */
const hasNoValues = ({ packages, reserved }: OpenedAllotment): boolean =>
  reserved >= (packages.at(-1)?.valuesUntil ?? Number.POSITIVE_INFINITY);

/** Job running, its firmware such as a unit would be given (a package that no unit could be built with is not worth its way), programmer meant to
 *  build. @throws NusecError JOB_NOT_RUNNING, PROGRAMMER_NOT_ACTIVE, and as `requireGivable` */
const mayBePacked =
  (jobId: string, programmer: string): Condition =>
  async read => {
    const job = await read(jobs, jobStream(jobId));
    requireRunningJob(job);
    await requireFirmware(read, job);
    requireUsableProgrammer(await read(programmers, programmerStream(programmer)));
  };

/** @throws NusecError NOT_FOUND */
export function opened(state: AllotmentState): OpenedAllotment {
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', 'this programmer has no allotment of this job');
  return state;
}

async function makePackage(
  ctx: Context,
  job: CreatedJob,
  state: OpenedAllotment,
  by: Actor,
): Promise<{ file: Uint8Array; exported: ExportedPackage }> {
  const { kek } = await programmerOf(ctx, state.programmer);
  if (kek === undefined) throw new NusecError('STATE', 'the programmer has not agreed AES_NuLink3 yet');
  const authorities = await authorityOf(ctx);
  const unitData = await unitDataFor(ctx, job, state, by);
  const payload = await payloadOf(ctx, authorities, job, state, unitData?.rule);
  const seal: ContentSeal = (kdf, iv, aad, plaintext) => ctx.keystore.seal(kek.keyId, kdf, iv, aad, plaintext);
  const file = await sealPackage(
    { payload, epoch: kek.epoch, iv: ctx.randomBytes(12) },
    await signerFor(ctx, authorities, 'package'),
    seal,
  );
  const exported = {
    packageId: toHex(payload.packageId),
    sequence: payload.sequence,
    epoch: kek.epoch,
    count: payload.count,
    sha256: await ctx.blobs.put(file),
    expiresAt: new Date(payload.expiresAtSeconds * 1000).toISOString(),
    ...(unitData !== undefined && { valuesUntil: unitData.valuesUntil }),
  };
  return { file, exported };
}

/** Counts what the server would still grant, so that a replacement never adds to what was built before. */
async function payloadOf(
  ctx: Context,
  authorities: Authorities,
  job: CreatedJob,
  state: OpenedAllotment,
  unitData: UnitDataRule | undefined,
): Promise<PackagePayload> {
  const line = await lineOf(ctx, job.line);
  const count = remainingUnits(state);
  if (count === 0) throw new NusecError('COUNT_EXHAUSTED', 'nothing is left of this allotment');
  const newest = state.packages.at(-1);
  const issuedAtSeconds = secondsOf(ctx.clock().getTime());
  return {
    version: 1,
    packageId: ctx.randomBytes(16),
    jobId: fromHex(job.jobId),
    progUid: fromHex(state.programmer),
    count,
    sequence: nextNumber(newest?.sequence, issuedAtSeconds),
    issuedAtSeconds,
    expiresAtSeconds: issuedAtSeconds + packageLifetimeDays * daySeconds,
    images: [imageOf(imageIds.bl2, requireBoundFirmware(job, 'bl2')), imageOf(imageIds.bl3, requireBoundFirmware(job, 'app'))],
    uids: await uidRuleFor(ctx, job),
    server: { baseUrl: ctx.apiBaseUrl, tlsRootKeySha256: await rootKeySha256(ctx, authorities, state.programmer) },
    policy: { ...strictestPolicy, requireUidList: job.policy.requireUidList },
    vendorId: fromHex(line.vendorUuid),
    classId: fromHex(line.classUuid),
    scrapAllowance: Math.max(0, state.scrapAllowance - state.scrapped),
    rollbackFloor: line.rollbackFloor,
    ...(newest !== undefined && { supersedes: fromHex(newest.packageId) }),
    icaId: requireActiveCa(authorities, 'device', job.line).icaId,
    otpMapVersion,
    ...(unitData !== undefined && { unitData }),
    ...(job.configWords !== undefined && { configWords: job.configWords }),
  };
}

/** The root that this programmer has in OTP: after a rollover not the newest one. */
async function rootKeySha256(ctx: Context, authorities: Authorities, programmer: string): Promise<Uint8Array> {
  const certificate = (await programmerOf(ctx, programmer)).certificates.at(-1);
  if (certificate === undefined) throw new NusecError('STATE', 'the programmer has no certificate');
  return fromHex(sha256Hex(parseCertificate(chainOf(authorities, certificate.icaId).root).spki));
}

const imageOf = (id: number, { version, bodySha256, size, securityCounter }: BoundFirmware): PackagePayload['images'][number] => ({
  id,
  version: parseVersion(version),
  sha256: fromHex(bodySha256),
  sizeBytes: size,
  securityCounter,
  format: 'mcuboot',
});
