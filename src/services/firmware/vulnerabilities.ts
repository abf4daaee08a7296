import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { compareVersions } from '../../domain/version.ts';
import { dueTimes, type OpenedVulnerability, type ReportStep, vulnerability, vulnerabilityStream } from '../../domain/vulnerability.ts';
import { NusecError } from '../../errors.ts';
import { componentQueries } from '../../projections/components.ts';
import { deviceQueries } from '../../projections/deviceQueries.ts';
import { releaseQueries } from '../../projections/releases.ts';
import { type VulnerabilityPage, vulnerabilityQueries } from '../../projections/vulnerabilities.ts';
import { readNote } from '../../sbom/note.ts';
import { type Context, execute, nowIso, stateOf } from '../base/context.ts';
import { affectedView, componentModels, type Found, releasesWith } from './components.ts';

/** Cases about vulnerabilities: opened from a note, judged by what the fleet runs, closed by evidence. */

/** Opens a case, or gives it a newer note. @param awareAt since when it is known; now when not given
 *  @throws NusecError NOTE_REFUSED, BAD_REQUEST */
export async function openVulnerability(ctx: Context, bytes: Uint8Array, by: Actor, awareAt = nowIso(ctx)): Promise<string> {
  const { id: name, ...note } = readNote(bytes);
  const id = caseIdOf(name);
  const noteSha256 = await ctx.blobs.put(bytes);
  const now = nowIso(ctx);
  const command = { type: 'OpenVulnerability', id, ...note, noteSha256, awareAt: new Date(awareAt).toISOString(), now, by } as const;
  await execute(ctx, vulnerability, vulnerabilityStream(id), command, by);
  await judgeVulnerability(ctx, id);
  return id;
}

/** As the note calls it, in what a stream may be called. */
const caseIdOf = (name: string): string =>
  /^[A-Za-z0-9][A-Za-z0-9.-]*$/.test(name) ? name : `${name.replaceAll(/[^A-Za-z0-9.-]/g, '-')}-${sha256Hex(name).slice(0, 8)}`;

/** @throws NusecError NOT_FOUND */
export async function vulnerabilityOf(ctx: Context, id: string): Promise<OpenedVulnerability> {
  const state = await stateOf(ctx, vulnerability, vulnerabilityStream(id));
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no case ${id}`);
  return state;
}

export async function listVulnerabilities(ctx: Context, page: VulnerabilityPage) {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['vulnerabilities'] });
  return vulnerabilityQueries(ctx.reads.db).page(page);
}

/** The case with its clock and with what of the fleet is affected now. @throws NusecError NOT_FOUND */
export async function showVulnerability(ctx: Context, id: string) {
  const state = await vulnerabilityOf(ctx, id);
  const { found, devices, unknown, counts } = await standingOf(ctx, state);
  const due = dueTimes(state);
  const reports = Object.entries(due).map(([step, dueAt]) => ({
    step,
    dueAt,
    missed: state.missed.includes(`${step} ${dueAt}`),
    ...state.reported[step as ReportStep],
  }));
  const releases = found.map(one => affectedView(one, counts.get(one.row.release_id) ?? 0));
  const { status, title, format, aliases, awareAt, fix, closed, noteSha256 } = state;
  const lines = [...new Set(releases.map(({ line }) => line))].toSorted();
  return {
    id,
    status,
    title,
    format,
    aliases: [...aliases],
    noteSha256,
    awareAt,
    reports,
    lines,
    releases,
    devices,
    unknownDevices: unknown,
    ...(fix && { fix }),
    ...(closed && { closedBecause: closed.reason }),
  };
}

/** A report to the authorities was made. @throws NusecError NOT_FOUND */
export async function reportVulnerability(ctx: Context, id: string, step: ReportStep, note: string, by: Actor): Promise<void> {
  await execute(ctx, vulnerability, vulnerabilityStream(id), { type: 'ReportVulnerability', step, note, now: nowIso(ctx), by }, by);
}

/** A person closes it, because it does not concern the product. @throws NusecError NOT_FOUND, STATE */
export async function closeVulnerability(ctx: Context, id: string, reason: string, by: Actor): Promise<void> {
  await execute(ctx, vulnerability, vulnerabilityStream(id), { type: 'CloseVulnerability', reason, by }, by);
}

/** Holds a case against what the fleet runs now, and against the clock. */
export async function judgeVulnerability(ctx: Context, id: string): Promise<void> {
  const state = await vulnerabilityOf(ctx, id);
  const { devices, unknown, found, fixedBy } = await standingOf(ctx, state);
  const releases = found.filter(({ row }) => row.status !== 'WITHDRAWN').length;
  const by = 'system:vulnerabilities';
  const command = { type: 'JudgeVulnerability', devices, unknown, releases, fixedBy, now: nowIso(ctx), by } as const;
  await execute(ctx, vulnerability, vulnerabilityStream(id), command, by);
}

/** What of the fleet is affected, and what brings it out of it. */
async function standingOf(ctx: Context, { affected }: OpenedVulnerability) {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: componentModels });
  const found = await releasesWith(ctx, affected);
  const hit = new Set(found.map(({ row }) => row.release_id));
  const others = (await releaseQueries(ctx.reads.db).ofLines(found.map(({ row }) => row.line))).filter(row => !hit.has(row.release_id));
  const withSbom = await componentQueries(ctx.reads.db).releases();
  const bare = others.filter(row => !withSbom.has(row.release_id) && found.some(one => isSameImage(one, row)));
  const fixedBy = others.find(row => row.status === 'PUBLISHED' && withSbom.has(row.release_id) && found.some(one => isNewer(row, one)));
  const counts = await deviceQueries(ctx.reads.db).countRunning([...hit, ...bare.map(row => row.release_id)]);
  const sum = (ids: Iterable<string>): number => [...ids].reduce((total, id) => total + (counts.get(id) ?? 0), 0);
  return { found, counts, devices: sum(hit), unknown: sum(bare.map(row => row.release_id)), fixedBy: fixedBy?.release_id };
}

type Image = { readonly line: string; readonly image: string };
const isSameImage = ({ row }: Found, other: Image): boolean => row.line === other.line && row.image === other.image;

/** Whether devices of an affected release may be brought to this one. */
function isNewer(row: Found['row'], affected: Found): boolean {
  if (!isSameImage(affected, row) || row.security_counter < affected.row.security_counter) return false;
  return compareVersions(row.version, affected.row.version) > 0;
}
