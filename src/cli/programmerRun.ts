import { setTimeout as sleep } from 'node:timers/promises';
import type { ProgrammerClient } from '../../gateway-device/programmer/client.ts';
import type { ProgressEntry } from '../../gateway-device/programmer/protocol.ts';
import { styled } from './output.ts';

/** Follows what a programmer does on its own, step by step. */

const pollMs = 100;

/** Prints each step until the run has ended. @returns `OK` or the stable code that ended it */
export async function followRun(
  client: ProgrammerClient,
  json?: boolean,
): Promise<{ readonly outcome: string; readonly remaining?: number }> {
  for (let since = 0; ; ) {
    const { next, entries, done, outcome = 'INTERNAL', remaining } = await client.request('progress', { since });
    for (const entry of entries) showEntry(entry, json);
    since = next;
    if (done) return { outcome, ...(remaining !== undefined && { remaining }) };
    if (entries.length === 0) await sleep(pollMs);
  }
}

const marks = { done: styled('green', 'done   '), failed: styled('red', 'failed '), waiting: styled('yellow', 'waiting') } as const;

function showEntry({ k, name, state, text }: ProgressEntry, json: boolean | undefined): void {
  if (json) process.stdout.write(`${JSON.stringify({ step: k, name, state, ...(text && { text }) })}\n`);
  else if (state !== 'begin') {
    const mark = marks[state];
    process.stdout.write(`${String(k).padStart(2)}  ${mark}  ${name}${text ? `  ${styled('dim', text)}` : ''}\n`);
  }
}
