import type { Command } from 'commander';
import { agentWords } from '../userAgent.ts';
import { listOnce, type ServerOptions, subcommandsOf } from './client.ts';
import { act, type Confirmed, withConfirmation } from './confirm.ts';
import { print, table } from './output.ts';

type Session = {
  readonly id: string;
  readonly use: string;
  readonly way: string;
  readonly at: string;
  readonly until: string;
  readonly lastUsedAt?: string;
  readonly address?: string;
  readonly agent?: string;
  readonly isThis: boolean;
};

const example = '5f0c9e3a7d1b4e6f8a2c4d6e8f0a1b3c';
const ownOr = (name: string | undefined): string => `/v1/operators/${encodeURIComponent(name ?? 'me')}/sessions`;

/** `nusec operator session`: browsers at the console and commands that `nusec login` has signed in. */
export function registerSessions(operator: Command): void {
  const session = operator.command('session').description('where you are signed in: browsers, and commands by nusec login');
  const command = subcommandsOf(session, 'operator session');
  command('list [name]', 'your own, or those of another person, newest first', 'list', 'list carol --json').action(list);
  withConfirmation(command('end <id>', 'sign out of one, everywhere and for good', `end ${example}`, `end ${example} --of carol --yes`))
    .option('--of <name>', 'of another person: for administrators')
    .action((id: string, { of, ...options }: Confirmed & { of?: string }) =>
      act(options, { what: `The session ${id} ends.`, name: id, method: 'DELETE', path: `${ownOr(of)}/${id}` }, () =>
        print(options, { id }, 'done'),
      ),
    );
}

async function list(name: string | undefined, options: ServerOptions): Promise<void> {
  const sessions = await listOnce<Session>(options, ownOr(name), 'sessions');
  const rows = sessions.map(({ id, use, way, at, until, lastUsedAt, address, agent, isThis }) => [
    id,
    isThis ? `${use}, this one` : use,
    way,
    at,
    lastUsedAt,
    until,
    address,
    agent === undefined ? undefined : agentWords(agent),
  ]);
  print(options, sessions, table(['ID', 'USE', 'BY', 'BEGUN', 'LAST USED', 'ENDS', 'FROM', 'WITH'], rows));
}
