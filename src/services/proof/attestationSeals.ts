import { setImmediate as nextTurn } from 'node:timers/promises';
import { utf8 } from '../../bytes.ts';
import { type Repeated, repeatedly } from '../../closing.ts';
import { attestationSeal, attestationSealStream, type SealedDay } from '../../domain/attestationSeal.ts';
import { defaultAttestationDays, line, lineStream } from '../../domain/line.ts';
import { canonicalJson } from '../../eventstore/canonical.ts';
import { createEdge } from '../../merkle/edge.ts';
import { leafHash } from '../../merkle/hashing.ts';
import { formatNote } from '../../merkle/note.ts';
import { dayMs, hourMs } from '../../times.ts';
import type { Alarms } from '../base/alarms.ts';
import { type AttestationEntry, type AttestationLog, maxForgotten } from '../base/attestationLog.ts';
import { type Context, execute, stateOf } from '../base/context.ts';
import { logKeyId, logNoteKey } from './logKey.ts';

/** Seals the days of the log of attestations in the event log, and forgets what is older than a line keeps. One process does it. */

export type SealParts = { readonly ctx: Context; readonly alarms: Alarms; readonly attestations: AttestationLog };

const everyMs = hourMs;
/** After the end of a day: attestations of its last moment are written by then. */
const settleMs = 5 * 60_000;
const by = 'system:attestation';

/** What does not seal is an alarm: the days are sealed later. */
export function startAttestationSeals(parts: SealParts): Repeated {
  const raise = (error: unknown) =>
    parts.alarms
      .raise({ code: 'ATTESTATION_SEAL', subject: 'attestations', detail: error instanceof Error ? error.message : 'not sealed' })
      .catch(() => undefined);
  return repeatedly(everyMs, stop => sealAndForget(parts, stop), raise);
}

/** Seals every day that is over and not sealed, oldest first; then deletes sealed days that are older than the line keeps. */
export async function sealAndForget({ ctx, attestations }: SealParts, stop?: AbortSignal): Promise<void> {
  const nowMs = ctx.clock().getTime();
  const today = dayOf(nowMs - settleMs);
  for (const { line: name, oldestMs } of attestations.lines()) {
    if (stop?.aborted) return;
    const stream = attestationSealStream(name);
    const sealed = await stateOf(ctx, attestationSeal, stream);
    const from = sealed.status === 'SEALED' ? Math.max(Date.parse(sealed.lastDay) + dayMs, oldestMs) : oldestMs;
    for (let dayStartMs = Date.parse(dayOf(from)); dayOf(dayStartMs) < today; dayStartMs += dayMs) {
      const day = dayOf(dayStartMs);
      const sealedDay = await sealOf(ctx, name, day, attestations.ofDay(name, day));
      if (sealedDay !== undefined) await execute(ctx, attestationSeal, stream, { type: 'SealDay', ...sealedDay }, by);
    }
    const keptFrom = Date.parse(dayOf(nowMs - (await keptDays(ctx, name)) * dayMs));
    const before = Math.min(keptFrom, Date.parse(today));
    while (attestations.forget(name, before) === maxForgotten) await nextTurn();
  }
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
