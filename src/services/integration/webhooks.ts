import type { Actor } from '../../domain/actor.ts';
import {
  maxDeadLetters,
  type Webhook,
  type WebhookCommand,
  type WebhookTarget,
  webhook,
  webhookOf,
  webhooksStream,
} from '../../domain/webhook.ts';
import { NusecError } from '../../errors.ts';
import { type DeadLetterRow, webhookQueries } from '../../projections/webhooks.ts';
import type { Parts } from '../base/alarms.ts';
import { execute, newHexId, nowIso, stateOf } from '../base/context.ts';
import type { AddressGuard } from './addresses.ts';
import type { WebhookFigures } from './webhookFigures.ts';
import { createWebhookSender, secretsOf, type WebhookOutcome, webhookSecret } from './webhookRequest.ts';

/** Who is told of events: adding, looking, testing and removing; what could not be delivered is tried again or dropped. */

export type WebhookView = Webhook & { readonly position: number; readonly behindEvents: number; readonly deadLetters: number };
export type Secret = { readonly secret: string };

export type Webhooks = {
  /** @param afterPosition the first event that is sent comes after it; default: from now on
   *  @returns with the secret, which is shown this once @throws NusecError CONFLICT, RATE_LIMITED, FORBIDDEN (address), BAD_REQUEST */
  add(target: WebhookTarget, afterPosition: number | undefined, by: Actor): Promise<WebhookView & Secret>;
  /** The former secret signs too for a day. @throws NusecError NOT_FOUND */
  rotate(name: string, by: Actor): Promise<WebhookView & Secret>;
  /** @throws NusecError NOT_FOUND */
  remove(name: string, by: Actor): Promise<void>;
  list(): Promise<readonly WebhookView[]>;
  /** @throws NusecError NOT_FOUND */
  get(name: string): Promise<WebhookView>;
  /** Sends a message that is no event, from this process. @throws NusecError NOT_FOUND */
  test(name: string): Promise<WebhookOutcome>;
  /** @throws NusecError NOT_FOUND */
  deadLetters(name: string, after: number | undefined, limit: number): Promise<readonly DeadLetterRow[]>;
  /** @param eventIds all that stand when not given @returns how many @throws NusecError NOT_FOUND */
  replay(name: string, eventIds: readonly string[] | undefined, by: Actor): Promise<number>;
  /** @throws NusecError NOT_FOUND */
  drop(name: string, eventIds: readonly string[] | undefined, reason: string, by: Actor): Promise<number>;
};

type WebhooksParts = Parts & { readonly guard: AddressGuard; readonly figures: Pick<WebhookFigures, 'all'> };

export function createWebhooks({ ctx, alarms, guard, figures }: WebhooksParts): Webhooks {
  const change = (command: WebhookCommand) => execute(ctx, webhook, webhooksStream, command, command.by);
  const now = () => nowIso(ctx);
  const tell = (name: string, detail: string) => alarms.raise({ code: 'WEBHOOK_CHANGED', subject: `webhook-${name}`, detail }, 'always');
  const current = async () => {
    await ctx.reads.waitFor(await ctx.store.head(), { projections: ['webhooks'] });
    return webhookQueries(ctx.reads.db);
  };
  const list = async (): Promise<readonly WebhookView[]> => {
    const queries = await current();
    const [{ byName }, progress, counts] = await Promise.all([stateOf(ctx, webhook, webhooksStream), queries.progress(), queries.counts()]);
    const head = ctx.store.seen();
    // Whoever delivers knows better than what was recorded at most a minute ago.
    const live = figures.all();
    return [...byName.values()].map(known => {
      const recorded = progress.find(({ name }) => name === known.name)?.position ?? known.afterPosition;
      const position = Math.max(recorded, live.find(({ name }) => name === known.name)?.position ?? 0);
      const deadLetters = counts.find(({ name }) => name === known.name)?.count ?? 0;
      return { ...known, position, behindEvents: Math.max(0, head - position), deadLetters };
    });
  };
  const get = async (name: string): Promise<WebhookView> => {
    const found = (await list()).find(known => known.name === name);
    if (found === undefined) throw new NusecError('NOT_FOUND', `there is no webhook ${name}`);
    return found;
  };
  const standing = async (name: string, eventIds: readonly string[] | undefined): Promise<readonly number[]> => {
    const letters = await (await current()).deadLetters({ name, limit: maxDeadLetters });
    const missing = eventIds?.find(id => !letters.some(({ event_id }) => event_id === id));
    if (missing !== undefined) throw new NusecError('NOT_FOUND', `${missing} is no dead letter of ${name}`);
    return letters.filter(({ event_id }) => eventIds?.includes(event_id) ?? true).map(({ position }) => position);
  };
  return {
    list,
    get,
    async add(target, afterPosition, by) {
      requireUrl(target.url);
      guard.requireHost(new URL(target.url).hostname);
      const head = await ctx.store.head();
      if ((afterPosition ?? 0) > head) throw new NusecError('BAD_REQUEST', `the log has ${head} events`);
      const secretId = newHexId(ctx);
      const secret = await webhookSecret(ctx, secretId);
      await change({ type: 'AddWebhook', ...target, secretId, afterPosition: afterPosition ?? head, by, now: now() });
      await tell(target.name, `${by} has events sent to ${new URL(target.url).host}`);
      return { ...(await get(target.name)), secret };
    },
    async rotate(name, by) {
      const secretId = newHexId(ctx);
      const secret = await webhookSecret(ctx, secretId);
      await change({ type: 'RotateWebhookSecret', name, secretId, by, now: now() });
      return { ...(await get(name)), secret };
    },
    async remove(name, by) {
      webhookOf(await stateOf(ctx, webhook, webhooksStream), name);
      const { events } = await change({ type: 'RemoveWebhook', name, by, now: now() });
      if (events.length > 0) await tell(name, `${by} has removed it`);
    },
    async test(name) {
      const known = webhookOf(await stateOf(ctx, webhook, webhooksStream), name);
      const sender = createWebhookSender(known, guard, ctx.clock);
      const id = ctx.newId();
      const body = JSON.stringify({
        ...{
          specversion: '1.0',
          id,
          source: `urn:nusec:${ctx.project}`,
          type: 'nusec.WebhookTested',
          subject: `webhook-${name}`,
          time: now(),
        },
        ...{ datacontenttype: 'application/json', data: { name } },
      });
      try {
        return await sender.send({ id, body }, await secretsOf(ctx, known), new AbortController().signal);
      } finally {
        sender.close();
      }
    },
    async deadLetters(name, after, limit) {
      webhookOf(await stateOf(ctx, webhook, webhooksStream), name);
      return (await current()).deadLetters({ name, after, limit });
    },
    async replay(name, eventIds, by) {
      const positions = await standing(name, eventIds);
      await change({ type: 'ReplayDeadLetters', name, positions, by, now: now() });
      return positions.length;
    },
    async drop(name, eventIds, reason, by) {
      const positions = await standing(name, eventIds);
      await change({ type: 'DropDeadLetters', name, positions, reason, by, now: now() });
      return positions.length;
    },
  };
}

/** The log keeps the address, so it has no password. @throws NusecError BAD_REQUEST */
function requireUrl(url: string): void {
  const { protocol, username, password, hash } = new URL(url);
  if (protocol !== 'https:') throw new NusecError('BAD_REQUEST', 'a webhook is reached by https');
  if (username !== '' || password !== '' || hash !== '')
    throw new NusecError('BAD_REQUEST', 'the address has no user, password and fragment');
}
