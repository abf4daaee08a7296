import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { ask, type ServerOptions, withServer, withServerOptions } from './client.ts';
import { print, record, table } from './output.ts';

type AttestationProgress = {
  readonly line: string;
  readonly inService: number;
  readonly attested: number;
  readonly left: number;
  readonly overdue: boolean;
  readonly overdueDevices: number;
  readonly everyHours?: number;
  readonly results: { readonly passed: number; readonly failed: number; readonly unproven: number; readonly unsupported: number };
};
type Attest = ServerOptions & { line?: string; start: boolean; watch?: boolean };

const lookEveryMs = 2000;

/** `nusec attest`: all devices of a line. */
export function registerAttest(program: Command): void {
  withServerOptions(
    program
      .command('attest')
      .description(
        'let every connected device of a line prove what it runs, within the budget of the line; without a line: how far the schedules are',
      )
      .option('--line <line>', 'product line; when not given, how far every line with a schedule is')
      .option('--no-start', 'only look how far the schedule is')
      .option('--watch', 'show the progress until every device in service was attested; Ctrl-C ends the watching alone')
      .addHelpText(
        'after',
        '\nExamples:\n  $ nusec attest --line meter --watch\n  $ nusec attest --line meter --no-start --json\n  $ nusec attest',
      ),
  ).action(attest);
}

async function attest({ line, start, watch, ...options }: Attest): Promise<void> {
  if (line === undefined) return showSchedules(options);
  await withServer(options, async server => {
    const look = () => server.json<AttestationProgress>('GET', `/v1/lines/${line}/attestation`);
    let progress = start ? await server.json<AttestationProgress>('POST', `/v1/lines/${line}/attest`, {}) : await look();
    if (!watch) return print(options, progress, shown(progress));
    for (let before = ''; ; await sleep(lookEveryMs), progress = await look()) {
      const text = options.json ? JSON.stringify(progress) : oneLine(progress);
      if (text !== before) process.stdout.write(`${text}\n`);
      before = text;
      if (progress.left > 0) continue;
      // It is over: nothing is to be watched any more.
      process.exitCode = 0;
      return;
    }
  });
}

async function showSchedules(options: ServerOptions): Promise<void> {
  const { schedules } = await ask<{ schedules: readonly AttestationProgress[] }>(options, 'GET', '/v1/attestations/schedules');
  const rows = schedules.map(({ line, everyHours = '', attested, inService, left, results, overdueDevices, overdue }) => [
    line,
    everyHours,
    `${attested}/${inService}`,
    left,
    results.failed,
    overdueDevices,
    overdue ? 'overdue' : 'in time',
  ]);
  print(options, schedules, table(['LINE', 'EVERY HOURS', 'ATTESTED', 'LEFT', 'FAILED', 'OVERDUE', 'STATE'], rows));
}

const shown = ({ results, ...progress }: AttestationProgress): string => record({ ...progress, ...results });

const oneLine = ({ attested, inService, left, results }: AttestationProgress): string =>
  `${attested}/${inService} attested, ${left} left · ${results.passed} passed, ${results.failed} failed, ${results.unsupported} unsupported, ${results.unproven} unproven`;
