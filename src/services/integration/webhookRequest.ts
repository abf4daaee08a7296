import { createHmac } from 'node:crypto';
import { Agent, request } from 'node:https';
import { utf8 } from '../../bytes.ts';
import type { Webhook } from '../../domain/webhook.ts';
import { standingKey } from '../../keystore/standingKey.ts';
import { type Seconds, secondsOf } from '../../times.ts';
import type { Context } from '../base/context.ts';
import type { AddressGuard } from './addresses.ts';

/** One message to a receiver, signed as Standard Webhooks 1.0.0 says: HMAC-SHA-256 over `id.timestamp.body`. */

const timeoutMs = 10_000;
/** What a receiver answers is not read further. */
const maxAnswerBytes = 64 * 1024;
const keyMessage = utf8('NuSEC webhooks v1');

export type WebhookMessage = { readonly id: string; readonly body: string; readonly traceparent?: string };
/** `isRefused`: the receiver works, and does not want this message. @property afterMs when it wants to be asked again */
export type WebhookOutcome =
  | { readonly isDelivered: true; readonly status: number }
  | {
      readonly isDelivered: false;
      readonly isRefused: boolean;
      readonly failure: string;
      readonly status?: number;
      readonly afterMs?: number;
    };

/** What the receiver checks signatures with, as it is shown: made by the keystore, and kept nowhere. */
export async function webhookSecret(ctx: Context, secretId: string): Promise<string> {
  const { key } = await standingKey(ctx.keystore, 'webhooks', keyMessage);
  return `whsec_${createHmac('sha256', key).update(secretId).digest('base64')}`;
}

/** The secrets that sign now. */
export async function secretsOf(ctx: Context, { secretId, former }: Webhook): Promise<readonly string[]> {
  const isFormer = former !== undefined && Date.parse(former.until) > ctx.clock().getTime();
  const ids = isFormer ? [secretId, former.secretId] : [secretId];
  return Promise.all(ids.map(id => webhookSecret(ctx, id)));
}

/** @param secrets `whsec_` and base64 @returns each `v1,` and base64, separated by spaces */
export function signatureOf(secrets: readonly string[], { id, body }: WebhookMessage, timestampSeconds: Seconds): string {
  const sign = (secret: string): string =>
    `v1,${createHmac('sha256', Buffer.from(secret.replace(/^whsec_/, ''), 'base64'))
      .update(`${id}.${timestampSeconds}.${body}`)
      .digest('base64')}`;
  return secrets.map(sign).join(' ');
}

export type WebhookSender = {
  /** @throws when `stop` is aborted */
  send(message: WebhookMessage, secrets: readonly string[], stop: AbortSignal): Promise<WebhookOutcome>;
  close(): void;
};

/** One connection to the receiver, kept open: messages go one after the other. Redirects are not followed. */
export function createWebhookSender({ url, caCertificates }: Webhook, guard: AddressGuard, clock: () => Date): WebhookSender {
  const ca = caCertificates === undefined ? {} : { ca: caCertificates };
  const agent = new Agent({ keepAlive: true, maxSockets: 1, minVersion: 'TLSv1.2', ...ca });
  return {
    async send(message, secrets, stop) {
      try {
        guard.requireHost(new URL(url).hostname);
        const { status, retryAfter } = await post(url, message, headersOf(message, secrets, clock()), { agent, guard, stop });
        return outcomeOf(status, retryAfter);
      } catch (error) {
        stop.throwIfAborted();
        return { isDelivered: false, isRefused: false, failure: failureOf(error) };
      }
    },
    close: () => agent.destroy(),
  };
}

function headersOf(message: WebhookMessage, secrets: readonly string[], now: Date): Record<string, string | number> {
  const timestamp = secondsOf(now.getTime());
  return {
    'Content-Type': 'application/cloudevents+json; charset=utf-8',
    'Content-Length': Buffer.byteLength(message.body),
    'User-Agent': 'NuSEC',
    'webhook-id': message.id,
    'webhook-timestamp': timestamp,
    'webhook-signature': signatureOf(secrets, message, timestamp),
    ...(message.traceparent !== undefined && { traceparent: message.traceparent }),
  };
}

type Way = { readonly agent: Agent; readonly guard: AddressGuard; readonly stop: AbortSignal };
type Answer = { readonly status: number; readonly retryAfter: string | undefined };

function post(url: string, { body }: WebhookMessage, headers: Record<string, string | number>, way: Way): Promise<Answer> {
  const { agent, guard, stop } = way;
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const signal = AbortSignal.any([stop, AbortSignal.timeout(timeoutMs)]);
  const outgoing = request(url, { method: 'POST', headers, agent, lookup: guard.lookup, signal });
  outgoing.on('error', reject);
  outgoing.on('response', response => {
    let bytes = 0;
    response.on('error', reject);
    response.on('data', (chunk: Uint8Array) => {
      bytes += chunk.length;
      if (bytes > maxAnswerBytes) response.destroy(new Error(`the answer has more than ${maxAnswerBytes} bytes`));
    });
    response.on('end', () => resolve({ status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'] }));
  });
  outgoing.end(body);
  return promise;
}

/** Not the fault of the message: too early, too slow, too many, no rights. */
const notOfMessage: ReadonlySet<number> = new Set([401, 403, 404, 405, 407, 408, 410, 421, 425, 429]);

function outcomeOf(status: number, retryAfter: string | undefined): WebhookOutcome {
  if (status >= 200 && status < 300) return { isDelivered: true, status };
  const isRefused = status >= 400 && status < 500 && !notOfMessage.has(status);
  const seconds = /^\d{1,6}$/.exec(retryAfter ?? '')?.[0];
  const failure =
    status >= 300 && status < 400 ? `the receiver sends elsewhere (${status}), which is not followed` : `the receiver answered ${status}`;
  return { isDelivered: false, isRefused, failure, status, ...(seconds !== undefined && { afterMs: Number(seconds) * 1000 }) };
}

/** Texts of the system, of TLS and of our own guard: none has a secret. */
function failureOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  if (error.name === 'TimeoutError') return `no answer within ${timeoutMs / 1000} s`;
  const text = error instanceof AggregateError ? (error.errors[0]?.message ?? error.message) : error.message;
  return text.slice(0, 200);
}
