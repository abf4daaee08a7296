import { maxDeadLetters, webhook, webhooksStream } from '../../domain/webhook.ts';
import type { Recorded } from '../../eventstore/recorded.ts';
import { webhookQueries } from '../../projections/webhooks.ts';
import { areCurrent, stateOf } from '../base/context.ts';
import { type DeliveryParts, startWebhookDelivery, type WebhookDelivery } from './webhookDelivery.ts';

/** Runs a delivery for each webhook, as long as this process leads. */

/** Until the read model is there that says how far each webhook is. */
const begins = async (parts: DeliveryParts): Promise<void> => {
  if (!(await areCurrent(parts.ctx, ['webhooks']))) throw new Error('the read model of webhooks is not current');
};

export async function startWebhookWork(parts: DeliveryParts): Promise<{ close(): Promise<void> }> {
  const { ctx } = parts;
  const running = new Map<string, WebhookDelivery>();
  const end = async (name: string): Promise<void> => {
    const delivery = running.get(name);
    running.delete(name);
    await delivery?.close();
  };
  const begin = async (name: string): Promise<void> => {
    await end(name);
    const known = (await stateOf(ctx, webhook, webhooksStream)).byName.get(name);
    if (known === undefined) return;
    await begins(parts);
    const queries = webhookQueries(ctx.reads.db);
    const progress = (await queries.progress()).find(row => row.name === name)?.position ?? known.afterPosition;
    const letters = await queries.deadLetters({ name, limit: maxDeadLetters });
    running.set(name, startWebhookDelivery(parts, known, progress, letters));
  };
  const note = async ({ type, stream, data }: Recorded): Promise<void> => {
    if (stream !== webhooksStream && !stream.startsWith('webhook-')) return;
    if (type === 'WebhookAdded' || type === 'WebhookSecretRotated') await begin(data.name);
    if (type === 'WebhookRemoved') await end(data.name);
    if (type === 'WebhookReplayOrdered') running.get(data.name)?.replay(data.positions);
    if (type === 'WebhookDeadLettersDropped') running.get(data.name)?.freed(data.positions);
    if (type === 'WebhookDeadLetterDelivered') running.get(data.name)?.freed([data.position]);
  };
  const beginAll = async (): Promise<void> => {
    // It may be being built, which is no trouble of the webhooks.
    await ctx.reads.waitFor(await ctx.store.head(), { projections: ['webhooks'], patient: true });
    for (const name of (await stateOf(ctx, webhook, webhooksStream)).byName.keys()) if (!running.has(name)) await begin(name);
  };
  const handle = async (events: readonly Recorded[]): Promise<void> => {
    for (const event of events) await note(event);
  };
  const follower = ctx.followers.follow('webhooks', await ctx.store.head(), handle, { begin: beginAll });
  return {
    async close() {
      await follower.close();
      await Promise.all([...running.keys()].map(end));
    },
  };
}
