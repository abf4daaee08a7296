import { describe, expect, it } from 'vitest';
import { maxWebhooks, type WebhookCommand, type WebhookEvent, webhook } from '../../src/domain/webhook.ts';
import { play, scenario } from './scenario.ts';

const at = '2026-01-01T00:00:00.000Z';
const by = 'operator:alice';
const target = { name: 'mes', url: 'https://mes.example.com/in', types: ['Unit*'] };
const add = (secretId = 'a1', name = 'mes'): WebhookCommand => ({
  ...{ type: 'AddWebhook', ...target, name, secretId, afterPosition: 7, by, now: at },
});
const added: WebhookEvent = { type: 'WebhookAdded', data: { ...target, secretId: 'a1', afterPosition: 7, by, at } };

describe('a webhook', () => {
  it('is added once; another one needs another name', () => {
    scenario(webhook).given().when(add()).givesOnce(added);
    scenario(webhook).given(added).when(add('b2')).refused('CONFLICT');
  });

  it('signs with another secret and the one before, until it is over', () => {
    const rotate: WebhookCommand = { type: 'RotateWebhookSecret', name: 'mes', secretId: 'b2', by, now: at };
    const rotated: WebhookEvent = {
      type: 'WebhookSecretRotated',
      data: { name: 'mes', secretId: 'b2', formerUntil: '2026-01-02T00:00:00.000Z', by, at },
    };
    scenario(webhook).given(added).when(rotate).givesOnce(rotated);
    const { state } = play(webhook, [add(), rotate]);
    expect(state.byName.get('mes')).toMatchObject({ secretId: 'b2', former: { secretId: 'a1', until: '2026-01-02T00:00:00.000Z' } });
  });

  it('is removed once, and its name is free again', () => {
    const removed: WebhookEvent = { type: 'WebhookRemoved', data: { name: 'mes', by, at } };
    scenario(webhook).given(added).when({ type: 'RemoveWebhook', name: 'mes', by, now: at }).givesOnce(removed);
    scenario(webhook)
      .given(added, removed)
      .when(add('b2'))
      .gives({ type: 'WebhookAdded', data: { ...added.data, secretId: 'b2' } as never });
  });

  it('that does not exist has nothing to try again, to give up or to sign with', () => {
    const common = { name: 'erp', by, now: at } as const;
    for (const command of [
      { type: 'ReplayDeadLetters', positions: [3], ...common },
      { type: 'DropDeadLetters', positions: [3], reason: 'r', ...common },
      { type: 'RotateWebhookSecret', secretId: 'x', ...common },
    ] as const)
      scenario(webhook).given(added).when(command).refused('NOT_FOUND');
  });

  it('is one of a few: each reads the log by itself', () => {
    const all = Array.from({ length: maxWebhooks }, (_, i) => add(`s${i}`, `w${i}`));
    const { events } = play(webhook, all);
    scenario(webhook)
      .given(...events)
      .when(add('z', 'one-more'))
      .refused('RATE_LIMITED');
  });
});
