import { fromBase64url, fromHex, toBase64url, toHex, utf8 } from '../bytes.ts';
import { type Repeated, repeatedly } from '../closing.ts';
import { NusecError } from '../errors.ts';
import { allObjects } from '../objects/port.ts';
import type { SealedObjects } from '../objects/sealed.ts';
import { dayMs, hourMs } from '../times.ts';
import { type Answers, idOf, type KeptAnswer, type KeyedRequest, keptOf, replay, requestHash } from './answers.ts';

/** Answers to requests with an `Idempotency-Key` that are repeated at another machine: one sealed object for each, whose name says nothing. The machine
 *  that is asked stores that the request has begun, if nobody has, and then the answer; so of two machines that are asked at the same moment one does it.
 *  What a machine has answered itself it answers from its own file. */

const prefix = 'answers/';
const sweepEveryMs = hourMs;
/** Deleted so much later than they count: clocks differ. */
const graceMs = hourMs;

type Json = {
  readonly request: string;
  /** When it began; Unix time. */
  readonly atMs: number;
  readonly status: number | null;
  readonly headers: string | null;
  readonly body: string | null;
};

/** @param own answers of this machine @param now milliseconds since 1970 @param onTrouble gets what could not be deleted */
export function sharedAnswers(own: Answers, objects: SealedObjects, now: () => number, onTrouble: (error: unknown) => void): Answers {
  const sweep = repeatedly(sweepEveryMs, stop => forgetAnswers(objects, now() - dayMs - graceMs, stop), onTrouble);
  return {
    once: (request, work) => own.once(request, () => onceAnywhere(objects, now, request, work)),
    close: () => closeBoth(sweep, own),
  };
}

async function closeBoth(sweep: Repeated, own: Answers): Promise<void> {
  await sweep.close();
  await own.close();
}

async function onceAnywhere(
  objects: SealedObjects,
  now: () => number,
  keyed: KeyedRequest,
  work: () => Promise<Response>,
): Promise<Response> {
  const [object, request, atMs] = [prefix + objects.nameOf(idOf(keyed)), requestHash(keyed), now()];
  const begun = encode({ request, status: null, headers: null, body: null }, atMs);
  const tag = await begin(objects, object, begun, atMs);
  if (typeof tag !== 'string') return replay(tag, request);
  /** What became of the request counts, also when it could not be noted: asked again, it is one that was cut off. */
  const note = (noting: Promise<unknown>): Promise<unknown> => noting.catch(() => undefined);
  let response: Response;
  try {
    response = await work();
  } catch (error) {
    await note(objects.delete(object));
    throw error;
  }
  // Refused: nothing was done, and the same request may be made again.
  if (response.status >= 400) await note(objects.delete(object));
  else await note(objects.put(object, encode({ request, ...(await keptOf(response, keyed.isKept)) }, atMs), { tag }));
  return response;
}

/** @returns the tag of the object that says that it has begun here; what another machine has kept */
async function begin(objects: SealedObjects, object: string, begun: Uint8Array, nowMs: number): Promise<string | KeptAnswer> {
  for (;;) {
    const tag = await objects.put(object, begun, 'none');
    if (tag !== undefined) return tag;
    const there = await objects.get(object);
    // Undone just now.
    if (there === undefined) continue;
    const { atMs, ...kept } = decode(object, there.bytes);
    if (atMs > nowMs - dayMs) return kept;
    const replaced = await objects.put(object, begun, { tag: there.tag });
    if (replaced !== undefined) return replaced;
  }
}

async function forgetAnswers(objects: SealedObjects, beforeMs: number, stop: AbortSignal): Promise<void> {
  for await (const { key, storedMs } of allObjects(objects, prefix)) {
    if (stop.aborted) return;
    if (storedMs < beforeMs) await objects.delete(key);
  }
}

const encode = ({ request, body, ...kept }: KeptAnswer, atMs: number): Uint8Array =>
  utf8(JSON.stringify({ ...kept, atMs, request: toHex(request), body: body && toBase64url(body) } satisfies Json));

function decode(object: string, bytes: Uint8Array): KeptAnswer & { readonly atMs: number } {
  try {
    const { request, body, ...kept } = JSON.parse(new TextDecoder().decode(bytes)) as Json;
    return { ...kept, request: fromHex(request), body: body === null ? null : fromBase64url(body) };
  } catch (cause) {
    throw new NusecError('STORE_DAMAGED', `object ${object} of the object store cannot be read`, { cause });
  }
}
