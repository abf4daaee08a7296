import type { Command } from 'commander';
import { connectProgrammer, type ProgrammerClient } from '../../gateway-device/programmer/client.ts';
import { fromHex } from '../bytes.ts';
import { errorCodes, NusecError } from '../errors.ts';
import { wholeNumber } from './options.ts';
import { styled } from './output.ts';
import { followRun } from './programmerRun.ts';

type Options = { programmer: string; targetSerial: string; targetDebug: string; job?: string; count: number; json?: boolean };

/** `nusec produce`: starts production on the programmer and shows how it goes (R70, R108). All checks and all keys are in the programmer. */
export function registerProduce(program: Command): void {
  program
    .command('produce')
    .description('produce a unit: the programmer provisions the target on its wires')
    .requiredOption('--programmer <host:port>', 'serial link of the programmer (or the path of a UART)')
    .requiredOption('--target-serial <host:port>', 'serial link of the target, as the programmer reaches it')
    .requiredOption('--target-debug <host:port>', 'debug port of the target, as the programmer reaches it')
    .option('--job <id>', 'which job, when the chip could belong to several')
    .option('--count <n>', 'how many units, one after the other on the same wires', wholeNumber(1, 0xffff_ffff), 1)
    .option('--json', 'print JSON lines instead of text')
    .addHelpText(
      'after',
      `
Exit status 0: committed. Otherwise 1 and a stable code, such as COUNT_EXHAUSTED or UID_NOT_LISTED. A server that is away or in trouble, and a job
that is suspended, are waited for. A unit that is not finished is kept: put its chip back and run the same command, or go on with another chip;
nusec package status lists it.

Examples:
  $ nusec produce --programmer localhost:7101 --target-serial localhost:7001 --target-debug localhost:7002
  $ nusec produce --programmer /dev/ttyACM0 --target-serial /dev/ttyUSB0 --target-debug localhost:7002 --json`,
    )
    .action(produce);
}

async function produce(options: Options): Promise<void> {
  const client = await connectProgrammer(options.programmer);
  try {
    for (let unit = 0; unit < options.count; unit += 1) await produceOne(client, options);
  } finally {
    await client.close();
  }
}

async function produceOne(client: ProgrammerClient, { targetSerial, targetDebug, job, json }: Options): Promise<void> {
  const jobId = job === undefined ? {} : { jobId: jobIdOf(job) };
  await client.request('produce', { serialAddress: targetSerial, debugAddress: targetDebug, ...jobId });
  const { outcome, remaining } = await followRun(client, json);
  finish(outcome, remaining, json);
}

/** @throws NusecError with the code that ended the run */
function finish(outcome: string, remaining: number | undefined, json: boolean | undefined): void {
  if (outcome !== 'OK') {
    const code = errorCodes.find(known => known === outcome) ?? 'INTERNAL';
    throw new NusecError(code, explain(code));
  }
  const left = remaining ?? 0;
  process.stdout.write(
    json
      ? `${JSON.stringify({ outcome, remaining: left })}\n`
      : `${styled('green', 'committed')}, ${left} ${left === 1 ? 'unit' : 'units'} left\n`,
  );
}

function explain(code: string): string {
  if (code === 'COUNT_EXHAUSTED') return 'the count is used up; more units need a new package from the OEM';
  if (['LINK_FAILED', 'LINK_TIMEOUT'].includes(code)) return 'the chip does not answer; if a unit was begun, it is kept: put the chip back';
  return 'the steps above say why; a unit that was begun and not voided is kept, and the same command resumes it';
}

function jobIdOf(text: string): Uint8Array {
  if (!/^[0-9a-f]{32}$/.test(text)) throw new NusecError('BAD_REQUEST', 'a job id is 32 lower-case hex digits');
  return fromHex(text);
}
