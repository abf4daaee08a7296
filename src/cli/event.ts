import type { Command } from 'commander';
import type { ExportEntry } from '../evidence/logExport.ts';
import { type ServerOptions, shownOf, subcommandsOf, withServer } from './client.ts';
import { type FilterOptions, filterOf, type LogPage, pageQuery } from './logFilter.ts';
import { wholeNumber } from './options.ts';
import { print, progress, table } from './output.ts';

/** `nusec event`: who did what, for those who look at people rather than at proofs; `nusec log` has the proofs. */

type List = ServerOptions & FilterOptions & { readonly after: number; readonly limit: number };

const rowsAtOnce = 500;
const maxRows = 100_000;
const shownChars = 80;

export function registerEvent(program: Command): void {
  const command = subcommandsOf(program.command('event').description('what happened: who, what, where'));
  command(
    'list',
    'events that fit, oldest first',
    "list --by 'operator:*' --limit 50",
    "list --type 'Certificate*' --stream 'device-*' --json",
    'list --by operator:alice -o csv',
  )
    .option('--by <pattern...>', 'who, such as operator:alice or operator:*')
    .option('--type <pattern...>', 'what, such as CertificateRevoked or Operator*')
    .option('--stream <pattern...>', 'where, such as job-*')
    .option('--after <position>', 'only after this position of the log', wholeNumber(0, Number.MAX_SAFE_INTEGER), 0)
    .option('--limit <n>', 'at most so many', wholeNumber(1, maxRows), maxRows)
    .action(list);
}

async function list({ after, limit, type, stream, by, ...options }: List): Promise<void> {
  const filter = filterOf({ ...(type && { type }), ...(stream && { stream }), ...(by && { by }) });
  const found: ExportEntry[] = [];
  let [next, head] = [after, after + 1];
  const entries = await withServer(options, async server => {
    while (next < head && found.length < limit) {
      const query = pageQuery({ after: next, limit: Math.min(rowsAtOnce, limit - found.length) }, filter);
      query.set('readable', 'true');
      const page = await server.json<LogPage>('GET', `/v1/log/entries?${query}`);
      found.push(...page.entries);
      [next, head] = [page.next, page.head];
    }
    return shownOf(options, server, '/v1/log/entries', 'entries', found);
  });
  const rows = entries.map(one => [one.position, one.at, one.by, one.type, one.stream, JSON.stringify(one.data).slice(0, shownChars)]);
  print(options, entries, table(['NO.', 'TIME', 'WHO', 'WHAT', 'WHERE', 'DETAILS'], rows));
  if (found.length === limit && next < head) progress(`there may be more: go on with --after ${next}`);
}
