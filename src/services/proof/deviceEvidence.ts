import { setTimeout as sleep } from 'node:timers/promises';
import { toHex } from '../../bytes.ts';
import { allotmentStream } from '../../domain/allotment.ts';
import { deviceStream } from '../../domain/device.ts';
import { NusecError } from '../../errors.ts';
import { isMissing } from '../../eventstore/blobs.ts';
import { canonicalJson } from '../../eventstore/canonical.ts';
import { chainStart } from '../../eventstore/hashchain.ts';
import type { RecordedEvent } from '../../eventstore/port.ts';
import { type Disclosed, idsIn, sealedIn } from '../../evidence/disclosed.ts';
import { type Evidence, evidenceFormat, maxWitnesses } from '../../evidence/format.ts';
import { fieldKey, idIn, placeOf } from '../../evidence/personalSeal.ts';
import type { Witnessed } from '../../evidence/witnessed.ts';
import { readCheckpoint } from '../../merkle/checkpoint.ts';
import { parseNote } from '../../merkle/note.ts';
import type { Context } from '../base/context.ts';
import { cosignedIn } from './checkpointFiles.ts';
import { openHeadMap } from './headMapFile.ts';
import type { HeadEvidence } from './headMapRows.ts';
import { logCertificates } from './logKey.ts';

/** Makes the evidence file of a device: its whole history with the proof that it is in the log and that nothing came later, what it names, and what
 *  other streams say of it (T18, T19). Any process can make it; the checkpoint comes from the one that leads. */

export type DeviceEvidence = {
  /** @throws NusecError NOT_FOUND; STORE_UNAVAILABLE when no checkpoint comes that covers the device's newest event */
  export(uid: string): Promise<Evidence>;
  close(): Promise<void>;
};

/** For a checkpoint of the process that leads, which comes every second. */
const maxWaitMs = 20_000;
const pollMs = 50;
/** Contents in one file, each and together; firmware images are named, not included. */
const maxBlobBytes = 1024 * 1024;
const maxBlobsBytes = 32 * 1024 * 1024;

/** @param cosigned folder with what witnesses have cosigned */
export function createDeviceEvidence(ctx: Context, headsFile: string, cosigned: string): DeviceEvidence {
  const heads = openHeadMap(headsFile);
  /** A checkpoint over at least this position, with the place of the stream under it. */
  const waitFor = async (stream: string, position: number): Promise<HeadEvidence> => {
    for (const endMs = performance.now() + maxWaitMs; performance.now() < endMs; await sleep(pollMs)) {
      const found = heads.prove(stream);
      if (found !== undefined && sizeOf(found.note) >= position) return found;
    }
    throw new NusecError('STORE_UNAVAILABLE', 'no checkpoint covers the newest event of the device: does a server lead?');
  };
  return {
    async export(uid) {
      const stream = deviceStream(uid);
      const position = (await ctx.storedLog.readStream(stream)).at(-1)?.position;
      if (position === undefined) throw new NusecError('NOT_FOUND', `there is no device ${uid}`);
      const certificates = await logCertificates(ctx);
      const { note, proof } = await waitFor(stream, position);
      const size = sizeOf(note);
      const events = (await ctx.storedLog.readStream(stream)).filter(event => event.position <= size);
      const newest = events.at(-1) as RecordedEvent;
      if (proof.leaf?.hash !== newest.hash) throw new NusecError('STORE_DAMAGED', `${headsFile} has another newest event of ${stream}`);
      const related = await relatedTo(ctx, uid, events, size);
      return {
        format: evidenceFormat,
        uid,
        checkpoint: note,
        logCertificates: certificates.map(der => Buffer.from(der).toString('base64')),
        history: {
          stream,
          events: events.map(textOf),
          index: newest.position - 1,
          path: [...(await ctx.storedLog.tree.inclusion(newest.position, size))],
          heads: [...proof.siblings],
        },
        related: await Promise.all(related.map(each => proveAlone(ctx, each, size))),
        disclosed: disclosedIn(ctx, [...events, ...related.map(({ event }) => event)]),
        witnessed: await witnessedOf(ctx, cosigned, size),
        ...(await contentsOf(ctx, [...events, ...related.map(({ event }) => event)])),
      };
    },
    close: () => heads.close(),
  };
}

async function witnessedOf(ctx: Context, folder: string, size: number): Promise<Witnessed[]> {
  const notes = cosignedIn(folder).slice(0, maxWitnesses);
  return Promise.all(
    notes.map(async ({ note }) => {
      const seen = sizeOf(note);
      return { note, consistency: [...(await ctx.storedLog.tree.consistency(Math.min(seen, size), Math.max(seen, size)))] };
    }),
  );
}

const sizeOf = (note: string): number => readCheckpoint(parseNote(note).text).size;

/** The text that the chain hashes (hashchain.ts). */
const textOf = ({ stream, revision, id, type, v, at, by, cause, corr, data }: RecordedEvent): string =>
  canonicalJson([stream, revision, id, type, v, at, by, cause ?? null, corr ?? null, data]);

/** Whom and what the events name, as far as nobody was erased. */
function disclosedIn({ subjects }: Context, events: readonly RecordedEvent[]): Disclosed {
  const people: Disclosed['people'] = {};
  const textKeys: Disclosed['textKeys'] = {};
  for (const event of events) {
    for (const id of idsIn(textOf(event))) {
      const subject = subjects.byId(id);
      people[id] = subject === undefined ? 'erased' : { kind: subject.kind, name: subject.name, salt: toHex(subject.salt) };
    }
    for (const [field, sealed] of sealedIn(event.data)) {
      const author = subjects.byId(idIn(sealed));
      const place = placeOf(event.id, field);
      if (author !== undefined) textKeys[place] = Buffer.from(fieldKey(author, place)).toString('base64');
    }
  }
  return { people, textKeys };
}

type Related = { readonly event: RecordedEvent; readonly previous: string };

/** What the share of the job says of it: reservation, records, commit. */
async function relatedTo(ctx: Context, uid: string, events: readonly RecordedEvent[], size: number): Promise<readonly Related[]> {
  const { jobId, programmer } = (events[0]?.data ?? {}) as { readonly jobId?: unknown; readonly programmer?: unknown };
  if (typeof jobId !== 'string' || typeof programmer !== 'string') return [];
  const share = await ctx.storedLog.readStream(allotmentStream(jobId, programmer));
  return share.flatMap((event, i) =>
    event.position <= size && event.data.uid === uid ? [{ event, previous: share[i - 1]?.hash ?? chainStart }] : [],
  );
}

async function proveAlone(ctx: Context, { event, previous }: Related, size: number): Promise<Evidence['related'][number]> {
  const path = [...(await ctx.storedLog.tree.inclusion(event.position, size))];
  return { previous, event: textOf(event), index: event.position - 1, path };
}

/** What else hinders reading says nothing about what is stored: a file that lacks it would be a false one. */
function notStored(error: unknown): undefined {
  if (!isMissing(error)) throw error;
}

/** Everything stored that the events name by its SHA-256. */
async function contentsOf(ctx: Context, events: readonly RecordedEvent[]): Promise<Pick<Evidence, 'blobs' | 'omitted'>> {
  const named = new Set(events.flatMap(event => canonicalJson(event.data).match(/(?<=")[0-9a-f]{64}(?=")/g) ?? []));
  const blobs: Record<string, string> = {};
  const omitted: string[] = [];
  let total = 0;
  for (const sha256 of named) {
    const bytes = await ctx.blobs.size(sha256).catch(notStored);
    // Many hashes are of keys and measurements, of which nothing is stored.
    if (bytes === undefined) continue;
    if (bytes > maxBlobBytes || total + bytes > maxBlobsBytes) {
      omitted.push(sha256);
      continue;
    }
    total += bytes;
    blobs[sha256] = Buffer.from(await ctx.blobs.get(sha256)).toString('base64');
  }
  return { blobs, omitted };
}
