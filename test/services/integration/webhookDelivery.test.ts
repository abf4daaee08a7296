import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Webhook } from '../../../src/domain/webhook.ts';
import { NusecError } from '../../../src/errors.ts';
import { noSpans } from '../../../src/services/base/spans.ts';
import { createAddressGuard } from '../../../src/services/integration/addresses.ts';
import { startWebhookDelivery } from '../../../src/services/integration/webhookDelivery.ts';
import { createWebhookFigures } from '../../../src/services/integration/webhookFigures.ts';
import { event } from '../../eventstore/support.ts';
import { startWebhookReceiver } from '../../support/webhookReceiver.ts';
import { openProject, type Project } from '../project.ts';

/** Delivery to a real receiver, by a project whose keystore goes away. */

let project: Project;
let receiver: Awaited<ReturnType<typeof startWebhookReceiver>>;
let isAway = false;
let refused = 0;

beforeAll(async () => {
  receiver = await startWebhookReceiver();
  project = await openProject(ctx => ({
    ...ctx,
    keystore: {
      ...ctx.keystore,
      mac: async (id, message) => {
        if (!isAway) return ctx.keystore.mac(id, message);
        refused += 1;
        throw new NusecError('KEYSTORE_UNAVAILABLE', 'the token is away');
      },
    },
  }));
});
afterAll(() => Promise.all([project?.close(), receiver?.close()]));

it('a keystore that was away does not leave a webhook stopped, and the server unready, while the receiver takes nothing', async () => {
  const { ctx, alarms } = project;
  let asked = 0;
  receiver.answer(() => {
    asked += 1;
    return { status: 503 };
  });
  const webhook: Webhook = {
    name: 'mes',
    url: receiver.url,
    types: ['Happened'],
    caCertificates: receiver.certificate,
    secretId: 'one',
    afterPosition: 0,
    addedBy: 'operator:alice',
    addedAt: '2026-01-01T00:00:00.000Z',
  };
  const limits = { firstPauseMs: 1, giveUpSeconds: 3600 };
  const [guard, figures] = [createAddressGuard(['127.0.0.0/8']), createWebhookFigures()];
  isAway = true;
  const delivery = startWebhookDelivery({ ctx, alarms, limits, guard, figures, spans: noSpans }, webhook, await ctx.store.head(), []);
  try {
    await ctx.store.append('s', 'any', [event('Happened')]);
    await expect.poll(() => refused).toBeGreaterThan(1);
    isAway = false;
    await expect.poll(() => asked).toBeGreaterThan(1);
    expect(ctx.followers.troubles()).toEqual([]);
    receiver.answer(() => ({ status: 204 }));
    await expect.poll(() => receiver.received.map(({ event: { type } }) => type)).toEqual(['nusec.Happened']);
  } finally {
    await delivery.close();
  }
});
