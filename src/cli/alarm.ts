import type { Command } from 'commander';
import { ask, listAll, type ServerOptions, subcommandsOf } from './client.ts';
import { oneOf, wholeNumber } from './options.ts';
import { print, record, table } from './output.ts';

/** `nusec alarm`: what needs a person, and what people did about it. */

type AlarmCase = {
  readonly id: string;
  readonly state: string;
  readonly code: string;
  readonly subject: string;
  readonly detail: string;
  readonly raised: number;
  readonly lastAt: string;
  readonly assignedTo?: string;
};
type List = ServerOptions & { state: string; code?: string; subject?: string; assignedTo?: string };

const states = ['open', 'acknowledged', 'silenced', 'all'];
const example = '148f3636cfa2c0dac2794f4ebae4200c';
const maxHours = 720;

export function registerAlarm(program: Command): void {
  const alarm = program.command('alarm').description('alarms: list, acknowledge, assign, silence');
  const command = subcommandsOf(alarm);
  command(
    'list',
    'alarms of one code about one subject as one case, newest first',
    'list',
    'list --state all --code CLONE_SUSPECTED --json',
  )
    .option('--state <state>', `which: ${states.join(', ')}`, oneOf(states), 'open')
    .option('--code <code>', 'only this code')
    .option('--subject <subject>', 'only about this')
    .option('--assigned-to <name>', 'only those that this person looks after')
    .action(list);
  command('show <id>', 'one case', `show ${example}`).action((id: string, options: ServerOptions) => act(options, 'GET', id));
  command('acknowledge <id>', 'close a case until it is raised again', `acknowledge ${example} --note "both boards are ours"`)
    .requiredOption('--note <text>', 'what was done about it')
    .action((id: string, { note, ...options }: ServerOptions & { note: string }) => act(options, 'POST', `${id}/acknowledge`, { note }));
  command('assign <id>', 'say who looks after it', `assign ${example} --to bob`)
    .requiredOption('--to <name>', 'a person')
    .action((id: string, { to, ...options }: ServerOptions & { to: string }) => act(options, 'POST', `${id}/assign`, { to }));
  command('silence <id>', 'keep it out of the open ones for a while', `silence ${example} --hours 8 --reason "line 3 is rebuilt"`)
    .requiredOption('--hours <n>', `for how long, at most ${maxHours}`, wholeNumber(1, maxHours))
    .requiredOption('--reason <text>', 'why')
    .action((id: string, { hours, reason, ...options }: ServerOptions & { hours: number; reason: string }) =>
      act(options, 'POST', `${id}/silence`, { hours, reason }),
    );
}

async function list({ state, code, subject, assignedTo, ...options }: List): Promise<void> {
  const filter = { state: state === 'all' ? undefined : state, code, subject, assignedTo };
  const cases = await listAll<AlarmCase>(options, '/v1/alarm-cases', 'cases', filter);
  const rows = cases.map(one => [one.id, one.state, one.code, one.subject, one.raised, one.lastAt, one.assignedTo, one.detail]);
  print(options, cases, table(['ID', 'STATE', 'CODE', 'ABOUT', 'RAISED', 'NEWEST', 'ASSIGNED', 'DETAIL'], rows));
}

async function act(options: ServerOptions, method: string, path: string, body?: object): Promise<void> {
  const answer = await ask<Record<string, unknown>>(options, method, `/v1/alarm-cases/${path}`, body);
  print(options, answer, record(answer));
}
