import type { Command } from 'commander';
import { ask, type ServerOptions, withServerOptions } from './client.ts';
import { wholeNumber } from './options.ts';
import { print, record, table } from './output.ts';

type Line = {
  readonly line: string;
  readonly vendorUuid: string;
  readonly classUuid: string;
  readonly counterMaximum: number;
  readonly rollbackFloor: number;
};

const counter = wholeNumber(0, 255);

/** `nusec line`: product lines. */
export function registerLine(program: Command): void {
  const line = program.command('line').description('product lines: their firmware identity, counter budget and device CA');
  withServerOptions(
    line
      .command('create')
      .description('define a product line and its device-issuing CA')
      .argument('<line>', 'name: a–z, 0–9, . and -')
      .option('--counter-maximum <n>', 'highest security counter its chips can hold (at most 255)', counter)
      .option('--rollback-floor <n>', 'lowest security counter that may still be installed', counter)
      .addHelpText(
        'after',
        '\nExamples:\n  $ nusec line create meter\n  $ nusec line create meter --counter-maximum 60 --rollback-floor 3 --json',
      ),
  ).action(async (name: string, options: ServerOptions & { counterMaximum?: number; rollbackFloor?: number }) => {
    const { counterMaximum, rollbackFloor } = options;
    const created = await ask<Line>(options, 'POST', '/v1/lines', { line: name, counterMaximum, rollbackFloor });
    print(options, created, record(created));
  });
  withServerOptions(
    line
      .command('list')
      .description('all product lines')
      .addHelpText('after', '\nExamples:\n  $ nusec line list\n  $ nusec line list --json'),
  ).action(async (options: ServerOptions) => {
    const { lines } = await ask<{ lines: readonly Line[] }>(options, 'GET', '/v1/lines');
    const rows = lines.map(one => [one.line, one.rollbackFloor, one.counterMaximum, one.vendorUuid, one.classUuid]);
    print(options, lines, table(['LINE', 'FLOOR', 'MAXIMUM', 'VENDOR', 'CLASS'], rows));
  });
}
