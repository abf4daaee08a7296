import type { Actor, IsoTime } from './actor.ts';
import { contentText } from './contentText.ts';
import type { Decider, Of } from './decider.ts';
import { refuse, timeAfter } from './rules.ts';

/** Addresses of other systems that get the events of the log (docs/integration.md). Stream `webhooks`: who is told what. How far each is, and what
 *  it could not be told, is in the streams `webhook-{name}`, which the leading process writes. A name: NONE → ACTIVE → NONE. */

/** Each is a list of which one must fit; a text that ends with * matches all that begin so. */
type WebhookFilter = { readonly types?: readonly string[]; readonly streams?: readonly string[]; readonly actors?: readonly string[] };

export type WebhookTarget = WebhookFilter & {
  readonly name: string;
  /** https, without a user and a fragment. */
  readonly url: string;
  /** PEM of the authorities that its certificate is issued by; those of the system when not given. */
  readonly caCertificates?: string;
};

/** `secretId`: 16 random bytes, hex, from which the keystore makes the secret that signs. */
export type WebhookEvent =
  | { readonly type: 'WebhookAdded'; readonly data: WebhookTarget & Deed & { readonly secretId: string; readonly afterPosition: number } }
  | { readonly type: 'WebhookSecretRotated'; readonly data: Named & { readonly secretId: string; readonly formerUntil: IsoTime } }
  | { readonly type: 'WebhookRemoved'; readonly data: Named }
  /** Positions of events that could not be delivered: tried again, or given up. */
  | { readonly type: 'WebhookReplayOrdered'; readonly data: Named & { readonly positions: readonly number[] } }
  | {
      readonly type: 'WebhookDeadLettersDropped';
      readonly data: Named & { readonly positions: readonly number[]; readonly reason: string };
    };

/** What the leading process records of a webhook: as seldom as will do, since each is an event itself. */
export type WebhookProgressEvent =
  /** Everything up to this position is delivered, or a dead letter, or not asked for. */
  | { readonly type: 'WebhookAdvanced'; readonly data: { readonly name: string; readonly position: number } }
  /** The event at this position was given up after so many attempts; the webhook goes on after it. */
  | { readonly type: 'WebhookDeadLettered'; readonly data: DeadLetter & { readonly name: string } }
  | { readonly type: 'WebhookDeadLetterDelivered'; readonly data: { readonly name: string; readonly position: number } }
  | { readonly type: 'WebhookReplayFailed'; readonly data: { readonly name: string; readonly position: number; readonly failure: string } };

export type DeadLetter = {
  readonly position: number;
  readonly eventId: string;
  readonly eventType: string;
  readonly attempts: number;
  readonly failure: string;
};
type Deed = { readonly by: Actor; readonly at: IsoTime };
type Named = Deed & { readonly name: string };

type Common = { readonly name: string; readonly by: Actor; readonly now: IsoTime };
export type WebhookCommand =
  | ({ readonly type: 'AddWebhook'; readonly secretId: string; readonly afterPosition: number } & Common & WebhookTarget)
  | ({ readonly type: 'RotateWebhookSecret'; readonly secretId: string } & Common)
  | ({ readonly type: 'RemoveWebhook' } & Common)
  | ({ readonly type: 'ReplayDeadLetters'; readonly positions: readonly number[] } & Common)
  | ({ readonly type: 'DropDeadLetters'; readonly positions: readonly number[]; readonly reason: string } & Common);

/** `former`: the secret before, with which is signed too, so that the receiver can change over. */
export type Webhook = WebhookTarget & {
  readonly secretId: string;
  readonly former?: { readonly secretId: string; readonly until: IsoTime };
  readonly afterPosition: number;
  readonly addedBy: Actor;
  readonly addedAt: IsoTime;
};
export type WebhooksState = { readonly byName: ReadonlyMap<string, Webhook> };

export const webhooksStream = 'webhooks';
export const webhookStream = (name: string): string => `webhook-${name}`;
/** Of a project: each reads the log by itself. */
export const maxWebhooks = 20;
/** That stand at one webhook; then it stops, and what comes waits in the log. */
export const maxDeadLetters = 1000;
/** How long both secrets sign after a change. */
const formerSecretMs = 24 * 3_600_000;

/** @throws NusecError NOT_FOUND */
export const webhookOf = ({ byName }: WebhooksState, name: string): Webhook =>
  byName.get(name) ?? refuse('NOT_FOUND', `there is no webhook ${name}`);

function decide(command: WebhookCommand, state: WebhooksState): readonly WebhookEvent[] {
  const { name, by, now: at } = command;
  switch (command.type) {
    case 'AddWebhook':
      return add(command, state);
    case 'RotateWebhookSecret': {
      const { secretId } = webhookOf(state, name);
      const formerUntil = timeAfter(at, formerSecretMs);
      return command.secretId === secretId
        ? []
        : [{ type: 'WebhookSecretRotated', data: { name, secretId: command.secretId, formerUntil, by, at } }];
    }
    case 'RemoveWebhook':
      return state.byName.has(name) ? [{ type: 'WebhookRemoved', data: { name, by, at } }] : [];
    case 'ReplayDeadLetters': {
      const { positions } = command;
      webhookOf(state, name);
      return positions.length === 0 ? [] : [{ type: 'WebhookReplayOrdered', data: { name, positions, by, at } }];
    }
    case 'DropDeadLetters': {
      const { positions, reason } = command;
      webhookOf(state, name);
      return positions.length === 0 ? [] : [{ type: 'WebhookDeadLettersDropped', data: { name, positions, reason, by, at } }];
    }
  }
}

/** The same again changes nothing: its secret was shown once. */
function add({ type: _, now: at, ...wish }: Of<WebhookCommand, 'AddWebhook'>, { byName }: WebhooksState): readonly WebhookEvent[] {
  const known = byName.get(wish.name);
  if (known?.secretId === wish.secretId && contentText(targetOf(known)) === contentText(targetOf(wish))) return [];
  if (known !== undefined) refuse('CONFLICT', `there is a webhook ${wish.name} already`);
  if (byName.size >= maxWebhooks) refuse('RATE_LIMITED', `at most ${maxWebhooks} webhooks`);
  return [{ type: 'WebhookAdded', data: { ...wish, at } }];
}

const targetOf = ({ name, url, types, streams, actors, caCertificates }: WebhookTarget) => ({
  ...{ name, url, types, streams, actors, caCertificates },
});

function evolve(state: WebhooksState, event: WebhookEvent): WebhooksState {
  switch (event.type) {
    case 'WebhookAdded': {
      const { by: addedBy, at: addedAt, ...rest } = event.data;
      return { byName: new Map(state.byName).set(rest.name, { ...rest, addedBy, addedAt }) };
    }
    case 'WebhookSecretRotated': {
      const { name, secretId, formerUntil: until } = event.data;
      const known = state.byName.get(name);
      if (known === undefined) return state;
      return { byName: new Map(state.byName).set(name, { ...known, secretId, former: { secretId: known.secretId, until } }) };
    }
    case 'WebhookRemoved': {
      const byName = new Map(state.byName);
      byName.delete(event.data.name);
      return { byName };
    }
    default:
      return state;
  }
}

export const webhook: Decider<WebhookCommand, WebhooksState, WebhookEvent> = { initialState: { byName: new Map() }, decide, evolve };
