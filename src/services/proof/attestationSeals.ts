import { setImmediate as nextTurn } from 'node:timers/promises';
import { utf8 } from '../../bytes.ts';
import { type Repeated, repeatedly } from '../../closing.ts';
import { type AttestationSealEvent, attestationSeal, attestationSealStream, type SealedDay } from '../../domain/attestationSeal.ts';
import { defaultAttestationDays, line, lineStream } from '../../domain/line.ts';
import { canonicalJson } from '../../eventstore/canonical.ts';
import { streamOf } from '../../eventstore/recorded.ts';
import { createEdge } from '../../merkle/edge.ts';
import { leafHash } from '../../merkle/hashing.ts';
import { formatNote } from '../../merkle/note.ts';
import { dayMs, hourMs } from '../../times.ts';
import type { Alarms } from '../base/alarms.ts';
import { type AttestationEntry, type AttestationLog, maxForgotten } from '../base/attestationLog.ts';
import type { AttestationSegments, KnownSegment } from '../base/attestationSegments.ts';
import { type Context, execute, stateOf } from '../base/context.ts';
import { logKeyId, logNoteKey } from './logKey.ts';

/** Seals the days of the log of attestations in the event log, and forgets what is older than a line keeps. One process does it for all machines. */

export type SealParts = {
  readonly ctx: Context;
  readonly alarms: Alarms;
  readonly attestations: AttestationLog;
  /** Where several machines have rows. */
  readonly sharing?: Exchange | undefined;
};

/** As attestationSharing.ts has it. */
type Exchange = {
  readonly segments: AttestationSegments;
  exchange(): Promise<void>;
  deleteBefore(line: string, day: string): Promise<void>;
};

const everyMs = hourMs;
/** After the end of a day: attestations of its last moment are written, and here, by then. */
const settleMs = 5 * 60_000;
const by = 'system:attestation';

const unsealed = { code: 'ATTESTATION_SEAL', subject: 'attestations' } as const;

/** What does not seal is an alarm: the days are sealed later. */
export function startAttestationSeals(parts: SealParts): Repeated {
  const raise = (error: unknown) =>
    parts.alarms.raise({ ...unsealed, detail: error instanceof Error ? error.message : 'not sealed' }).catch(() => undefined);
  const seal = async (stop: AbortSignal): Promise<void> => {
    await sealAndForget(parts, stop);
    if (!stop.aborted) parts.alarms.ended(unsealed, 'every day that is over is sealed');
  };
  return repeatedly(everyMs, seal, raise);
}

/** Seals every day that is over and not sealed, oldest first; then deletes sealed days that are older than the line keeps. */
export async function sealAndForget(parts: SealParts, stop?: AbortSignal): Promise<void> {
  const { ctx, attestations, sharing } = parts;
  await sharing?.exchange();
  const today = dayOf(ctx.clock().getTime() - settleMs);
  for (const { line: name, oldestMs } of attestations.lines()) {
    if (stop?.aborted) return;
    if (sharing === undefined) await sealOwn(parts, name, oldestMs, today);
    else await sealShared(ctx, sharing.segments, name, today);
    const before = await forgetOld(ctx, attestations, name);
    await sharing?.deleteBefore(name, before);
  }
}

async function sealOwn({ ctx, attestations }: SealParts, name: string, oldestMs: number, today: string): Promise<void> {
  const stream = attestationSealStream(name);
  const sealed = await stateOf(ctx, attestationSeal, stream);
  const from = sealed.status === 'SEALED' ? Math.max(Date.parse(sealed.lastDay) + dayMs, oldestMs) : oldestMs;
  for (let dayStartMs = Date.parse(dayOf(from)); dayOf(dayStartMs) < today; dayStartMs += dayMs) {
    const day = dayOf(dayStartMs);
    const sealedDay = await sealOf(ctx, name, day, attestations.ofDay(name, day));
    if (sealedDay !== undefined) await execute(ctx, attestationSeal, stream, { type: 'SealDay', ...sealedDay }, by);
  }
}

/** Seals what no seal covers, one day after the other. Rows of a day before the last one that is sealed came late, and have a seal of their own. */
async function sealShared(ctx: Context, segments: AttestationSegments, name: string, today: string): Promise<void> {
  const stream = attestationSealStream(name);
  const keptFrom = dayOf(ctx.clock().getTime() - (await keptDays(ctx, name)) * dayMs);
  const seals = await sealsOf(ctx, name);
  const open = segments.ofLine(name).filter(segment => segment.day < today && segment.day >= keptFrom && !isCovered(seals, segment));
  for (const [day, covered] of Map.groupBy(open, segment => segment.day)) {
    const sealedDay = await sealOf(ctx, name, day, segments.rowsOf(covered));
    if (sealedDay === undefined) continue;
    const state = await stateOf(ctx, attestationSeal, stream);
    const late = state.status === 'SEALED' && day <= state.lastDay ? ({ late: true } as const) : {};
    const command = { type: 'SealDay', ...sealedDay, through: throughOf(covered), ...late } as const;
    await execute(ctx, attestationSeal, stream, command, by);
  }
}

const isCovered = (seals: readonly SealedDay[], { day, origin, seq, isSealed }: KnownSegment): boolean =>
  isSealed || seals.some(seal => seal.day === day && (seal.through?.[origin] ?? 0) >= seq);

function throughOf(covered: readonly KnownSegment[]): Readonly<Record<string, number>> {
  const newest = new Map<string, number>();
  for (const { origin, seq } of covered) newest.set(origin, Math.max(seq, newest.get(origin) ?? 0));
  return Object.fromEntries(newest);
}

/** Every seal of a line, the oldest first. */
export async function sealsOf(ctx: Context, name: string): Promise<readonly SealedDay[]> {
  const events = await streamOf<AttestationSealEvent>(ctx.store, attestationSealStream(name));
  return events.map(({ data }) => data);
}

/** Deletes rows of this machine that are of sealed days and older than the line keeps. @returns the first day that it keeps */
export async function forgetOld(ctx: Context, attestations: AttestationLog, name: string): Promise<string> {
  const sealed = await stateOf(ctx, attestationSeal, attestationSealStream(name));
  const keptFrom = dayOf(ctx.clock().getTime() - (await keptDays(ctx, name)) * dayMs);
  const afterSealed = sealed.status === 'SEALED' ? Date.parse(sealed.lastDay) + dayMs : 0;
  const beforeMs = Math.min(Date.parse(keptFrom), afterSealed);
  while (attestations.forget(name, beforeMs) === maxForgotten) await nextTurn();
  return dayOf(beforeMs);
}

async function keptDays(ctx: Context, name: string): Promise<number> {
  const state = await stateOf(ctx, line, lineStream(name));
  return (state.status === 'NONE' ? undefined : state.attestationDays) ?? defaultAttestationDays;
}

async function sealOf(ctx: Context, name: string, day: string, entries: Iterable<AttestationEntry>): Promise<SealedDay | undefined> {
  const { rows, root } = rootOf(entries);
  if (rows === 0) return undefined;
  const key = await logNoteKey(ctx);
  const text = `${key.name}/attestations\n${name} ${day} ${rows}\n${root}\n`;
  const signature = await ctx.keystore.sign(logKeyId, utf8(text));
  return { day, rows, root, note: formatNote({ text, signatures: [{ name: key.name, keyIdHex: key.keyIdHex, signature }] }) };
}

/** Root over the rows of a day, in their order: one row can be shown to be among them without the others. */
export function rootOf(entries: Iterable<AttestationEntry>): { readonly rows: number; readonly root: string } {
  const edge = createEdge();
  for (const entry of entries) edge.add(leafHash(utf8(canonicalJson({ ...entry }))));
  return { rows: edge.size(), root: edge.root() };
}

const dayOf = (timeMs: number): string => new Date(timeMs).toISOString().slice(0, 10);
