import { NusecError } from '../errors.ts';
import { canonicalJson } from './canonical.ts';
import type { EventToAppend, Json, JsonObject, RecordedEvent } from './port.ts';
import { damaged } from './storeError.ts';

/** An event as the engines keep it: the chained text apart from what the engine looks up. */

/** Of the canonical JSON of one event, UTF-8. Larger evidence belongs into the blob folder. */
const maxEventBytes = 256 * 1024;
const maxEventsPerAppend = 4096;
const maxStreamNameChars = 256;
const maxIdChars = 64;

/** An event's id and its body: the canonical JSON text `[type,v,at,by,cause,corr,data]`. */
export type EncodedEvent = { readonly id: string; readonly body: string };

/** Refuses what no stream may be called and encodes the events of one append.
 *  @throws NusecError BAD_REQUEST (stream name, no events, too many, an id twice, not JSON), EVENT_TOO_LARGE */
export function encodeAppend(stream: string, events: readonly EventToAppend[]): EncodedEvent[] {
  if (!/^[\x21-\x7e]+$/.test(stream) || stream.length > maxStreamNameChars) throw new NusecError('BAD_REQUEST', 'not a stream name');
  if (events.length === 0) throw new NusecError('BAD_REQUEST', 'an append needs at least one event');
  if (events.length > maxEventsPerAppend) throw new NusecError('BAD_REQUEST', `an append takes at most ${maxEventsPerAppend} events`);
  if (events.length > 1 && new Set(events.map(event => event.id)).size !== events.length) {
    throw new NusecError('BAD_REQUEST', 'an append names the same event id twice');
  }
  return events.map(encodeEvent);
}

function encodeEvent(event: EventToAppend): EncodedEvent {
  if (!/^[\x21-\x7e]+$/.test(event.id) || event.id.length > maxIdChars) throw new NusecError('BAD_REQUEST', 'not an event id');
  const body = encodeBody(event);
  // Three bytes of UTF-8 per UTF-16 unit at most: the exact count is needed only near the limit.
  if (body.length * 3 > maxEventBytes && Buffer.byteLength(body) > maxEventBytes) {
    throw new NusecError('EVENT_TOO_LARGE', `event ${event.type} is larger than ${maxEventBytes} bytes`);
  }
  return { id: event.id, body };
}

/** The canonical text of everything in an event that the engine does not look up by.
 *  @throws NusecError BAD_REQUEST when it is not JSON */
export function encodeBody(event: Omit<EventToAppend, 'id'>): string {
  try {
    return canonicalJson([event.type, event.v ?? 1, event.at, event.by, event.cause ?? null, event.corr ?? null, event.data]);
  } catch (error) {
    throw new NusecError('BAD_REQUEST', `event ${event.type} cannot be stored: ${(error as Error).message}`);
  }
}

type Body = readonly [type: string, v: number, at: string, by: string, cause: string | null, corr: string | null, data: JsonObject];

/** Puts a stored row back together. @throws NusecError STORE_DAMAGED when the text is no longer an event */
export function decodeEvent(position: number, stream: string, revision: number, id: string, hash: string, text: string): RecordedEvent {
  const [type, v, at, by, cause, corr, data] = parseBody(text, position);
  const event = { type, v, id, at, by, data, stream, revision, position, hash };
  if (cause === null && corr === null) return event;
  return { ...event, ...(cause === null ? {} : { cause }), ...(corr === null ? {} : { corr }) };
}

/** The type alone of a stored text. */
export const typeIn = (text: string): string => text.slice(2, text.indexOf('"', 2));

const noCauses = '",null,null,{';

/** As JSON.parse, for most events in half the time: only their data is left to it.
 *  @returns undefined when the envelope has a cause, a correlation or anything to be unescaped */
function parseQuickly(text: string): Body | undefined {
  const typeEnd = text.indexOf('"', 2);
  const vEnd = text.indexOf(',"', typeEnd + 2);
  const atEnd = text.indexOf('"', vEnd + 2);
  const byEnd = text.indexOf('"', atEnd + 3);
  const escapeAt = text.indexOf('\\');
  if (!text.startsWith(noCauses, byEnd) || (escapeAt !== -1 && escapeAt < byEnd)) return undefined;
  const data = JSON.parse(text.slice(byEnd + noCauses.length - 1, -1)) as JsonObject;
  return [
    text.slice(2, typeEnd),
    Number(text.slice(typeEnd + 2, vEnd)),
    text.slice(vEnd + 2, atEnd),
    text.slice(atEnd + 3, byEnd),
    null,
    null,
    data,
  ];
}

function parseBody(text: string, position: number): Body {
  let body: Json;
  try {
    const quick = parseQuickly(text);
    if (quick !== undefined) return quick;
    body = JSON.parse(text) as Json;
  } catch (error) {
    throw damaged(`the event at position ${position} is not readable`, error);
  }
  if (!Array.isArray(body) || body.length !== 7) throw damaged(`the event at position ${position} is not an event`);
  return body as unknown as Body;
}
