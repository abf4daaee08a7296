import type { Command } from 'commander';
import type { ProgrammerClient } from '../../gateway-device/programmer/client.ts';
import { fromHex, toHex } from '../bytes.ts';
import { counted } from '../counted.ts';
import { formatVersion } from '../domain/version.ts';
import { type ErrorCode, NusecError } from '../errors.ts';
import { DevAuthError, type DevAuthReason } from '../production/devauth/error.ts';
import { readBytes } from './client.ts';
import { configLines } from './configLines.ts';
import { type Confirmation, confirmed, printDryRun, withConfirmation } from './confirm.ts';
import { print, record, table } from './output.ts';

type Options = { programmer: string; json?: boolean };

/** `nusec package`: what the contract manufacturer does with the OEM's package. The tool only carries it: it cannot open it (R62, R108, T16). */
export function registerPackage(program: Command): void {
  const packages = program.command('package').description('production packages, at the contract manufacturer');
  withProgrammer(
    packages.command('import').description('hand a package over to the programmer, which checks and opens it').argument('<file>', '*.njp'),
  )
    .addHelpText(
      'after',
      `
The programmer refuses a package that is damaged, forged, for another programmer or was imported before, and never says which.

Examples:
  $ nusec package import meter-2026-07.njp --programmer localhost:7101`,
    )
    .action(async (file: string, options: Options) => {
      const bytes = readBytes(file, 'package');
      const { sendPackage } = await import('../../gateway-device/programmer/client.ts');
      const { packageId, jobId, count } = await withClient(options, client => sendPackage(client, bytes), {
        policy: ['PACKAGE_REFUSED', refusedPackage],
        'bad-state': underWay,
      });
      const result = { packageId: toHex(packageId), jobId: toHex(jobId), count };
      print(options, result, record({ package: result.packageId, job: result.jobId, 'units to build': count }));
    });
  packages
    .command('inspect')
    .description('what a package file shows to everybody, its ids and hash; and what the programmer that has imported it finds inside')
    .argument('<file>', '*.njp')
    .option('--programmer <host:port>', 'serial link of the programmer that has imported it')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      '\nExamples:\n  $ nusec package inspect meter-2026-07.njp --json\n  $ nusec package inspect meter-2026-07.njp --programmer localhost:7101',
    )
    .action(async (file: string, { programmer, ...options }: { programmer?: string; json?: boolean }) => {
      const bytes = readBytes(file, 'package');
      const { packageHead } = await import('../production/package.ts');
      const { sha256Hex } = await import('../digest.ts');
      const { packageId, epoch } = packageHead(bytes);
      const facts = { packageId: toHex(packageId), kekEpoch: epoch, bytes: bytes.length, sha256: sha256Hex(bytes) };
      if (programmer === undefined) return print(options, facts, record(facts));
      const content = await contentOf({ programmer }, packageId);
      print(options, { ...facts, ...content }, [record(facts), '', ...contentLines(content)].join('\n'));
    });
  withProgrammer(packages.command('status').description('what the programmer has: jobs and the units left'))
    .addHelpText('after', '\nExamples:\n  $ nusec package status --programmer localhost:7101')
    .action(async (options: Options) => {
      const status = await withClient(options, client => client.request('status', {}));
      const jobs = status.jobs.map(({ jobId, remaining, sequence }) => ({ jobId: toHex(jobId), remaining, sequence }));
      const rows = jobs.map(job => [job.jobId, job.remaining, job.sequence]);
      const unitsUnderWay = (status.unitUids ?? []).map(toHex);
      const units = unitsUnderWay.map(uid => `unit under way: ${uid}\n`).join('');
      const text = `${table(['job', 'units left', 'sequence'], rows)}${units && `\n${units.trimEnd()}`}`;
      print(options, { uid: toHex(status.uid), kekEpoch: status.kekEpoch, jobs, unitsUnderWay }, text);
    });
  withConfirmation(
    withProgrammer(
      packages.command('give-up').description('give a unit up whose chip does not come back').argument('<uid>', 'UID of the chip'),
    ),
  )
    .addHelpText('after', '\nExamples:\n  $ nusec package give-up 00112233445566778899aabbccddeeff --programmer localhost:7101')
    .action(async (uid: string, { yes, dryRun, ...options }: Options & Confirmation) => {
      const what = `Unit ${uid} is voided; past OTP it counts as scrap.`;
      const unit = { uid: idOf(uid) };
      const giveUp = (more: { dryRun?: true }) =>
        withClient(options, client => client.request('giveUp', { ...unit, ...more }), {
          'bad-arg': ['NOT_FOUND', `unit ${uid} is not under way here; nusec package status shows which are`],
          'bad-state': ['STATE', 'this unit is finished; the server has to confirm it, which the programmer asks for by itself'],
        });
      if (dryRun) {
        const { isScrap } = await giveUp({ dryRun });
        return printDryRun(options, what, [`a void unit that counts as ${isScrap ? 'scrap' : 'not built'}`], { uid, scrap: isScrap });
      }
      if (!(await confirmed({ yes }, what, uid))) return;
      const { isScrap } = await giveUp({});
      print(options, { uid, scrap: isScrap }, record({ unit: uid, 'counts as': isScrap ? 'scrap' : 'not built' }));
    });
  withConfirmation(
    withProgrammer(
      packages.command('end').description('end a job here: its images and the rest of its count are erased').argument('<job>', 'job id'),
    ),
  )
    .addHelpText('after', '\nExamples:\n  $ nusec package end 0f1e2d3c4b5a69788796a5b4c3d2e1f0 --programmer localhost:7101')
    .action(async (job: string, { yes, dryRun, ...options }: Options & Confirmation) => {
      const what = `The images of job ${job} and the rest of its count are erased.`;
      const ended = { jobId: idOf(job) };
      const end = (more: { dryRun?: true }) =>
        withClient(options, client => client.request('zeroise', { ...ended, ...more }), {
          'bad-arg': ['NOT_FOUND', `no package of job ${job} was imported here; nusec package status shows the jobs`],
          'bad-state': underWay,
        });
      if (dryRun) {
        const { erasedCount } = await end({ dryRun });
        return printDryRun(options, what, [`the end of the job, with ${counted(erasedCount, 'unit')} given up`], {
          jobId: job,
          erasedCount,
        });
      }
      if (!(await confirmed({ yes }, what, job))) return;
      const { erasedCount } = await end({});
      print(options, { jobId: job, erasedCount }, record({ job, 'units given up': erasedCount }));
    });
}

/** What is inside, from the programmer that has imported it. @throws NusecError NOT_FOUND */
async function contentOf(options: Options, packageId: Uint8Array) {
  const ask = (client: ProgrammerClient) => client.request('inspect', { packageId });
  const inside = await withClient(options, ask).catch((error: unknown) => {
    if (error instanceof DevAuthError && error.reason === 'bad-state')
      throw new NusecError('NOT_FOUND', 'this programmer has not imported this package, or a newer one has taken its place');
    throw error;
  });
  const { imageIds } = await import('../production/fields.ts');
  const images = inside.images.map(({ id, version }) => ({ image: id === imageIds.bl2 ? 'bl2' : 'app', version: formatVersion(version) }));
  const { count, sequence, unitData, configWords } = inside;
  const expiresAt = new Date(inside.expiresAtSeconds * 1000).toISOString();
  return { jobId: toHex(inside.jobId), count, sequence, expiresAt, images, unitData, ...(configWords && { configWords }) };
}

function contentLines({ images, unitData, configWords, ...facts }: Awaited<ReturnType<typeof contentOf>>): readonly string[] {
  return [
    record(facts),
    ...images.map(({ image, version }) => `${image} ${version}`),
    ...unitData.map(({ name, destination }) => `unit data: ${name} (${destination})`),
    ...(configWords ? configLines(configWords) : []),
  ];
}

const withProgrammer = (command: Command): Command =>
  command
    .requiredOption('--programmer <host:port>', 'serial link of the programmer (or the path of a UART)')
    .option('--json', 'print JSON instead of text');

type Refusal = readonly [code: ErrorCode, text: string];
/** The programmer has one code for whatever it does not like about a package (R62). */
const refusedPackage =
  'the programmer refuses this package and does not say why: it is damaged, for another programmer, expired, imported before, or a newer one was made; ask the OEM for the newest one';
const underWay: Refusal = [
  'STATE',
  'a unit of this job is under way: put its chip back and run nusec produce, or give it up; nusec package status shows which it is',
];
const busy: Refusal = ['STATE', 'the programmer works on a unit: wait until it is done, then run the same command'];

/** Connects for one command. @param refusals what it means when the programmer refuses it */
async function withClient<T>(
  { programmer }: Options,
  use: (client: ProgrammerClient) => Promise<T>,
  refusals: { readonly [Reason in DevAuthReason]?: Refusal } = {},
): Promise<T> {
  const { connectProgrammer } = await import('../../gateway-device/programmer/client.ts');
  const client = await connectProgrammer(programmer);
  try {
    return await use(client);
  } catch (error) {
    const refusal = error instanceof DevAuthError ? { busy, ...refusals }[error.reason] : undefined;
    if (refusal) throw new NusecError(...refusal, { cause: error });
    throw error;
  } finally {
    await client.close();
  }
}

function idOf(text: string): Uint8Array {
  if (!/^[0-9a-f]{32}$/.test(text)) throw new NusecError('BAD_REQUEST', 'a job id or UID is 32 lower-case hex digits');
  return fromHex(text);
}
