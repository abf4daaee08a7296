import { createHash } from 'node:crypto';
import { type Repeated, repeatedly } from '../../closing.ts';
import { counted } from '../../counted.ts';
import type { DefinedLine } from '../../domain/line.ts';
import { line, lineStream, policyOf } from '../../domain/line.ts';
import { deviceQueries } from '../../projections/deviceQueries.ts';
import { releaseQueries } from '../../projections/releases.ts';
import { hourMs, minuteMs } from '../../times.ts';
import type { Alarms } from '../base/alarms.ts';
import type { AttestationLog, AttestationOutcome } from '../base/attestationLog.ts';
import { type Context, stateOf } from '../base/context.ts';
import type { Attestation } from './attestation.ts';
import { type WayParts, waysTo } from './evidenceGathering.ts';

/** Attests the devices of a line every so many hours, each at its own moment, and at most so many a minute. When each is due follows from the log of
 *  attestations, so nothing is forgotten when the process ends. The leader does it. */

export type ScheduleParts = WayParts & {
  readonly ctx: Context;
  readonly alarms: Alarms;
  readonly attestations: AttestationLog;
  readonly attestation: Pick<Attestation, 'attest'>;
};

/** Where the schedule is, in memory alone. */
export type Walk = {
  /** How far each line was walked over: the last device that was looked at. */
  readonly cursors: Map<string, string>;
  /** When devices were asked that have proved nothing by it: they stay due. */
  readonly askedMs: Map<string, number>;
};
export const newWalk = (): Walk => ({ cursors: new Map(), askedMs: new Map() });

/** Devices in one step of a walk over a line. */
const pageRows = 1000;
/** Devices of a line that are looked at in one minute: a larger line takes several. */
const maxLookedAt = 20_000;
/** How long a device that was asked and gave no proof (silent, unsupported, a gateway that lies) is left alone. */
const againAfterMs = 15 * minuteMs;
/** How much earlier or later than the period a device has its turn: a fleet that came online together spreads out. */
const jitter = 0.1;
/** A line is overdue when fewer than this were attested within two periods. */
const leastAttested = 0.9;
const overduePeriods = 2;

/** What is not attested in time is an alarm; devices that do not answer are asked again the next time. */
export function startAttestationSchedule(parts: ScheduleParts): Repeated {
  const walk = newWalk();
  const logFailure = (error: unknown): void => parts.ctx.log.warn({ error: String(error) }, 'the attestation schedule did not run');
  return repeatedly(minuteMs, stop => attestDue(parts, walk, stop), logFailure);
}

export async function attestDue(parts: ScheduleParts, walk: Walk, stop?: AbortSignal): Promise<void> {
  const { ctx } = parts;
  const nowMs = ctx.clock().getTime();
  // A clock that was set back lets nobody wait.
  for (const [uid, atMs] of walk.askedMs) if (atMs > nowMs || atMs + againAfterMs <= nowMs) walk.askedMs.delete(uid);
  for (const name of await releaseQueries(ctx.reads.db).lines()) {
    const state = await stateOf(ctx, line, lineStream(name));
    if (stop?.aborted) return;
    if (state.status !== 'DEFINED') continue;
    if (dueSince(state, nowMs) !== undefined) await attestLine(parts, state, walk, stop);
    else await warn(parts, state, nowMs);
  }
}

async function attestLine(parts: ScheduleParts, state: DefinedLine, walk: Walk, stop?: AbortSignal): Promise<void> {
  const { ctx, attestation } = parts;
  const nowMs = ctx.clock().getTime();
  const due = await nextDue(parts, state, walk, nowMs);
  if (stop?.aborted) return;
  const askOne = async (uid: string): Promise<void> => {
    walk.askedMs.set(uid, nowMs);
    const { result } = await attestation.attest(uid);
    if (result === 'passed' || result === 'failed') walk.askedMs.delete(uid);
  };
  const silent = (error: unknown): void => ctx.log.debug({ error: String(error) }, 'not attested now');
  await Promise.all(due.map(uid => askOne(uid).catch(silent)));
  await warn(parts, state, nowMs);
}

/** The next devices that are due and can be asked, at most as many as the budget of a minute. The walk continues behind them, so that devices that
 *  never prove anything leave the others their turn. */
async function nextDue(parts: ScheduleParts, state: DefinedLine, { cursors, askedMs }: Walk, nowMs: number): Promise<readonly string[]> {
  const { ctx, attestations } = parts;
  const { perMinute = defaultPerMinute } = policyOf(state);
  const due: string[] = [];
  let after = cursors.get(state.line);
  for (let looked = 0; looked < maxLookedAt && due.length < perMinute; looked += pageRows) {
    const page = { line: state.line, status: 'IN_SERVICE', limit: pageRows, ...(after !== undefined && { after }) };
    const rows = await deviceQueries(ctx.reads.db).page(page);
    const last = attestations.lastOf(rows.map(({ uid }) => uid));
    const isDue = ({ uid }: { readonly uid: string }): boolean =>
      (last.get(uid) ?? 0) < (dueSince(state, nowMs, uid) ?? 0) &&
      (askedMs.get(uid) ?? -1) < wishedMs(state) &&
      waysTo(parts, uid).length > 0;
    const waiting = rows.filter(isDue).slice(0, perMinute - due.length);
    due.push(...waiting.map(({ uid }) => uid));
    const isFull = due.length === perMinute;
    after = isFull ? due.at(-1) : rows.length < pageRows ? undefined : rows.at(-1)?.uid;
    if (isFull || after === undefined) break;
  }
  if (after === undefined) cursors.delete(state.line);
  else cursors.set(state.line, after);
  return due;
}

/** Of a line that says nothing about it. */
const defaultPerMinute = 600;

/** Who was attested before it is due; undefined for a line without a schedule. @param uid its own moment; that of the whole line when not given */
function dueSince(state: DefinedLine, nowMs: number, uid?: string): number | undefined {
  const { everyHours } = policyOf(state);
  const asked = state.attestAllSince === undefined ? undefined : wishedMs(state);
  const shift = uid === undefined ? 1 + jitter : 1 - jitter + 2 * jitter * momentOf(uid);
  const turn = everyHours === undefined ? undefined : nowMs - everyHours * hourMs * shift;
  const times = [asked, turn].filter(time => time !== undefined);
  return times.length === 0 ? undefined : Math.max(...times);
}

/** When a person wanted all devices attested; 0 when nobody did. */
const wishedMs = ({ attestAllSince }: DefinedLine): number => (attestAllSince === undefined ? 0 : Date.parse(attestAllSince));

/** 0 to 1, always the same for a device. */
const momentOf = (uid: string): number => createHash('sha256').update(uid).digest().readUInt32LE(0) / 2 ** 32;

async function warn({ ctx, alarms, attestations }: ScheduleParts, state: DefinedLine, nowMs: number): Promise<void> {
  const { everyHours = 0 } = policyOf(state);
  const devices = await inService(ctx, state.line);
  const late = overdueDevices(attestations, state, devices, nowMs);
  const subject = `line-${state.line}`;
  if (!isOverdue(late, devices))
    return alarms.ended({ code: 'ATTESTATION_OVERDUE', subject }, `${counted(late, 'device')} of ${devices} overdue`);
  const detail = `${devices - late} of ${devices} devices in service were attested within ${overduePeriods * everyHours} hours`;
  await alarms.raise({ code: 'ATTESTATION_OVERDUE', subject, detail }, 'daily');
}

/** How many of these devices in service were not attested within two periods; 0 for a line without a period. */
function overdueDevices(attestations: Pick<AttestationLog, 'attestedSince'>, state: DefinedLine, devices: number, nowMs: number): number {
  const { everyHours } = policyOf(state);
  if (everyHours === undefined) return 0;
  return Math.max(0, devices - attestations.attestedSince(state.line, nowMs - overduePeriods * everyHours * hourMs));
}

const isOverdue = (late: number, devices: number): boolean => devices - late < devices * leastAttested;

async function inService(ctx: Context, name: string): Promise<number> {
  const counts = await deviceQueries(ctx.reads.db).counts();
  return counts.reduce((sum, { line: of, status, count }) => (of === name && status === 'IN_SERVICE' ? sum + count : sum), 0);
}

export type AttestationProgress = {
  readonly line: string;
  readonly everyHours?: number;
  readonly perMinute: number;
  /** Who was attested before it is due; absent without a schedule. */
  readonly since?: string;
  readonly inService: number;
  readonly attested: number;
  readonly left: number;
  /** In service, and not attested within two periods. */
  readonly overdueDevices: number;
  /** More than one of ten are: the alarm ATTESTATION_OVERDUE. */
  readonly overdue: boolean;
  /** Attestations since then by their result. */
  readonly results: { readonly [Result in AttestationOutcome]: number };
};

/** How far a line is with its attestations. */
export async function attestationProgress(ctx: Context, attestations: AttestationLog, state: DefinedLine): Promise<AttestationProgress> {
  const { everyHours, perMinute = defaultPerMinute } = policyOf(state);
  const nowMs = ctx.clock().getTime();
  const sinceMs = dueSince(state, nowMs);
  const devices = await inService(ctx, state.line);
  const late = overdueDevices(attestations, state, devices, nowMs);
  const attested = sinceMs === undefined ? 0 : Math.min(devices, attestations.attestedSince(state.line, sinceMs));
  return {
    line: state.line,
    ...(everyHours !== undefined && { everyHours }),
    perMinute,
    ...(sinceMs !== undefined && { since: new Date(sinceMs).toISOString() }),
    inService: devices,
    attested,
    left: sinceMs === undefined ? 0 : devices - attested,
    overdueDevices: late,
    overdue: isOverdue(late, devices),
    results: attestations.resultsSince(state.line, sinceMs ?? nowMs),
  };
}
