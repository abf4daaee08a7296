import { rmSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { roles, type Scope, scopeText } from '../domain/roles.ts';
import { NusecError } from '../errors.ts';
import { ask, listOnce, type ServerOptions, subcommandsOf } from './client.ts';
import { act, type Confirmed, withConfirmation } from './confirm.ts';
import { unitCount } from './options.ts';
import { print, record, table } from './output.ts';

type Change = { readonly id: string };
type Credential = {
  readonly id: string;
  readonly kind: string;
  readonly label: string;
  readonly expiresAt?: string;
  readonly roles?: readonly string[];
  readonly scope?: Scope;
  readonly lastUsedAt?: string;
};
type Wish = ServerOptions & {
  days: number;
  role?: readonly string[];
  line?: readonly string[];
  job?: readonly string[];
  site?: readonly string[];
};

const example = '5f0c9e3a7d1b4e6f8a2c4d6e8f0a1b3c';

/** A new token in a file of mode 600. @returns its SHA-256, hex @throws when the file exists */
export const makeToken = async (file: string): Promise<string> => (await import('./tokenFile.ts')).writeToken(file);

/** A token that the server has refused is of no use; one whose fate is not known stays. */
function dropUnused(file: string, error: unknown): never {
  const isRefused = error instanceof NusecError && !['SERVER_UNREACHABLE', 'INTERNAL', 'CONFLICT'].includes(error.code);
  if (isRefused) rmSync(file);
  throw error;
}

const ownOr = (name: string | undefined): string => `/v1/operators/${encodeURIComponent(name ?? 'me')}/credentials`;

/** `nusec operator token`: further tokens of one's own, for programs and machines, each by a name. */
export function registerTokens(operator: Command): void {
  const token = operator.command('token').description('named tokens of your own, for programs: each may do less, and ends by itself');
  const command = subcommandsOf(token, 'operator token');
  command('list [name]', 'your own, or those of another person, with their last use', 'list', 'list mes --json').action(list);
  command(
    'add <label> <file>',
    'make one and write it to FILE (mode 600)',
    'add "build server" ~/.nusec/build.token --days 30 --role releaseManager --line meter',
    'add prometheus ./scrape.token --role service',
    'add mes ./mes.token --job 148f3636cfa2c0dac2794f4ebae4200c --days 30',
  )
    .option('--days <n>', 'how long it lives, 365 at most', unitCount, 90)
    .addOption(new Option('--role <role...>', 'only these of your roles').choices(roles))
    .option('--line <line...>', 'only these product lines')
    .option('--job <job...>', 'only these jobs')
    .option('--site <site...>', 'only what is at these contract manufacturers')
    .action(async (label: string, file: string, { days, role, line, job, site, ...options }: Wish) => {
      const scope = { ...(line && { lines: line }), ...(job && { jobs: job }), ...(site && { sites: site }) };
      const limits = { ...(role && { roles: role }), ...(Object.keys(scope).length > 0 && { scope }) };
      const body = { label, days, ...limits, tokenSha256: await makeToken(file) };
      const { id } = await ask<{ id: string }>(options, 'POST', '/v1/operators/me/tokens', body).catch(error => dropUnused(file, error));
      print(options, { id, file }, record({ token: id, file }));
    });
  withConfirmation(
    command(
      'end <id>',
      'end one before its time; an authenticator of somebody who approves needs two administrators',
      `end ${example}`,
      `end ${example} --of mes --yes`,
    ),
  )
    .option('--of <name>', 'of another person: for administrators')
    .action(async (id: string, { of, ...options }: Confirmed & { of?: string }) => {
      const deed = { what: `The token ${id} ends.`, name: id, method: 'DELETE', path: `${ownOr(of)}/${id}` } as const;
      await act<{ proposal?: Change } | undefined>(options, deed, answer => {
        if (answer?.proposal === undefined) return print(options, { id }, 'done');
        print(
          options,
          answer.proposal,
          `proposed: another administrator approves it (nusec operator change approve ${answer.proposal.id})`,
        );
      });
    });
}

async function list(name: string | undefined, options: ServerOptions): Promise<void> {
  const credentials = await listOnce<Credential>(options, ownOr(name), 'credentials');
  const rows = credentials.map(({ id, kind, label, expiresAt, roles: held, scope, lastUsedAt }) => [
    id,
    kind,
    label,
    [held?.join(', '), scopeText(scope)].filter(Boolean).join('; '),
    expiresAt?.slice(0, 10),
    lastUsedAt,
  ]);
  print(options, credentials, table(['ID', 'KIND', 'NAME', 'ONLY', 'ENDS', 'LAST USED'], rows));
}
