import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { NusecError } from '../errors.ts';
import { ask, type Look, lookOf, type ServerOptions, subcommandsOf, withLook, withServer } from './client.ts';
import { print, progress, record, table } from './output.ts';

type Bulk = {
  readonly id: string;
  readonly status: string;
  readonly reason: string;
  readonly note: string;
  readonly count: number;
  readonly done: number;
  readonly revoked: number;
  readonly failed: number;
};
type Propose = ServerOptions & {
  line?: readonly string[];
  all?: boolean;
  job?: string;
  uid?: readonly string[];
  reason: string;
  note: string;
};

const path = '/v1/bulk-revocations';
const example = '5f0c9e3a7d1b4e6f8a2c4d6e8f0a1b3c';
const pollMs = 500;

/** `nusec revoke`: many devices together, with two people. One device: `nusec device revoke`. */
export function registerRevoke(program: Command): void {
  const revoke = program.command('revoke').description('revoke many devices together: one person proposes, another approves');
  const command = subcommandsOf(revoke);
  command(
    'propose',
    'say which devices and why',
    'propose --line meter valve --reason keyCompromise --note "weak generator in boot ROM 3"',
    `propose --job ${example} --reason cACompromise --note "programmer stolen"`,
  )
    .option('--line <line...>', 'all devices of these product lines')
    .option('--all', 'all devices')
    .option('--job <job>', 'all devices of a job')
    .option('--uid <uid...>', 'these devices')
    .requiredOption(
      '--reason <reason>',
      'as in RFC 5280: keyCompromise, cACompromise, superseded, cessationOfOperation, privilegeWithdrawn …',
    )
    .requiredOption('--note <text>', 'for people')
    .action(propose);
  withLook(command('approve <id>', 'approve what another has proposed, and follow it to its end', `approve ${example}`)).action(
    async (id: string, options: ServerOptions & Look) => {
      await ask(options, 'POST', `${path}/${id}/approve`, lookOf(options));
      await follow(id, options);
    },
  );
  command('devices <id>', 'which devices, one UID per line', `devices ${example}`).action(async (id: string, options: ServerOptions) => {
    const text = new TextDecoder().decode(await withServer(options, server => server.bytes('GET', `${path}/${id}/devices`)));
    print(options, { uids: text.split('\n').filter(line => line !== '') }, text.trimEnd());
  });
  command('cancel <id>', 'revoke nothing more', `cancel ${example}`).action(async (id: string, options: ServerOptions) => {
    const bulk = await ask<Bulk>(options, 'POST', `${path}/${id}/cancel`, {});
    print(options, bulk, record(bulk));
  });
  command('list', 'all of them, newest first', 'list --json').action(async (options: ServerOptions) => {
    const { bulkRevocations } = await ask<{ bulkRevocations: readonly Bulk[] }>(options, 'GET', path);
    const rows = bulkRevocations.map(({ id, status, reason, done, count, note }) => [id, status, reason, `${done}/${count}`, note]);
    print(options, bulkRevocations, table(['ID', 'STATUS', 'REASON', 'DONE', 'NOTE'], rows));
  });
}

async function propose({ line, all, job, uid, reason, note, ...options }: Propose): Promise<void> {
  const chosen = [
    all && { all },
    line !== undefined && { lines: line },
    job !== undefined && { jobId: job },
    uid !== undefined && { uids: uid },
  ].filter(Boolean);
  if (chosen.length !== 1) throw new NusecError('BAD_REQUEST', 'say which devices: --line, --all, --job or --uid');
  const bulk = await ask<Bulk>(options, 'POST', path, { selection: chosen[0], reason, note });
  print(options, bulk, `${record(bulk)}\n\nanother person: nusec revoke approve ${bulk.id}`);
}

async function follow(id: string, options: ServerOptions): Promise<void> {
  let last = '';
  for (;;) {
    const bulk = await ask<Bulk>(options, 'GET', `${path}/${id}`);
    if (bulk.status !== 'RUNNING') return print(options, bulk, record(bulk));
    const text = `${bulk.done} of ${bulk.count}`;
    if (text !== last && !options.json) progress(text);
    last = text;
    await sleep(pollMs);
  }
}
