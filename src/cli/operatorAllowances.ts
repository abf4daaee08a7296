import { type Command, Option } from 'commander';
import { effects } from '../domain/effects.ts';
import { ask, type Look, listOnce, lookOf, type ServerOptions, subcommandsOf, withLook } from './client.ts';
import { unitCount } from './options.ts';
import { print, record, styled, table } from './output.ts';

type Allowance = {
  readonly id: string;
  readonly effect: string;
  readonly count: number;
  readonly note: string;
  readonly proposedBy: string;
  readonly proposedAt: string;
  readonly approvedBy?: string;
  readonly used: number;
  readonly name?: string;
};
type Wish = ServerOptions & { effect: string; count: number; note: string };

const example = '5f0c9e3a7d1b4e6f8a2c4d6e8f0a1b3c';

/** `nusec operator allowance`: more than one person may do to devices alone within a day. */
export function registerAllowances(operator: Command): void {
  const allowance = operator
    .command('allowance')
    .description('more than one person may do alone within a day: one asks, another allows it');
  const command = subcommandsOf(allowance, 'operator allowance');
  command(
    'propose',
    'ask for more; another officer approves it within a day, then it is good for a day',
    'propose --effect revoke --count 40 --note "returned batch 7"',
    'propose --effect decommissionWithoutReceipt --count 1 --note "lost in transport"',
  )
    .addOption(new Option('--effect <effect>', 'what is to be done').choices(effects).makeOptionMandatory())
    .requiredOption('--count <n>', 'devices beyond those that you may do alone', unitCount)
    .requiredOption('--note <text>', 'which devices, and why: for the one who approves')
    .action(async ({ effect, count, note, ...options }: Wish) => {
      const made = await ask<Allowance>(options, 'POST', '/v1/operators/me/allowances', { effect, count, note });
      const name = made.proposedBy.replace(/^operator:/, '');
      print(options, made, `${record(made)}\n\nanother officer: ${styled('bold', `nusec operator allowance approve ${name} ${made.id}`)}`);
    });
  command('list [name]', 'of one person; those that wait for approval when nobody is named', 'list', 'list olga --json').action(list);
  withLook(command('approve <name> <id>', 'allow what another person has asked for', `approve olga ${example}`)).action(
    async (name: string, id: string, options: ServerOptions & Look) => {
      const done = await ask<Allowance>(options, 'POST', `/v1/operators/${name}/allowances/${id}/approve`, lookOf(options));
      print(options, done, record(done));
    },
  );
}

async function list(name: string | undefined, options: ServerOptions): Promise<void> {
  const path = name === undefined ? '/v1/allowances' : `/v1/operators/${name}/allowances`;
  const allowances = await listOnce<Allowance>(options, path, 'allowances');
  const rows = allowances.map(one => [one.id, one.proposedBy, one.effect, `${one.used}/${one.count}`, one.approvedBy, one.note]);
  print(options, allowances, table(['ALLOWANCE', 'FOR', 'EFFECT', 'USED', 'APPROVED BY', 'NOTE'], rows));
}
