import { hash } from 'node:crypto';
import { encodeBody } from './envelope.ts';
import type { RecordedEvent } from './port.ts';

/** The hash chain of a stream (T18).
 *
 *  hash(n) = SHA-256( UTF-8( hash(n-1) ‖ J ) ), lower-case hex
 *    hash(n-1)  64 lower-case hex characters; 64 zeros for the first event of a stream
 *    J          RFC 8785 canonical JSON of [stream, revision, id, type, v, at, by, cause, corr, data],
 *               null where cause or corr is absent
 *
 *  The position in the store is not in it: the order between streams is the Merkle log's matter. */

/** The hash before the first event of a stream. */
export const chainStart = '0'.repeat(64);

/** @param body the canonical text `[type,v,at,by,cause,corr,data]`, exactly as stored
 *  @returns 64 hex characters */
export function chainHash(previous: string, stream: string, revision: number, id: string, body: string): string {
  // Stream names and ids are printable ASCII; JSON.stringify escapes the two characters that need it.
  return hash('sha256', `${previous}[${JSON.stringify(stream)},${revision},${JSON.stringify(id)},${body.slice(1)}`, 'hex');
}

export type StreamVerdict =
  | { readonly ok: true; readonly events: number; readonly hash: string }
  | { readonly ok: false; readonly stream: string; readonly revision: number; readonly reason: 'order' | 'hash' };

/** Checks one stream from its first event on, and says the first revision that is not what was stored.
 *  @param events one stream, oldest first, complete from `after` on
 *  @param after  revision and hash already known to be valid; default: the start of the stream */
export function verifyStream(events: Iterable<RecordedEvent>, after = { revision: -1, hash: chainStart }): StreamVerdict {
  let { revision, hash: previous } = after;
  let stream: string | undefined;
  let count = 0;
  for (const event of events) {
    stream ??= event.stream;
    revision++;
    if (event.stream !== stream || event.revision !== revision) return { ok: false, stream, revision, reason: 'order' };
    if (chainHash(previous, stream, revision, event.id, encodeBody(event)) !== event.hash) {
      return { ok: false, stream, revision, reason: 'hash' };
    }
    previous = event.hash;
    count++;
  }
  return { ok: true, events: count, hash: previous };
}
