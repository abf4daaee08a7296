import { createReadStream } from 'node:fs';
import type { Command } from 'commander';
import { seriesKinds } from '../domain/seriesValues.ts';
import { NusecError } from '../errors.ts';
import { ask, listAll, requireFile, type ServerOptions, subcommandsOf, withServer } from './client.ts';
import { oneOf, unitCount } from './options.ts';
import { print, record, table } from './output.ts';

type Segment = { readonly count: number; readonly from?: string; readonly listSha256?: string };
type Series = {
  readonly name: string;
  readonly kind: string;
  readonly count: number;
  readonly taken: number;
  readonly segments: readonly Segment[];
};
type Add = ServerOptions & { from?: string; count?: number; list?: string };

/** `nusec series`: serial numbers, MAC addresses, labels and calibration data, of which each unit gets one for itself. */
export function registerSeries(program: Command): void {
  const series = program
    .command('series')
    .description('values that each unit gets for itself: serial numbers, MAC addresses, labels, calibration');
  const command = subcommandsOf(series);
  command(
    'create <name>',
    'begin a series; jobs name it (nusec job create --unit-data)',
    'create meter-serial --kind serial',
    'create hall-mac --kind mac --json',
  )
    .requiredOption('--kind <kind>', `one of ${seriesKinds.join(', ')}`, oneOf(seriesKinds))
    .action(async (name: string, { kind, ...options }: ServerOptions & { kind: string }) =>
      show(options, await ask<Series>(options, 'POST', '/v1/series', { name, kind })),
    );
  command(
    'add <name>',
    'add values: a range, or a list',
    'add meter-serial --from SN-000001 --count 5000',
    'add hall-mac --from 02:00:5e:10:00:00 --count 4096',
    'add meter-trim --list trim.txt',
  )
    .option('--from <value>', 'first value of a range: its last digits are counted, a MAC address is a number')
    .option('--count <n>', 'values in the range', unitCount)
    .option('--list <file>', 'one value per line; calibration data as hex')
    .action(add);
  command('list', 'all series, and how many values are left', 'list', 'list --json').action(async (options: ServerOptions) => {
    const all = await listAll<Series>(options, '/v1/series', 'series');
    const rows = all.map(({ name, kind, count, taken }) => [name, kind, count, taken, count - taken]);
    print(options, all, table(['SERIES', 'KIND', 'VALUES', 'TAKEN', 'LEFT'], rows));
  });
}

async function add(name: string, { from, count, list, ...options }: Add): Promise<void> {
  const path = `/v1/series/${name}`;
  if (list !== undefined && from === undefined && count === undefined) {
    requireFile(list, 'list');
    const open = () => createReadStream(list);
    return show(options, await withServer(options, server => server.upload<Series>('PUT', `${path}/list`, open, 'text/plain')));
  }
  if (from === undefined || count === undefined || list !== undefined)
    throw new NusecError('BAD_REQUEST', 'give --from with --count, or --list');
  show(options, await ask<Series>(options, 'POST', `${path}/range`, { from, count }));
}

function show(options: ServerOptions, of: Series): void {
  const rows = of.segments.map(segment => [segment.from ?? 'list', segment.count, segment.listSha256]);
  const text = record({ series: of.name, kind: of.kind, values: of.count, taken: of.taken });
  print(options, of, rows.length === 0 ? text : `${text}\n\n${table(['FROM', 'VALUES', 'SHA-256'], rows)}`);
}
