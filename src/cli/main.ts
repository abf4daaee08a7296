#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { registerFirmware } from './firmware.ts';
import { registerInit } from './init.ts';
import { registerJob } from './job.ts';
import { registerLine } from './line.ts';
import { registerMcu } from './mcu.ts';
import { reportError } from './output.ts';
import { registerPackage } from './package.ts';
import { registerProduce } from './produce.ts';
import { registerProgrammer } from './programmer.ts';
import { registerServer } from './server.ts';
import { registerVerify } from './verify.ts';

/** `nusec`: the command of the OEM's PC, the contract manufacturer's PC and of the machines themselves. */

const program = new Command('nusec')
  .description('Security lifecycle of microcontroller fleets: production, identity, attestation, firmware, revocation')
  .version('0.1.0')
  .showHelpAfterError('(add --help for what is possible)')
  .exitOverride();

for (const register of [
  registerInit,
  registerServer,
  registerLine,
  registerFirmware,
  registerJob,
  registerVerify,
  registerMcu,
  registerProgrammer,
  registerPackage,
  registerProduce,
])
  register(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = error instanceof CommanderError ? error.exitCode && 2 : reportError(error, process.argv.includes('--json'));
}
