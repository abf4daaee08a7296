#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { reportError } from './output.ts';

/** `nusec`: the command of the OEM's PC, the contract manufacturer's PC and of the machines themselves. */

type Register = (program: Command) => void;

/** Only the module of the command that was asked for is loaded: a gateway need not load a server. */
const commands: Readonly<Record<string, () => Promise<Register>>> = {
  init: async () => (await import('./init.ts')).registerInit,
  server: async () => (await import('./server.ts')).registerServer,
  ca: async () => (await import('./ca.ts')).registerCa,
  keystore: async () => (await import('./keystore.ts')).registerKeystore,
  line: async () => (await import('./line.ts')).registerLine,
  firmware: async () => (await import('./release.ts')).registerFirmware,
  job: async () => (await import('./job.ts')).registerJob,
  verify: async () => (await import('./verify.ts')).registerVerify,
  mcu: async () => (await import('./mcu.ts')).registerMcu,
  programmer: async () => (await import('./programmer.ts')).registerProgrammer,
  package: async () => (await import('./package.ts')).registerPackage,
  produce: async () => (await import('./produce.ts')).registerProduce,
  device: async () => (await import('./device.ts')).registerDevice,
  revoke: async () => (await import('./revoke.ts')).registerRevoke,
  rollout: async () => (await import('./rollout.ts')).registerRollout,
  gateway: async () => (await import('./gateway.ts')).registerGateway,
};

const program = new Command('nusec')
  .description('Security lifecycle of microcontroller fleets: production, identity, attestation, firmware, revocation')
  .version('0.1.0')
  .showHelpAfterError('(add --help for what is possible)')
  .exitOverride()
  .addHelpText(
    'after',
    `
Examples:
  $ nusec init --data ./data
  $ nusec server --data ./data
  $ nusec job --help`,
  );

const asked = commands[process.argv[2] ?? ''];
const wanted = asked === undefined ? Object.values(commands) : [asked];

try {
  for (const load of wanted) (await load())(program);
  await program.parseAsync();
} catch (error) {
  process.exitCode = error instanceof CommanderError ? error.exitCode && 2 : reportError(error, process.argv.includes('--json'));
}
