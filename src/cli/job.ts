import { createReadStream, writeFileSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import { jobStatuses } from '../domain/jobEvents.ts';
import { NusecError } from '../errors.ts';
import { type ConfigWords, parseConfigWords } from '../production/configWords.ts';
import type { SignedReport } from '../production/report.ts';
import { ask, listAll, requireFile, rootCertificate, type ServerOptions, subcommandsOf, withServer } from './client.ts';
import { configLines } from './configLines.ts';
import { act, type Confirmed, withConfirmation } from './confirm.ts';
import { oneOf, unitCount } from './options.ts';
import { print, record, styled, table } from './output.ts';

type Share = {
  readonly programmer: string;
  readonly status: string;
  readonly quota: number;
  readonly committed: number;
  readonly voided: number;
  readonly scrapped: number;
  readonly remaining: number;
};
type Job = {
  readonly jobId: string;
  readonly line: string;
  readonly status: string;
  readonly plannedCount: number;
  readonly unitData?: readonly UnitDataField[];
  readonly configWords?: ConfigWords;
  readonly board?: readonly Share[];
  readonly discrepancies?: readonly { readonly kind: string; readonly programmer?: string; readonly detail: string }[];
};
type Create = ServerOptions & {
  line: string;
  count: number;
  scrap?: number;
  requireUidList?: boolean;
  site?: string;
  unitData?: UnitDataField[];
  configWords?: ConfigWords;
};
type Allot = ServerOptions & { programmer: string; count: number; scrap?: number };
type Thaw = ServerOptions & { programmer: string; reason?: string; approve?: string; content?: string };
type ThawProposal = { readonly id: string; readonly contentSha256: string };
type Export = ServerOptions & { programmer: string; out: string; replace?: boolean };

const uploadPieceBytes = 1024 * 1024;
const example = '874a667189da472d09d34276d97e812f';

/** `nusec job`: production jobs, from the plan to the reconciliation. */
export function registerJob(program: Command): void {
  const job = program
    .command('job')
    .description('production jobs: plan, bind firmware, release by a second person, share out, export packages');
  const command = subcommandsOf(job);
  command(
    'create',
    'plan a job',
    'create --line meter --count 1000 --scrap 20 --site "Example CM"',
    'create --line meter --count 50 --require-uid-list --json',
    'create --line meter --count 50 --config-words ffffff7f,ffffffff,ffffffff,5a5affff',
    'create --line meter --count 50 --unit-data serial=meter-serial --unit-data sticker=meter-sticker:report',
  )
    .requiredOption('--line <line>', 'product line')
    .requiredOption('--count <n>', 'units that may be built', unitCount)
    .option('--scrap <n>', 'units that may be scrapped beyond the count', unitCount)
    .option('--site <site>', 'the manufacturer that builds it, as programmers are shipped to it: nobody else')
    .option('--require-uid-list', 'release only with a list of the chips that may be built')
    .option(
      '--unit-data <name=series[:destination]>',
      'a value of a series for each unit, several times: sealed (default) to the device with the application, plain before the lock, report nowhere else',
      unitDataOption,
    )
    .option('--config-words <words>', 'CONFIG0 to CONFIG3 of the chips, four times 8 hex digits with commas between', configOption)
    .action(async ({ line, count, scrap, requireUidList, site, unitData, configWords, ...options }: Create) =>
      change(options, 'POST', '/v1/jobs', {
        line,
        plannedCount: count,
        scrapAllowance: scrap,
        requireUidList,
        site,
        unitData,
        configWords,
      }),
    );
  command(
    'bind <job> <release...>',
    'bind published releases: one bootloader, one application',
    `bind ${example} 148f3636cfa2c0dac2794f4ebae4200c`,
  ).action(async (id: string, releases: readonly string[], options: ServerOptions) => {
    for (const releaseId of releases.slice(0, -1)) await ask(options, 'POST', `/v1/jobs/${id}/firmware`, { releaseId });
    await change(options, 'POST', `/v1/jobs/${id}/firmware`, { releaseId: releases.at(-1) });
  });
  command(
    'uids <job> <file>',
    'attach the chips that may be built: one UID per line, up to ten million, gzip too',
    `uids ${example} vendor-lot-7.txt`,
    `uids ${example} vendor-lot-8.txt.gz`,
  ).action(async (id: string, file: string, options: ServerOptions) => {
    requireFile(file, 'UID list');
    const open = () => createReadStream(file, { highWaterMark: uploadPieceBytes });
    show(options, await withServer(options, server => server.upload<Job>('PUT', `/v1/jobs/${id}/uids`, open, 'text/plain')));
  });
  command('release <job>', 'release a job: not by those who worked on it', `release ${example}`)
    .option('--content <sha256>', 'contentSha256 of the job that you looked at: refused when it has changed since')
    .action(async (id: string, { content, ...options }: ServerOptions & { content?: string }) =>
      change(options, 'POST', `/v1/jobs/${id}/release`, { contentSha256: content }),
    );
  command(
    'allot <job>',
    'give a programmer its share, or raise it',
    `allot ${example} --programmer 00112233445566778899aabbccddeeff --count 500 --scrap 10`,
  )
    .requiredOption('--programmer <uid>', 'UID of the programmer')
    .requiredOption('--count <n>', 'units it may build in all', unitCount)
    .option('--scrap <n>', 'units it may scrap', unitCount)
    .action(async (id: string, { programmer, count, scrap, ...options }: Allot) =>
      change(options, 'POST', `/v1/jobs/${id}/allotments`, { programmer, count, scrapAllowance: scrap }),
    );
  command(
    'export <job>',
    'write the production package of a programmer; it may travel by e-mail',
    `export ${example} --programmer 00112233445566778899aabbccddeeff --out meter.njp`,
  )
    .requiredOption('--programmer <uid>', 'UID of the programmer')
    .requiredOption('--out <file>', 'package file, *.njp')
    .option(
      '--replace',
      'make a new package that supersedes the last one, instead of the same bytes again; one that has expired is always replaced',
    )
    .action(exportPackage);
  registerThaw(command);
  registerReports(command);
  registerStops(command);
}

type UnitDataField = { readonly name: string; readonly series: string; readonly destination: string };

function unitDataOption(text: string, before: UnitDataField[] = []): UnitDataField[] {
  const [, name, series, destination = 'sealed'] = /^([^=:]+)=([^=:]+)(?::(plain|sealed|report))?$/.exec(text) ?? [];
  if (name === undefined || series === undefined)
    throw new InvalidArgumentError('It takes name=series, or name=series:plain, :sealed or :report.');
  return [...before, { name, series, destination }];
}

function configOption(text: string): ConfigWords {
  const words = parseConfigWords(text);
  if (words === undefined) throw new InvalidArgumentError('It takes four words of 8 hex digits with commas between.');
  return words;
}

type CommandOf = (usage: string, description: string, ...examples: readonly string[]) => Command;

function registerThaw(command: CommandOf): void {
  command(
    'thaw <job>',
    'let a frozen share go on; a second person approves it, unless it was a cloned key',
    `thaw ${example} --programmer 00112233445566778899aabbccddeeff --reason "the programmer was found"`,
    `thaw ${example} --programmer 00112233445566778899aabbccddeeff --approve 148f3636cfa2c0dac2794f4ebae4200c`,
  )
    .requiredOption('--programmer <uid>', 'UID of the programmer')
    .option('--reason <text>', 'why it may go on; goes into the record')
    .option('--approve <id>', 'approve what another person has proposed')
    .option('--content <sha256>', 'contentSha256 of the proposal that you looked at: refused when it is another one')
    .action(thaw);
}

async function thaw(id: string, { programmer, reason, approve, content, ...options }: Thaw): Promise<void> {
  const path = `/v1/jobs/${id}/allotments/${programmer}`;
  if (approve !== undefined) return change(options, 'POST', `${path}/thaw-proposals/${approve}/approve`, { contentSha256: content });
  if (reason === undefined) throw new NusecError('BAD_REQUEST', 'give --reason, or --approve with the id of a proposal');
  try {
    await change(options, 'POST', `${path}/thaw`, { reason });
  } catch (error) {
    if (!(error instanceof NusecError) || error.code !== 'STATE') throw error;
    const { id: proposal, contentSha256 } = await ask<ThawProposal>(options, 'POST', `${path}/thaw-proposals`, { reason });
    const next = `nusec job thaw ${id} --programmer ${programmer} --approve ${proposal} --content ${contentSha256}`;
    print(options, { proposal, contentSha256 }, `proposed; another person approves it: ${next}`);
  }
}

function registerReports(command: CommandOf): void {
  command('show <job>', 'one job and its job board', `show ${example}`).action(async (id: string, options: ServerOptions) =>
    change(options, 'GET', `/v1/jobs/${id}`),
  );
  command('list', 'all jobs', 'list', 'list --status RUNNING --json')
    .option('--status <status>', `only jobs in this state: ${jobStatuses.join(', ')}`, oneOf(jobStatuses))
    .action(async (options: ServerOptions & { status?: string }) => {
      const jobs = await listAll<Job>(options, '/v1/jobs', 'jobs', { status: options.status });
      print(
        options,
        jobs,
        table(
          ['JOB', 'LINE', 'STATUS', 'PLANNED'],
          jobs.map(one => [one.jobId, one.line, one.status, one.plannedCount]),
        ),
      );
    });
  command(
    'status <job>',
    'how a job goes on: yield, rate, reasons, and every unit with its state and firmware versions',
    `status ${example}`,
    `status ${example} --json`,
    `status ${example} --out units.csv`,
  )
    .option('--out <file>', 'write every unit to a file instead, as CSV')
    .action(status);
  command('reconciliation <job>', 'the signed report: counts, ledgers and devices compared', `reconciliation ${example} --json`).action(
    async (id: string, options: ServerOptions) => {
      const signed = await ask<SignedReport>(options, 'GET', `/v1/jobs/${id}/reconciliation`);
      const { fetchTrustBundle } = await import('../../gateway-device/link/httpClient.ts');
      const { verifyReport } = await import('../production/report.ts');
      const { signingKeysOf } = await import('../production/trustBundle.ts');
      const { bundle } = await fetchTrustBundle(options.server, rootCertificate(options));
      const report = await verifyReport(signed, signingKeysOf(bundle, 'report'));
      const { verdict, findings } = JSON.parse(report) as { verdict: string; findings: NonNullable<Job['discrepancies']> };
      const rows = findings.map(({ kind, programmer, detail }) => [kind, programmer, detail]);
      print(options, signed, `${styled('bold', verdict)}\n${table(['FINDING', 'PROGRAMMER', 'DETAIL'], rows)}`);
    },
  );
}

type Progress = {
  readonly committed: number;
  readonly voided: number;
  readonly scrapped: number;
  readonly open: number;
  readonly yield: number | null;
  readonly unitsPerHour: number | null;
  readonly reasons: readonly { readonly status: string; readonly reason: string; readonly units: number }[];
};
type Status = Progress & {
  readonly status: string;
  readonly plannedCount: number;
  readonly bl2Version?: string;
  readonly appVersion?: string;
  readonly byProgrammer: readonly (Progress & { readonly programmer: string })[];
};
type Unit = {
  readonly uid: string;
  readonly status: string;
  readonly bl2Version: string | null;
  readonly appVersion: string | null;
  readonly programmer: string;
  readonly finishedAt: string | null;
  readonly values: Readonly<Record<string, string>>;
  readonly reason: string | null;
};

async function status(id: string, { out, ...options }: ServerOptions & { out?: string }): Promise<void> {
  if (out !== undefined) {
    writeFileSync(out, await withServer(options, server => server.bytes('GET', `/v1/jobs/${id}/status.csv`)));
    return print(options, { file: out }, `written to ${out}`);
  }
  const of = await ask<Status>(options, 'GET', `/v1/jobs/${id}/status`);
  const units = await listAll<Unit>(options, `/v1/jobs/${id}/units`, 'units');
  const percent = (share: number | null): string => (share === null ? '–' : `${(share * 100).toFixed(1)} %`);
  const shares = of.byProgrammer.map(each => [
    ...[each.programmer, each.committed, each.voided, each.scrapped, each.open, percent(each.yield), each.unitsPerHour],
  ]);
  const names = [...new Set(units.flatMap(({ values }) => Object.keys(values)))];
  const rows = units.map(unit => [
    ...[unit.uid, unit.status, unit.bl2Version, unit.appVersion, unit.programmer, unit.finishedAt, unit.reason],
    ...names.map(name => unit.values[name]),
  ]);
  const text = [
    record({
      status: of.status,
      planned: of.plannedCount,
      built: of.committed,
      yield: percent(of.yield),
      'units per hour': of.unitsPerHour,
    }),
    record({ bootloader: of.bl2Version ?? '–', application: of.appVersion ?? '–' }),
    ...of.reasons.map(({ status: lost, reason, units: count }) => `${count} × ${lost.toLowerCase()}: ${reason}`),
    '',
    table(['PROGRAMMER', 'COMMITTED', 'VOIDED', 'SCRAPPED', 'OPEN', 'YIELD', 'UNITS/H'], shares),
    '',
    table(['UID', 'STATUS', 'BL2', 'APP', 'PROGRAMMER', 'FINISHED', 'REASON', ...names.map(name => name.toUpperCase())], rows),
  ];
  print(options, { ...of, units }, text.join('\n'));
}

function registerStops(command: CommandOf): void {
  for (const [name, description] of [
    ['suspend', 'stop production'],
    ['cancel', 'give up a job that was never released'],
  ] as const) {
    command(`${name} <job>`, description, `${name} ${example} --reason "wrong firmware"`)
      .requiredOption('--reason <text>', 'why')
      .action(async (id: string, options: ServerOptions & { reason: string }) =>
        change(options, 'POST', `/v1/jobs/${id}/${name}`, { reason: options.reason }),
      );
  }
  command('resume <job>', 'go on with production', `resume ${example}`).action(async (id: string, options: ServerOptions) =>
    change(options, 'POST', `/v1/jobs/${id}/resume`, {}),
  );
  const close = command(
    'close <job>',
    'end and reconcile a job; every programmer must have zeroised it',
    `close ${example}`,
    `close ${example} --without-receipt "programmer lost" --yes`,
  );
  withConfirmation(close)
    .option('--without-receipt <reason>', 'close shares that no programmer has zeroised, and say why')
    .action(async (id: string, { withoutReceipt, ...options }: Confirmed & { withoutReceipt?: string }) => {
      const deed = { what: `The job ${id} ends and is reconciled.`, name: id, method: 'POST', path: `/v1/jobs/${id}/close` } as const;
      await act<Job>(options, { ...deed, body: { withoutReceipt } }, job => show(options, job));
    });
}

async function exportPackage(id: string, { programmer, out, replace, ...options }: Export): Promise<void> {
  const body = new TextEncoder().encode(JSON.stringify({ replace: replace === true }));
  const path = `/v1/jobs/${id}/allotments/${encodeURIComponent(programmer)}/export`;
  const file = await withServer(options, server => server.bytes('POST', path, body, 'application/json'));
  writeFileSync(out, file);
  print(options, { file: out, bytes: file.length }, `${file.length} bytes written to ${out}`);
}

const change = async (options: ServerOptions, method: string, path: string, body?: unknown): Promise<void> =>
  show(options, await ask<Job>(options, method, path, body));

function show(options: ServerOptions, job: Job): void {
  const { board, discrepancies = [], unitData = [], configWords, ...rest } = job;
  const shares = (board ?? []).map(one => [one.programmer, one.status, one.quota, one.committed, one.voided, one.scrapped, one.remaining]);
  const text = [
    record(rest),
    ...(configWords ? configLines(configWords) : []),
    ...unitData.map(({ name, series, destination }) => `${name}: from series ${series}, ${destination}`),
    ...(board ? ['', table(['PROGRAMMER', 'STATUS', 'QUOTA', 'COMMITTED', 'VOIDED', 'SCRAPPED', 'REMAINING'], shares)] : []),
    ...discrepancies.map(({ kind, detail }) => styled('red', `${kind}: ${detail}`)),
  ];
  print(options, job, text.join('\n'));
}
