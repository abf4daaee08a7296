import { type Command, Option } from 'commander';
import { roles, type Scope, scopeText } from '../domain/roles.ts';
import { ask, type Look, listOnce, lookOf, type ServerOptions, subcommandsOf, withLook } from './client.ts';
import { act, type Confirmed, withConfirmation } from './confirm.ts';
import { registerAllowances } from './operatorAllowances.ts';
import { registerRecovery } from './operatorRecovery.ts';
import { registerSessions } from './operatorSessions.ts';
import { makeToken, registerTokens } from './operatorTokens.ts';
import { print, record, styled, table } from './output.ts';

type Person = { readonly name: string; readonly roles: readonly string[]; readonly scope?: Scope; readonly expiresAt: string };
export type Change = {
  readonly id: string;
  readonly status: string;
  readonly change: { readonly type: string; readonly name: string; readonly roles?: readonly string[]; readonly scope?: Scope };
  readonly proposedBy: string;
  readonly proposedAt: string;
  readonly notBefore?: string;
  readonly approvedBy?: string;
};
type Answer = { readonly proposal?: Change; readonly name?: string; readonly token?: string };
type Wish = ServerOptions & {
  role: readonly string[];
  line?: readonly string[];
  job?: readonly string[];
  site?: readonly string[];
  tokenSha256?: string;
  subject?: string;
  everywhere?: boolean;
};

const path = '/v1/operators';
const changes = '/v1/operator-changes';
const example = '5f0c9e3a7d1b4e6f8a2c4d6e8f0a1b3c';
const hash = 'e3b0c442…7852b855';

/** `nusec operator`: people, their roles and tokens. A change of people who may approve the work of others needs two administrators. */
export function registerOperator(program: Command): void {
  const operator = program
    .command('operator')
    .description('people: roles, tokens; those who may approve are changed by two administrators');
  const command = subcommandsOf(operator);
  command('list', 'everybody with roles and the end of the token', 'list', 'list --json').action(list);
  operator
    .command('new-token <file>')
    .description('make a token for yourself (mode 600), and print the SHA-256 that the administrators need')
    .option('--json', 'print JSON instead of text')
    .addHelpText('after', '\nExamples:\n  $ nusec operator new-token ~/.nusec/carol.token')
    .action(async (file: string, options: { json?: boolean }) => {
      const tokenSha256 = await makeToken(file);
      print(
        options,
        { file, tokenSha256 },
        `${record({ token: file, 'SHA-256': tokenSha256 })}\n\ntell both administrators the SHA-256; keep the file`,
      );
    });
  withRoles(
    command(
      'add <name>',
      'add a person; one who may approve is only proposed',
      `add carol --role productionPlanner --token-sha256 ${hash}`,
      'add lino --role lineOperator --site "Example CM"',
      'add rita --role releaseManager --subject 248289761001',
      'add mes --role service --role productionPlanner --site "Example CM"',
    ),
  )
    .option('--token-sha256 <sha256>', 'of the token that the person has made (nusec operator new-token)')
    .option('--subject <sub>', 'instead of a token: who the person is for the OpenID provider')
    .action((name: string, wish: Wish) =>
      send(wish, 'POST', path, { name, ...rolesOf(wish), ...tokenOf(wish), ...(wish.subject !== undefined && { subject: wish.subject }) }),
    );
  withRoles(
    command(
      'roles <name>',
      'give a person other roles, in place of all that it has; the scope stays unless another is given',
      'roles carol --role productionPlanner --role releaseManager',
      'roles lino --role lineOperator --site "Example CM"',
      'roles rita --role auditor --everywhere',
    ),
  )
    .addOption(new Option('--everywhere', 'drop the scope that the person has').conflicts(['line', 'job', 'site']))
    .action((name: string, wish: Wish) =>
      send(wish, 'PUT', `${path}/${name}/roles`, { ...rolesOf(wish), ...(wish.everywhere && { scope: null }) }),
    );
  command('reset <name>', 'give a person another token', `reset carol --token-sha256 ${hash}`)
    .option('--token-sha256 <sha256>', 'of the token that the person has made (nusec operator new-token)')
    .action((name: string, wish: Wish) => send(wish, 'POST', `${path}/${name}/token`, tokenOf(wish)));
  withConfirmation(command('remove <name>', 'remove a person; the name is never used again', 'remove carol', 'remove carol --yes')).action(
    (name: string, options: Confirmed) =>
      act<Answer | undefined>(
        options,
        { what: `${name} is removed, or proposed to be removed.`, name, method: 'DELETE', path: `${path}/${name}` },
        answer => showAnswer(options, answer),
      ),
  );
  command(
    'rotate <file>',
    'write another token of your own to FILE; the present one (--token-file) ends with this',
    'rotate ~/.nusec/alice-2.token',
  ).action(async (file: string, options: ServerOptions) => {
    await ask(options, 'POST', `${path}/me/token`, { tokenSha256: await makeToken(file) });
    print(options, { file }, record({ 'your token from now on': file }));
  });
  registerTokens(operator);
  registerSessions(operator);
  registerChange(operator);
  registerAllowances(operator);
  registerRecovery(operator);
}

const withRoles = (command: Command): Command =>
  command
    .addOption(new Option('--role <role...>', 'what the person may do').choices(roles).makeOptionMandatory())
    .option('--line <line...>', 'only these product lines')
    .option('--job <job...>', 'only these jobs')
    .option('--site <site...>', 'only what is at these contract manufacturers');

function rolesOf({ role, line, job, site }: Wish) {
  const scope: Scope = { ...(line && { lines: line }), ...(job && { jobs: job }), ...(site && { sites: site }) };
  return { roles: role, ...(Object.keys(scope).length > 0 && { scope }) };
}

const tokenOf = ({ tokenSha256 }: Wish) => (tokenSha256 === undefined ? {} : { tokenSha256 });

async function send(options: ServerOptions, method: string, where: string, body?: unknown): Promise<void> {
  showAnswer(options, await ask<Answer | undefined>(options, method, where, body));
}

function showAnswer(options: ServerOptions, answer: Answer = {}): void {
  const { proposal, token } = answer;
  const next = proposal && `${show(proposal)}\n\nanother administrator: ${styled('bold', `nusec operator change approve ${proposal.id}`)}`;
  if (next !== undefined) print(options, proposal, next);
  else print(options, answer, token === undefined ? 'done' : record({ 'the token, shown this once': token }));
}

async function list(options: ServerOptions): Promise<void> {
  const operators = await listOnce<Person>(options, path, 'operators');
  const rows = operators.map(({ name, roles: held, scope, expiresAt }) => [
    name,
    held.join(', '),
    scopeText(scope),
    expiresAt.slice(0, 10),
  ]);
  print(options, operators, table(['NAME', 'ROLES', 'ONLY', 'TOKEN ENDS'], rows));
}

export const show = ({ change, ...known }: Change): string => record({ ...known, change: whatOf(change) });

/** `setRoles lino auditor, only lines meter`: all that an approval approves, but for the token. */
function whatOf({ type, name, roles: held, scope }: Change['change']): string {
  if (held === undefined) return `${type} ${name}`;
  const limits = scopeText(scope);
  return `${type} ${name} ${held.join(' ')}, ${limits === '' ? 'everywhere' : `only ${limits}`}`;
}

function registerChange(operator: Command): void {
  const change = operator.command('change').description('proposed changes of people');
  const command = subcommandsOf(change, 'operator change');
  command('list', 'all of them, newest first', 'list').action(async (options: ServerOptions) => {
    const all = await listOnce<Change>(options, changes, 'changes');
    const rows = all.map(one => [one.id, one.status, whatOf(one.change), one.proposedBy, one.approvedBy]);
    print(options, all, table(['CHANGE', 'STATUS', 'WHAT', 'PROPOSED BY', 'APPROVED BY'], rows));
  });
  withLook(
    command(
      'approve <id>',
      'approve what another administrator has proposed',
      `approve ${example}`,
      `approve ${example} --token-sha256 ${hash}`,
    ),
  )
    .option('--token-sha256 <sha256>', 'as the person told you: refused when the proposal says another')
    .action(async (id: string, options: Wish & Look) => {
      const done = await ask<Change>(options, 'POST', `${changes}/${id}/approve`, { ...tokenOf(options), ...lookOf(options) });
      print(options, done, show(done));
    });
  command('withdraw <id>', 'take a proposal back, or object to a recovery', `withdraw ${example}`).action(
    async (id: string, options: ServerOptions) => {
      const withdrawn = await ask<Change>(options, 'POST', `${changes}/${id}/withdraw`);
      print(options, withdrawn, show(withdrawn));
    },
  );
}
