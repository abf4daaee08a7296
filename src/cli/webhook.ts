import type { Command } from 'commander';
import { counted } from '../counted.ts';
import { ask, listAll, listOnce, readText, type ServerOptions, subcommandsOf } from './client.ts';
import { act, type Confirmed, withConfirmation } from './confirm.ts';
import { type FilterOptions, filterOf } from './logFilter.ts';
import { httpsUrl, wholeNumber } from './options.ts';
import { print, record, table } from './output.ts';

/** `nusec webhook`: systems that are told of events as they come. */

type Row = {
  readonly name: string;
  readonly url: string;
  readonly types?: readonly string[];
  readonly position: number;
  readonly behindEvents: number;
  readonly deadLetters: number;
};
type Letter = {
  readonly position: number;
  readonly eventId: string;
  readonly eventType: string;
  readonly attempts: number;
  readonly failure: string;
  readonly isOrdered: boolean;
};
type Outcome = { readonly isDelivered: boolean; readonly status?: number; readonly failure?: string };
type Add = ServerOptions & FilterOptions & { readonly receiverCa?: string; readonly after?: number };
type Letters = ServerOptions & { readonly event?: readonly string[] };

const exampleEvent = '0199f5d2-8c1e-7c3a-9d10-6f2b1c4e7a55';
const pathOf = (name: string): string => `/v1/webhooks/${encodeURIComponent(name)}`;

export function registerWebhook(program: Command): void {
  const webhook = program.command('webhook').description('send events to other systems, signed and in order');
  const command = subcommandsOf(webhook);
  command(
    'add <name> <url>',
    'send events to a system from now on; its secret is shown this once',
    'add mes https://mes.example.com/nusec --type "Unit*" JobClosed',
    'add siem https://siem.example.com/in --receiver-ca ./siem-ca.pem --after 0',
  )
    .option('--type <type...>', 'only these types of events; a * at the end stands for anything')
    .option('--stream <stream...>', 'only these streams')
    .option('--by <actor...>', 'only what they did, such as operator:alice')
    .option('--receiver-ca <file>', 'authorities of the receiver, PEM; without it those of the server’s system')
    .option('--after <position>', 'begin after this position of the log, not now', wholeNumber(0, Number.MAX_SAFE_INTEGER))
    .action(add);
  command('list', 'all of them, with how far each is', 'list', 'list --json').action(list);
  command('show <name>', 'one, with what it could not deliver', 'show mes').action(show);
  command('test <name>', 'send a message now, and see what the receiver answers', 'test mes').action(test);
  command('replay <name>', 'try again what could not be delivered', 'replay mes', `replay mes --event ${exampleEvent}`)
    .option('--event <id...>', 'only these events')
    .action(replay);
  withConfirmation(
    command('drop <name>', 'give up what could not be delivered; it stays in the log', 'drop mes --reason "the order was cancelled" --yes'),
  )
    .requiredOption('--reason <text>', 'for people; it is recorded')
    .option('--event <id...>', 'only these events')
    .action(drop);
  command('rotate <name>', 'another secret; for a day the one before signs too', 'rotate mes').action(rotate);
  withConfirmation(command('remove <name>', 'send nothing more', 'remove mes --yes')).action(remove);
}

async function add(name: string, url: string, { type, stream, by, receiverCa, after, ...options }: Add): Promise<void> {
  const { types, streams, by: actors } = filterOf({ ...(type && { type }), ...(stream && { stream }), ...(by && { by }) });
  const caCertificates = receiverCa && readText(receiverCa, 'authorities of the receiver');
  const wish = { name, url: httpsUrl(url), types, streams, actors, caCertificates, after };
  printSecret(options, await ask<Record<string, unknown>>(options, 'POST', '/v1/webhooks', wish));
}

const rotate = async (name: string, options: ServerOptions): Promise<void> =>
  printSecret(options, await ask<Record<string, unknown>>(options, 'POST', `${pathOf(name)}/secret`));

const printSecret = (options: ServerOptions, answer: Record<string, unknown>): void =>
  print(options, answer, `${record(answer)}\n\nThe secret is shown this once: the receiver checks signatures with it.`);

async function list(options: ServerOptions): Promise<void> {
  const webhooks = await listOnce<Row>(options, '/v1/webhooks', 'webhooks');
  const rows = webhooks.map(one => [one.name, one.url, one.types?.join(', ') ?? 'all', one.position, one.behindEvents, one.deadLetters]);
  print(options, webhooks, table(['NAME', 'URL', 'TYPES', 'POSITION', 'BEHIND', 'DEAD LETTERS'], rows));
}

async function show(name: string, options: ServerOptions): Promise<void> {
  const one = await ask<Record<string, unknown>>(options, 'GET', pathOf(name));
  const letters = await listAll<Letter>(options, `${pathOf(name)}/dead-letters`, 'deadLetters');
  const rows = letters.map(({ position, eventId, eventType, attempts, failure, isOrdered }) => [
    position,
    eventId,
    eventType,
    attempts,
    isOrdered ? 'is tried again' : failure,
  ]);
  const text = `${record(one)}\n\n${table(['POSITION', 'EVENT', 'TYPE', 'ATTEMPTS', 'FAILURE'], rows)}`;
  print(options, { ...one, letters }, text);
}

async function test(name: string, options: ServerOptions): Promise<void> {
  const outcome = await ask<Outcome>(options, 'POST', `${pathOf(name)}/test`);
  print(options, outcome, record(outcome));
  if (!outcome.isDelivered) process.exitCode = 1;
}

async function replay(name: string, { event, ...options }: Letters): Promise<void> {
  const answer = await ask<{ events: number }>(options, 'POST', `${pathOf(name)}/replay`, { events: event });
  print(options, answer, `tried again: ${counted(answer.events, 'event')}`);
}

async function drop(name: string, { event, reason, ...options }: Letters & Confirmed & { reason: string }): Promise<void> {
  const deed = { what: `What ${name} could not be told is given up.`, name, method: 'POST', path: `${pathOf(name)}/drop` } as const;
  await act<{ events: number }>(options, { ...deed, body: { events: event, reason } }, answer =>
    print(options, answer, `given up: ${counted(answer.events, 'event')}`),
  );
}

const remove = (name: string, options: Confirmed): Promise<void> =>
  act(options, { what: `Nothing more is sent to ${name}.`, name, method: 'DELETE', path: pathOf(name) }, () =>
    print(options, { name }, 'removed'),
  );
