import { setTimeout as sleep } from 'node:timers/promises';
import { repeatedly } from '../../closing.ts';
import { counted } from '../../counted.ts';
import { maxDeadLetters, type Webhook, webhookStream } from '../../domain/webhook.ts';
import { NusecError } from '../../errors.ts';
import { newEvent, type Recorded } from '../../eventstore/recorded.ts';
import { fitsFilter } from '../../evidence/logExport.ts';
import type { DeadLetterRow } from '../../projections/webhooks.ts';
import { hourMs, minuteMs, type Seconds } from '../../times.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, nowIso } from '../base/context.ts';
import type { Spans } from '../base/spans.ts';
import type { AddressGuard } from './addresses.ts';
import { cloudEvent } from './cloudEvent.ts';
import type { WebhookFigures } from './webhookFigures.ts';
import { createWebhookSender, secretsOf, type WebhookMessage, type WebhookOutcome } from './webhookRequest.ts';

/** Delivers the events of the log to one webhook, one after the other, in order. What cannot be delivered is tried again; what is given up is a dead
 *  letter, and the next event has its turn. How far it is, is recorded now and then and at the end, so after a crash the newest
 *  events come twice, under the same id. The leader does it. */

export type WebhookLimits = {
  /** Before the second attempt; each further pause is twice as long, up to `maxPauseMs`. */
  readonly firstPauseMs: number;
  /** For how long a receiver that is not there is waited for before events are given up. */
  readonly giveUpSeconds: Seconds;
};
export type DeliveryParts = Parts & {
  readonly limits: WebhookLimits;
  readonly guard: AddressGuard;
  readonly figures: WebhookFigures;
  readonly spans: Spans;
};

/** Of a message that the receiver does not want. */
const refusedAttempts = 5;
const maxPauseMs = 5 * minuteMs;
const maxRetryAfterMs = hourMs;
/** A receiver that fails for so long is an alarm. */
const alarmAfterMs = 10 * minuteMs;
/** How often progress is recorded, and after how many events in any case. */
const recordEveryMs = minuteMs;
const recordAfterEvents = 1000;
const recordAfterUnwanted = 20_000;

/** Never sent: each delivery would make the next one. */
const ownProgress: ReadonlySet<string> = new Set([
  'WebhookAdvanced',
  'WebhookDeadLettered',
  'WebhookDeadLetterDelivered',
  'WebhookReplayFailed',
]);
const alarmSubject = (name: string): string => `webhook-${name}`;
const isWebhookAlarm = ({ type, stream }: Pick<Recorded, 'type' | 'stream'>): boolean =>
  type === 'AlarmRaised' && stream.startsWith(`alarm-${alarmSubject('')}`);

export type WebhookDelivery = {
  /** Dead letters that are to be tried once more. */
  replay(positions: readonly number[]): void;
  /** These dead letters are no more. */
  freed(positions: readonly number[]): void;
  /** Resolves when what is under way has ended and the progress is recorded. */
  close(): Promise<void>;
};

/** @param after position up to which nothing is to be sent @param deadLetters that stand */
export function startWebhookDelivery(
  { ctx, alarms, limits, guard, figures, spans }: DeliveryParts,
  webhook: Webhook,
  after: number,
  deadLetters: readonly DeadLetterRow[],
): WebhookDelivery {
  const { name, types, streams, actors } = webhook;
  const filter = { ...(types && { types }), ...(streams && { streams }), ...(actors && { by: actors }) };
  const isWanted = (event: Recorded): boolean =>
    !ownProgress.has(event.type) && event.stream !== `alarm-${alarmSubject(name)}` && fitsFilter(event, filter);
  const sender = createWebhookSender(webhook, guard, ctx.clock);
  const figure = figures.of(name);
  const stop = new AbortController();
  let position = after;
  let [sent, unwanted] = [0, 0];
  let failingSinceMs: number | undefined;
  /** Since this process delivers. */
  let hasAnswered = false;
  const unreachable = { code: 'WEBHOOK_UNREACHABLE', subject: alarmSubject(name) } as const;
  const standing = new Set(deadLetters.map(({ position: at }) => at));
  let room = Promise.withResolvers<void>();
  let replays: Promise<void> = Promise.resolve();

  const append = createAppender(ctx, name);
  /** What cannot be signed now, as the keystore is away, is tried again like what was not taken. The follower would count as stopped until the receiver
   *  takes something, which may be a day. */
  const send = async (message: WebhookMessage): Promise<WebhookOutcome> => {
    const secrets = await secretsOf(ctx, webhook).catch(error => error as Error);
    if (!(secrets instanceof Error)) return sender.send(message, secrets, stop.signal);
    stop.signal.throwIfAborted();
    return { isDelivered: false, isRefused: false, failure: `it cannot be signed: ${secrets.message}` };
  };
  const attempt = async (event: Recorded): Promise<WebhookOutcome> => {
    const span = spans.begin('client');
    const message = { id: event.id, body: JSON.stringify(cloudEvent(ctx.project, event)), traceparent: span.traceparent };
    const outcome = await send(message);
    const attributes = { 'nusec.event.type': event.type, 'http.response.status_code': outcome.status };
    span.end(`webhook ${name}`, attributes, outcome.isDelivered ? undefined : outcome.failure);
    figure.attempted(outcome.isDelivered);
    if (!outcome.isDelivered && !outcome.isRefused) failingSinceMs ??= performance.now();
    else {
      if (failingSinceMs !== undefined || !hasAnswered) alarms.ended(unreachable, 'it answers');
      [failingSinceMs, hasAnswered] = [undefined, true];
    }
    return outcome;
  };
  const warn = async (failure: string): Promise<void> => {
    if (failingSinceMs === undefined || performance.now() - failingSinceMs < alarmAfterMs) return;
    await alarms.raise({ ...unreachable, detail: failure }, 'daily');
  };
  const bury = async (event: Recorded, attempts: number, failure: string): Promise<void> => {
    const { position: at, id: eventId, type: eventType } = event;
    await append('WebhookDeadLettered', { name, position: at, eventId, eventType, attempts, failure });
    [sent, unwanted] = [0, 0];
    figure.standing(standing.add(at).size);
    // Alarms about two webhooks that refuse each other's would have no end.
    if (isWebhookAlarm(event)) return;
    const detail = `not delivered: ${counted(standing.size, 'event')}, the newest ${eventType} at ${at}: ${failure}`;
    await alarms.raise({ code: 'WEBHOOK_DEAD_LETTERS', subject: alarmSubject(name), detail });
  };
  const deliver = async (event: Recorded): Promise<void> => {
    while (standing.size >= maxDeadLetters) await withStop(room.promise, stop.signal);
    for (let attempts = 1; ; attempts++) {
      const outcome = await attempt(event);
      if (outcome.isDelivered) {
        sent += 1;
        return;
      }
      const isOver = outcome.isRefused
        ? attempts >= refusedAttempts
        : performance.now() - (failingSinceMs ?? 0) >= limits.giveUpSeconds * 1000;
      if (isOver) return bury(event, attempts, outcome.failure);
      await warn(outcome.failure);
      await sleep(pauseMs(ctx, limits, attempts, outcome.afterMs), undefined, { signal: stop.signal });
    }
  };

  const handle = async (events: readonly Recorded[]): Promise<void> => {
    for (const event of events) {
      // A batch whose end failed comes again from its beginning.
      if (event.position <= position) continue;
      stop.signal.throwIfAborted();
      if (isWanted(event)) await deliver(event);
      else unwanted += 1;
      position = event.position;
      figure.reached(position);
      if (sent >= recordAfterEvents || unwanted >= recordAfterUnwanted) await record();
    }
  };
  const record = async (): Promise<void> => {
    if (sent === 0 && unwanted < recordAfterUnwanted) return;
    [sent, unwanted] = [0, 0];
    await append('WebhookAdvanced', { name, position });
  };
  const replayOne = async (at: number): Promise<void> => {
    const [event] = await ctx.store.readAll(at - 1, 1);
    if (event?.position !== at || stop.signal.aborted) return;
    const outcome = await attempt(event as Recorded);
    if (outcome.isDelivered) await append('WebhookDeadLetterDelivered', { name, position: at });
    else await append('WebhookReplayFailed', { name, position: at, failure: outcome.failure });
  };
  const logFailure = (error: unknown): void => {
    if (!stop.signal.aborted) ctx.log.warn({ webhook: name, error: String(error) }, 'the progress of a webhook was not recorded');
  };
  const replay = (positions: readonly number[]): void => {
    for (const at of positions) replays = replays.then(() => replayOne(at)).catch(logFailure);
  };

  figure.reached(position);
  figure.standing(standing.size);
  // A receiver that is not there is no trouble of the server: its alarm says so.
  const follower = ctx.followers.follow(`webhook ${name}`, after, handle, { mayLag: () => true });
  const recording = repeatedly(recordEveryMs, record, logFailure);
  replay(deadLetters.filter(({ is_ordered }) => is_ordered === 1).map(({ position: at }) => at));
  return {
    replay,
    freed(positions) {
      for (const at of positions) standing.delete(at);
      figure.standing(standing.size);
      room.resolve();
      room = Promise.withResolvers();
    },
    async close() {
      stop.abort();
      await Promise.all([follower.close(), recording.close(), replays]);
      await record().catch(logFailure);
      sender.close();
      figures.forget(name);
    },
  };
}

/** Appends under the epoch of the leader: a former one records nothing any more. */
function createAppender(ctx: Context, name: string) {
  return async <Type extends 'WebhookAdvanced' | 'WebhookDeadLettered' | 'WebhookDeadLetterDelivered' | 'WebhookReplayFailed'>(
    type: Type,
    data: Parameters<typeof newEvent<Type>>[1],
  ): Promise<void> => {
    const event = newEvent(type, data, { id: ctx.newId(), at: nowIso(ctx), by: 'system:webhooks' });
    await ctx.store.commit({ appends: [{ stream: webhookStream(name), expected: 'any', events: [event] }], epoch: ctx.epoch });
  };
}

/** Half to the whole of the step, so that many servers do not come back at the same moment. */
function pauseMs(ctx: Context, { firstPauseMs }: WebhookLimits, attempts: number, afterMs = 0): number {
  const step = Math.min(firstPauseMs * 2 ** (attempts - 1), maxPauseMs);
  const jitter = (ctx.randomBytes(1)[0] ?? 0) / 255;
  return Math.max(step * (0.5 + jitter / 2), Math.min(afterMs, maxRetryAfterMs));
}

async function withStop(work: Promise<void>, stop: AbortSignal): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const end = (): void => reject(new NusecError('STORE_CLOSED', 'the webhook ends'));
  stop.addEventListener('abort', end, { once: true });
  try {
    stop.throwIfAborted();
    await Promise.race([work, promise]);
  } finally {
    stop.removeEventListener('abort', end);
  }
}
