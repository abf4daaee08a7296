import { canonicalJson } from '../canonical.ts';
import type { AppendRequest } from '../judge.ts';
import type { Json } from '../port.ts';
import type { Seal } from '../seal.ts';
import { damaged } from '../storeError.ts';

/** A commit as one event of the log: what was accepted together, in the order in which it counts. Every copy derives revisions, hashes and the
 *  tree from it, and compares the seal.
 *
 *  { "first": events before it, "events": [{ "stream", "id", "event": [type, v, at, by, cause, corr, data] } …],
 *    "more": { "blobs": [SHA-256 …], "dropped": [SHA-256 …], "epoch": leadership that begins with it,
 *              "seal": { "size", "code" } of everything up to it,
 *              "closed": UUID of the move of the log out of KurrentDB; only a move back comes behind it } }
 *
 *  It is JSON, but KurrentDB keeps it as bytes: the client turns what is marked as JSON into base64 and back, which costs more than all the rest. */

export type Carrier = {
  /** Number of events before it. */
  readonly first: number;
  /** For one stream each, in order. */
  readonly appends: readonly Pick<AppendRequest, 'stream' | 'events'>[];
  /** SHA-256 of blobs that are stored with it (streams of their own), and of those that go. */
  readonly blobs?: readonly string[] | undefined;
  readonly dropped?: readonly string[] | undefined;
  readonly epoch?: number | undefined;
  readonly seal?: Seal | undefined;
  readonly closed?: string | undefined;
};

/** The bodies are JSON texts already. @returns UTF-8 */
export function encodeCarrier({ first, appends, blobs = [], dropped = [], epoch, seal, closed }: Carrier): Uint8Array {
  const events = appends.flatMap(({ stream, events: own }) => own.map(({ id, body }) => `${beforeBody(stream, id)}${body}}`));
  const more = {
    ...(blobs.length > 0 && { blobs }),
    ...(dropped.length > 0 && { dropped }),
    ...(epoch !== undefined && { epoch }),
    ...(seal !== undefined && { seal }),
    ...(closed !== undefined && { closed }),
  };
  return Buffer.from(`{"first":${first},"events":[${events.join(',')}],"more":${JSON.stringify(more)}}`);
}

const beforeBody = (stream: string, id: string): string => `{"stream":${JSON.stringify(stream)},"id":${JSON.stringify(id)},"event":`;

/** @param value the JSON @param text what it was read from @param where for people @throws NusecError STORE_DAMAGED when it is no carrier */
export function decodeCarrier(value: unknown, text: string, where: string): Carrier {
  const { first, events, more } = (value ?? {}) as { readonly [Name in 'first' | 'events' | 'more']?: unknown };
  const { blobs, dropped, epoch, seal, closed } = (more ?? {}) as {
    readonly [Name in Exclude<keyof Carrier, 'first' | 'appends'>]?: unknown;
  };
  const isValid = isCount(first) && Array.isArray(events) && events.every(isEvent) && isHashes(blobs) && isHashes(dropped);
  if (!isValid || !(epoch === undefined || isCount(epoch)) || !(seal === undefined || isSeal(seal)))
    throw damaged(`${where} is not a commit of this project`);
  return { first, appends: groupByStream(events, text), blobs, dropped, epoch, seal, ...(typeof closed === 'string' && { closed }) };
}

type CarriedEvent = { readonly stream: string; readonly id: string; readonly event: Json };

const firstEvent = '"events":[';

const isHashes = (value: unknown): value is readonly string[] | undefined =>
  value === undefined || (Array.isArray(value) && value.every(each => typeof each === 'string' && /^[0-9a-f]{64}$/.test(each)));

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function isEvent(value: unknown): value is CarriedEvent {
  const { stream, id, event } = (value ?? {}) as Record<string, unknown>;
  return typeof stream === 'string' && typeof id === 'string' && Array.isArray(event);
}

function isSeal(value: unknown): value is Seal {
  const { size, code } = (value ?? {}) as Record<string, unknown>;
  return isCount(size) && typeof code === 'string';
}

/** @param text has each body as it was stored: to find it there costs a third of making it again */
function groupByStream(events: readonly CarriedEvent[], text: string): Carrier['appends'] {
  const appends: { stream: string; events: { id: string; body: string }[] }[] = [];
  let at = text.indexOf(firstEvent) + firstEvent.length;
  for (const { stream, id, event } of events) {
    const last = appends.at(-1);
    const body = JSON.stringify(event);
    const there = `${beforeBody(stream, id)}${body}}`;
    const isThere = text.startsWith(there, at);
    // It may have names that are numbers, which a parser puts first.
    const encoded = { id, body: isThere ? body : canonicalJson(event) };
    at += isThere ? there.length + 1 : text.length;
    if (last?.stream === stream) last.events.push(encoded);
    else appends.push({ stream, events: [encoded] });
  }
  return appends;
}
