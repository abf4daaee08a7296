import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { ProgrammerClient } from '../../gateway-device/programmer/client.ts';
import type { Bin, ProgressEntry } from '../../gateway-device/programmer/protocol.ts';
import { toHex } from '../bytes.ts';
import { errorCodes, NusecError } from '../errors.ts';
import { styled } from './output.ts';

/** Follows what a programmer does on its own, step by step. */

const pollMs = 100;

export type RunEnd = {
  /** `OK` or the stable code that ended it. */
  readonly outcome: string;
  readonly detail?: string;
  readonly bin?: Bin;
  readonly uid?: string;
  readonly remaining?: number;
  /** Unit data by name. */
  readonly values?: Readonly<Record<string, string>>;
};

/** Reports each step until the run has ended. */
export async function followRun(client: ProgrammerClient, runId: number, show: (entry: ProgressEntry) => void): Promise<RunEnd> {
  for (let since = 0; ; ) {
    const { next, entries, done, outcome = 'INTERNAL', uid, values, ...end } = await client.request('progress', { since, runId });
    entries.forEach(show);
    since = next;
    const ofUnit = values && { values: Object.fromEntries(values.map(({ name, value }) => [name, value])) };
    if (done) return { outcome, ...end, ...(uid !== undefined && { uid: toHex(uid) }), ...ofUnit };
    if (entries.length === 0) await sleep(pollMs);
  }
}

const colours = { done: 'green', failed: 'red', waiting: 'yellow' } as const;

/** Prints a step. @param target name of the one of several that it is of */
export function showEntry({ k, name, state, text }: ProgressEntry, json: boolean | undefined, target?: string): void {
  if (json) process.stdout.write(`${JSON.stringify({ step: k, name, state, ...(text && { text }) })}\n`);
  else if (state !== 'begin') {
    process.stdout.write(
      `${target === undefined ? '' : `${target}: `}${String(k).padStart(2)}  ${styled(colours[state], state.padEnd(7))}  ${name}${text ? `  ${styled('dim', text)}` : ''}\n`,
    );
  }
}

export type Wires = { programmer: string; targetSerial: string; json?: boolean };

/** The options of what a programmer does with a device on its serial link. */
export const withWires = (command: Command, usage: string): Command =>
  command
    .requiredOption('--programmer <host:port>', 'serial link of the programmer (or the path of a UART)')
    .requiredOption('--target-serial <host:port>', 'serial link of the device, as the programmer reaches it')
    .option('--json', 'print JSON lines instead of text')
    .addHelpText('after', `\nExamples:\n  $ nusec ${usage} --programmer localhost:7101 --target-serial localhost:7001`);

/** Starts it on the programmer and follows it. @throws NusecError with the code that ended the run */
export async function runOnWires(name: 'unlock' | 'renew' | 'upgrade', { programmer, targetSerial, json }: Wires): Promise<void> {
  const { connectProgrammer } = await import('../../gateway-device/programmer/client.ts');
  const client = await connectProgrammer(programmer);
  try {
    const { runId } = await client.request(name, { serialAddress: targetSerial });
    const { outcome, detail } = await followRun(client, runId, entry => showEntry(entry, json));
    if (outcome !== 'OK') throw failed(outcome, detail);
    process.stdout.write(json ? `${JSON.stringify({ outcome })}\n` : `${styled('green', 'done')}\n`);
  } finally {
    await client.close();
  }
}

const failed = (outcome: string, detail = 'the programmer ended the run; the steps above say where'): NusecError =>
  new NusecError(errorCodes.find(code => code === outcome) ?? 'INTERNAL', detail);
