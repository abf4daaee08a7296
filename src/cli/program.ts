import { Command } from 'commander';
import { errorLine } from './output.ts';

/** `nusec`: the command of the OEM's PC, the contract manufacturer's PC and of the machines themselves. */

type Register = (program: Command) => void;

/** Only the module of the command that was asked for is loaded: a gateway need not load a server. */
const commands: Readonly<Record<string, () => Promise<Register>>> = {
  init: async () => (await import('./init.ts')).registerInit,
  server: async () => (await import('./server.ts')).registerServer,
  ca: async () => (await import('./ca.ts')).registerCa,
  operator: async () => (await import('./operator.ts')).registerOperator,
  keystore: async () => (await import('./keystore.ts')).registerKeystore,
  line: async () => (await import('./line.ts')).registerLine,
  image: async () => (await import('./image.ts')).registerImage,
  release: async () => (await import('./release.ts')).registerRelease,
  job: async () => (await import('./job.ts')).registerJob,
  alarm: async () => (await import('./alarm.ts')).registerAlarm,
  log: async () => (await import('./log.ts')).registerLog,
  evidence: async () => (await import('./evidence.ts')).registerEvidence,
  backup: async () => (await import('./backup.ts')).registerBackup,
  restore: async () => (await import('./restore.ts')).registerRestore,
  verify: async () => (await import('./verify.ts')).registerVerify,
  mcu: async () => (await import('./mcu.ts')).registerMcu,
  programmer: async () => (await import('./programmer.ts')).registerProgrammer,
  package: async () => (await import('./package.ts')).registerPackage,
  produce: async () => (await import('./produce.ts')).registerProduce,
  devauth: async () => (await import('./devauth.ts')).registerDevauth,
  device: async () => (await import('./device.ts')).registerDevice,
  fleet: async () => (await import('./fleet.ts')).registerFleet,
  vulnerability: async () => (await import('./vulnerability.ts')).registerVulnerability,
  repair: async () => (await import('./repair.ts')).registerRepair,
  revoke: async () => (await import('./revoke.ts')).registerRevoke,
  rollout: async () => (await import('./rollout.ts')).registerRollout,
  gateway: async () => (await import('./gateway.ts')).registerGateway,
};

/** Names that commands had, or that people try first. */
const aliases: Readonly<Record<string, string>> = { firmware: 'release' };

/** The shipped program with the command that is asked for, or with all of them. @param first the first word after `nusec`
 *  @param json a wrong call is reported as JSON too */
export async function programFor(first: string, json = false): Promise<Command> {
  const program = bareProgram();
  if (json) reportErrorsAsJson(program);
  const asked = commands[aliases[first] ?? first];
  const wanted = asked === undefined ? Object.values(commands) : [asked];
  for (const load of wanted) (await load())(program);
  return program;
}

function bareProgram(): Command {
  return new Command('nusec')
    .description('Security lifecycle of microcontroller fleets: production, identity, attestation, firmware, revocation')
    .version('0.1.0')
    .enablePositionalOptions()
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
}

function reportErrorsAsJson(program: Command): void {
  const outputError = (text: string, write: (line: string) => void): void =>
    write(errorLine('BAD_REQUEST', text.trim().replace(/^error: /, '')));
  program.showHelpAfterError(false).configureOutput({ outputError });
}
