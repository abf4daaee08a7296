import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { repeatedly } from '../../closing.ts';
import { holdAlone } from '../../fileLock.ts';
import type { SealedObjects } from '../../objects/sealed.ts';
import { dayMs, hourMs, minuteMs } from '../../times.ts';
import { within } from '../../within.ts';
import type { Alarms } from '../base/alarms.ts';
import type { AttestationLog } from '../base/attestationLog.ts';
import { type AttestationSegments, decodeSegment, encodeSegment, type Segment, type Unsent } from '../base/attestationSegments.ts';
import { type Context, nowIso } from '../base/context.ts';
import { forgetOld, rootOf, sealsOf } from './attestationSeals.ts';

/** Exchanges the log of attestations with the other machines through the object store: a machine stores segments of its rows, and takes in those of the
 *  others, told by a link or found by listing. One process at a data folder does it.
 *
 *  attestations/{origin}/{seq, 12 digits} = sealed(gzip(JSON of a segment)) */

export type AttestationSharing = {
  readonly segments: AttestationSegments;
  /** Own rows are stored, and what is stored is here, when it resolves. @throws NusecError STORE_UNAVAILABLE, STORE_DAMAGED */
  exchange(): Promise<void>;
  /** Deletes the segments of a line from before this day in the object store. @param day `YYYY-MM-DD` */
  deleteBefore(line: string, day: string): Promise<void>;
  close(): Promise<void>;
};

export type SharingParts = {
  readonly ctx: Context;
  readonly alarms: Alarms;
  readonly attestations: AttestationLog;
  readonly segments: AttestationSegments;
  readonly objects: SealedObjects;
  /** Held by the process that exchanges for all at the data folder. */
  readonly lock: string;
  readonly peers: { notify(topic: string, value: unknown): void; onNotice<Value>(topic: string, listener: (value: Value) => void): void };
};

const prefix = 'attestations/';
const topic = 'attestations shared';
/** How long a row waits for its segment: what is lost when a machine is lost. */
const sendEveryMs = 5000;
/** How often the object store is listed, besides when a link tells of something new. */
const listEveryMs = minuteMs;
/** For the last rows, when a process ends. */
const lastSendMs = 2000;
/** What a segment may be unpacked to. */
const maxSegmentBytes = 64 * 1024 * 1024;
/** Machines that do not lead forget what the leader has deleted from the object store so much later. */
const graceMs = 7 * dayMs;

const [pack, unpack] = [promisify(gzip), promisify(gunzip)];
const keyOf = (origin: string, seq: number): string => `${prefix}${origin}/${String(seq).padStart(12, '0')}`;
/** After every segment of a machine, before those of the next one. */
const endOf = (origin: string): string => `${prefix}${origin}/~`;

const unshared = { code: 'ATTESTATIONS_UNSHARED', subject: 'attestations' } as const;

export function startAttestationSharing(parts: SharingParts): AttestationSharing {
  const { ctx, alarms, peers, segments, objects, lock } = parts;
  let held: ReturnType<typeof holdAlone>;
  let listedMs = Number.NEGATIVE_INFINITY;
  let forgottenMs = performance.now();
  let isNameRight = false;
  const checkName = async (): Promise<void> => {
    if (!isNameRight) await renewPutBack(parts);
    isNameRight = true;
  };
  const isMine = (): boolean => {
    held ??= holdAlone(lock);
    return held !== undefined;
  };
  const round = async (stop: AbortSignal): Promise<void> => {
    if (!isMine()) return;
    const nowMs = performance.now();
    const isDue = nowMs - listedMs >= listEveryMs;
    if (isDue) listedMs = nowMs;
    await exchangeAll(parts, isDue && checkName, stop);
    if (isDue) alarms.ended(unshared, 'they are shared');
    if (nowMs - forgottenMs >= hourMs) {
      await forgetHere(parts);
      forgottenMs = nowMs;
    }
  };
  const raise = (error: unknown) =>
    alarms.raise({ ...unshared, detail: error instanceof Error ? error.message : 'not shared' }, 'daily').catch(() => undefined);
  const loop = repeatedly(sendEveryMs, round, raise);
  peers.onNotice(topic, () => {
    listedMs = Number.NEGATIVE_INFINITY;
    if (held !== undefined) void loop.now();
  });
  void loop.now();
  return {
    segments,
    exchange: () => exchangeAll(parts, checkName),
    async deleteBefore(line, day) {
      for (const segment of segments.ofLine(line)) {
        if (segment.day >= day) return;
        await objects.delete(keyOf(segment.origin, segment.seq));
        segments.drop(segment);
      }
    },
    async close() {
      await loop.close();
      const last = isMine()
        ? sendAll(parts).catch(error => ctx.log.warn({ error: String(error) }, 'the last attestations were not shared'))
        : undefined;
      await within(Promise.resolve(last), lastSendMs);
      held?.release();
      segments.close();
    },
  };
}

/** What is in the way of taking in does not keep the rows here. Taking in comes first: a folder that was put back from a backup has to know what it has
 *  sent before.
 *  @param afterListing when it is taken in; false: nothing is listed */
async function exchangeAll(parts: SharingParts, afterListing: false | (() => Promise<void>), stop?: AbortSignal): Promise<void> {
  const taken = afterListing ? takeInAll(parts, stop).then(afterListing) : Promise.resolve();
  await taken.catch(() => undefined);
  if (await sendAll(parts, stop)) parts.peers.notify(topic, true);
  await taken;
}

/** A folder that was put back when nothing is left of what it had sent since finds its next numbers free, but the others have been beyond them and would pass
 *  them by. The seals in the log show that: it goes on under a new name. */
async function renewPutBack({ ctx, attestations, segments }: SharingParts): Promise<void> {
  const origin = segments.origin();
  for (const { line } of attestations.lines()) {
    const seals = await sealsOf(ctx, line);
    if (!seals.some(({ through }) => (through?.[origin] ?? 0) > segments.taken(origin))) continue;
    segments.renew();
    ctx.log.warn({ line }, 'the log of attestations was put back from an old backup: this machine goes on under a new name');
    return;
  }
}

/** Stores the rows of this machine that no segment has. @returns whether there were any */
async function sendAll(parts: SharingParts, stop?: AbortSignal): Promise<boolean> {
  const { ctx, segments, objects } = parts;
  const sealed = new Map<string, boolean>();
  let isSent = false;
  for (let unsent = segments.unsent(); unsent !== undefined && stop?.aborted !== true; unsent = segments.unsent()) {
    const day = `${unsent.line} ${unsent.day}`;
    if (!sealed.has(day)) sealed.set(day, await wasSealed(ctx, segments, unsent));
    const { ids, ...rows } = unsent;
    const segment: Segment = { ...rows, isSealed: sealed.get(day) === true };
    const origin = segments.origin();
    const place = { origin, seq: segments.taken(origin) + 1 };
    const key = keyOf(place.origin, place.seq);
    const stored = await objects.put(key, new Uint8Array(await pack(encodeSegment(segment))), 'none');
    // Another process at this folder was faster, or the folder is a backup that was put back and has sent more than it knows.
    if (stored === undefined) await takeIn(parts, place.origin, place.seq);
    else segments.sent(place, segment, ids);
    isSent = true;
  }
  return isSent;
}

/** Whether these rows were sealed before machines shared them: then the seal of their day is over just the rows that are here. */
async function wasSealed(ctx: Context, segments: AttestationSegments, { line, day }: Unsent): Promise<boolean> {
  if (day >= nowIso(ctx).slice(0, day.length)) return false;
  const [seal, ...more] = (await sealsOf(ctx, line)).filter(each => each.day === day);
  if (seal === undefined || more.length > 0 || seal.through !== undefined) return false;
  return rootOf(segments.ownRowsOf(line, day)).root === seal.root;
}

/** Takes in every segment that is not here, of each machine in order. What is damaged holds up only its machine.
 *  @throws NusecError the first of what was in the way, after all others */
async function takeInAll(parts: SharingParts, stop?: AbortSignal): Promise<void> {
  const { segments, objects } = parts;
  let trouble: unknown;
  let after = '';
  for (let page = await objects.list(prefix, after); page.length > 0 && stop?.aborted !== true; page = await objects.list(prefix, after)) {
    for (const { key } of page) {
      const { origin, seq } = placeOf(key);
      after = key;
      if (seq > segments.taken(origin)) {
        const failure = await takeIn(parts, origin, seq).catch(error => error as unknown);
        if (failure === undefined) continue;
        trouble ??= failure;
        after = endOf(origin);
        break;
      }
      // What is here already is not looked at one by one.
      after = keyOf(origin, segments.taken(origin));
      if (after !== key) break;
    }
  }
  if (trouble !== undefined) throw trouble;
}

/** What does not look like a segment is passed by. */
function placeOf(key: string): { readonly origin: string; readonly seq: number } {
  const [, origin = '', seq = ''] = /^attestations\/([0-9a-f]{32})\/(\d{12})$/.exec(key) ?? [];
  return origin === '' ? { origin: key.slice(prefix.length), seq: 0 } : { origin, seq: Number(seq) };
}

async function takeIn({ segments, objects }: SharingParts, origin: string, seq: number): Promise<void> {
  const key = keyOf(origin, seq);
  const stored = await objects.get(key);
  // Deleted meanwhile: its time is over.
  if (stored === undefined) return;
  segments.takeIn({ origin, seq }, decodeSegment(await unpack(stored.bytes, { maxOutputLength: maxSegmentBytes })));
  await nextTurn();
}

/** What the leader deletes in the object store, each machine deletes in its own file. */
async function forgetHere({ ctx, attestations, segments }: SharingParts): Promise<void> {
  for (const { line } of attestations.lines()) {
    const keptFrom = await forgetOld(ctx, attestations, line);
    const before = new Date(Date.parse(keptFrom) - graceMs).toISOString().slice(0, 10);
    for (const segment of segments.ofLine(line)) if (segment.day < before) segments.drop(segment);
  }
}
