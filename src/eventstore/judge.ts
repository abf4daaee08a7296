import { NusecError } from '../errors.ts';
import type { EncodedEvent } from './envelope.ts';
import type { AppendResult, Basis, ExpectedRevision } from './port.ts';
import { matchesExpected, RevisionConflict } from './revision.ts';
import type { StoredId } from './storage.ts';

/** Judges what is to be stored against what is stored: expected revisions, repetitions, and what a decision was based on. */

export type AppendRequest = { readonly stream: string; readonly expected: ExpectedRevision; readonly events: readonly EncodedEvent[] };

/** What the judgement looks up. */
export type Stored = {
  /** Newest revision of a stream, -1 when it does not exist. */
  revisionOf(stream: string): number;
  /** Where an event of this id is stored. */
  find(id: string): StoredId | undefined;
  /** Why it is not certain that an id which `find` does not have is a new one in this stream. */
  doubtNew(stream: string, id: string): NusecError | undefined;
};

/** What is to become of each append of one request: its first result when it is a repetition, undefined when it is to be stored.
 *  @returns the error that refuses all of it, otherwise */
export function judge(
  stored: Stored,
  appends: readonly AppendRequest[],
  basis: readonly Basis[],
): readonly (AppendResult | undefined)[] | NusecError {
  const verdicts = appends.length === 1 ? judgeOne(stored, appends[0] as AppendRequest) : judgeEach(stored, appends);
  if (verdicts instanceof NusecError) return verdicts;
  const moved = verdicts.includes(undefined) ? basis.find(({ stream, revision }) => stored.revisionOf(stream) !== revision) : undefined;
  return moved === undefined ? verdicts : new RevisionConflict(moved.stream, moved.revision, stored.revisionOf(moved.stream));
}

function judgeOne(stored: Stored, request: AppendRequest): readonly (AppendResult | undefined)[] | NusecError {
  const verdict = judgeAppend(stored, request, stored.revisionOf(request.stream));
  return verdict instanceof NusecError ? verdict : [verdict];
}

function judgeEach(stored: Stored, appends: readonly AppendRequest[]): readonly (AppendResult | undefined)[] | NusecError {
  const ahead = new Map<string, number>();
  const verdicts: (AppendResult | undefined)[] = [];
  for (const request of appends) {
    const revision = ahead.get(request.stream) ?? stored.revisionOf(request.stream);
    const verdict = judgeAppend(stored, request, revision);
    if (verdict instanceof NusecError) return verdict;
    if (verdict === undefined) ahead.set(request.stream, revision + request.events.length);
    verdicts.push(verdict);
  }
  return verdicts;
}

/** @param revision newest one of the stream when the appends before it in the same request are stored */
function judgeAppend(stored: Stored, { stream, expected, events }: AppendRequest, revision: number): AppendResult | NusecError | undefined {
  const places = events.map(({ id }) => stored.find(id));
  const isNew = places.every(place => place === undefined);
  const known = isNew ? undefined : judgeKnown(stream, events, places);
  if (known !== undefined) return known;
  if (!matchesExpected(expected, revision)) return new RevisionConflict(stream, expected, revision);
  if (!isNew) return new NusecError('CONFLICT', `event ${events[0]?.id} is already stored together with others`);
  for (const { id } of events) {
    const doubt = stored.doubtNew(stream, id);
    if (doubt !== undefined) return doubt;
  }
  return undefined;
}

/** Events of which some are stored. @returns undefined when those are with the same content, but not all of them together */
function judgeKnown(
  stream: string,
  events: readonly EncodedEvent[],
  places: readonly (StoredId | undefined)[],
): AppendResult | NusecError | undefined {
  if (isRepetition(stream, events, places)) return lastOf(places);
  const other = events.find(({ body }, i) => places[i] !== undefined && (places[i].stream !== stream || places[i].body !== body));
  return other && new NusecError('CONFLICT', `event ${other.id} is already stored with another content`);
}

/** The same events, in the same order, one behind the other in the same stream. */
function isRepetition(stream: string, events: readonly EncodedEvent[], places: readonly (StoredId | undefined)[]): boolean {
  const first = places[0]?.revision ?? 0;
  return events.every(({ body }, i) => {
    const place = places[i];
    return place !== undefined && place.stream === stream && place.revision === first + i && place.body === body;
  });
}

function lastOf(places: readonly (StoredId | undefined)[]): AppendResult {
  const { revision, position } = places.at(-1) as StoredId;
  return { revision, position };
}
