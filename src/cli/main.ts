#!/usr/bin/env node
import { CommanderError } from 'commander';
import { reportError } from './output.ts';
import { endOnSignal, endSoon } from './process.ts';
import { programFor } from './program.ts';

/** Runs `nusec`. */

const asJson = process.argv.includes('--json');

endOnSignal();
try {
  await (await programFor(process.argv[2] ?? '', asJson)).parseAsync();
} catch (error) {
  process.exitCode = error instanceof CommanderError ? error.exitCode && 2 : reportError(error, asJson);
} finally {
  endSoon();
}
