import { Command } from 'commander';
import { errorLine } from './output.ts';

/** `nusec`: the command of the OEM's PC, the contract manufacturer's PC and of the machines themselves. */

type Register = (program: Command) => void;
type Known = { readonly about: string; readonly load: () => Promise<Register> };

/** By stage. Only the module of the command that was asked for is loaded: a gateway need not load a server, and the list of commands none. */
const stages: Readonly<Record<string, Readonly<Record<string, Known>>>> = {
  'Set up and run a server': {
    init: { about: 'make a project: keys, authorities and two administrators', load: async () => (await import('./init.ts')).registerInit },
    join: { about: 'make the data folder of a further machine of a project', load: async () => (await import('./join.ts')).registerJoin },
    server: { about: 'run a server', load: async () => (await import('./server.ts')).registerServer },
    keystore: { about: 'care of the keys of a server', load: async () => (await import('./keystore.ts')).registerKeystore },
    backup: { about: 'back up a server while it runs', load: async () => (await import('./backup.ts')).registerBackup },
    restore: { about: 'put a backup back', load: async () => (await import('./restore.ts')).registerRestore },
  },
  'People and trust': {
    login: { about: 'sign in with the browser', load: async () => (await import('./login.ts')).registerLogin },
    whoami: { about: 'who you are for the server', load: async () => (await import('./whoami.ts')).registerWhoami },
    profile: { about: 'servers and tokens that you work with', load: async () => (await import('./profile.ts')).registerProfile },
    operator: {
      about: 'people: roles, tokens, changes under four eyes',
      load: async () => (await import('./operator.ts')).registerOperator,
    },
    subject: {
      about: 'people in the log: what is known of one, and erasure',
      load: async () => (await import('./subject.ts')).registerSubject,
    },
    ca: { about: 'authorities and their key ceremonies', load: async () => (await import('./ca.ts')).registerCa },
    certificate: { about: 'the inventory of certificates', load: async () => (await import('./certificate.ts')).registerCertificate },
  },
  Firmware: {
    line: { about: 'product lines', load: async () => (await import('./line.ts')).registerLine },
    image: { about: 'look at, sign and encrypt MCUboot images', load: async () => (await import('./image.ts')).registerImage },
    release: { about: 'firmware releases: upload, approve, publish', load: async () => (await import('./release.ts')).registerRelease },
  },
  Manufacture: {
    series: { about: 'values that each unit gets for itself', load: async () => (await import('./series.ts')).registerSeries },
    job: { about: 'production jobs', load: async () => (await import('./job.ts')).registerJob },
    programmer: { about: 'programmers', load: async () => (await import('./programmer.ts')).registerProgrammer },
    package: { about: 'production packages at the manufacturer', load: async () => (await import('./package.ts')).registerPackage },
    produce: { about: 'build units with a programmer', load: async () => (await import('./produce.ts')).registerProduce },
    devauth: { about: 'check the DevAuth interface of a device', load: async () => (await import('./devauth.ts')).registerDevauth },
    mcu: { about: 'run a virtual microcontroller', load: async () => (await import('./mcu.ts')).registerMcu },
  },
  Deployment: {
    device: { about: 'the fleet: look, attest, quarantine', load: async () => (await import('./device.ts')).registerDevice },
    attest: { about: 'let all devices of a line prove themselves', load: async () => (await import('./attest.ts')).registerAttest },
    fleet: { about: 'the fleet as a whole: where a component is', load: async () => (await import('./fleet.ts')).registerFleet },
    gateway: { about: 'gateways, and the agent that runs on them', load: async () => (await import('./gateway.ts')).registerGateway },
  },
  Maintenance: {
    rollout: { about: 'bring a release to the fleet', load: async () => (await import('./rollout.ts')).registerRollout },
    alarm: { about: 'what needs a person', load: async () => (await import('./alarm.ts')).registerAlarm },
    vulnerability: {
      about: 'vulnerabilities of components: what is affected, which reports are due',
      load: async () => (await import('./vulnerability.ts')).registerVulnerability,
    },
    repair: { about: 'repair of devices', load: async () => (await import('./repair.ts')).registerRepair },
  },
  Decommission: {
    revoke: { about: 'revoke many devices, under four eyes', load: async () => (await import('./revoke.ts')).registerRevoke },
  },
  'Audit and evidence': {
    event: { about: 'what happened: who, what, where', load: async () => (await import('./event.ts')).registerEvent },
    webhook: { about: 'send events to other systems', load: async () => (await import('./webhook.ts')).registerWebhook },
    log: { about: 'the log with its proofs', load: async () => (await import('./log.ts')).registerLog },
    evidence: { about: 'the evidence file of a device', load: async () => (await import('./evidence.ts')).registerEvidence },
    verify: { about: 'verify evidence, exports and stores', load: async () => (await import('./verify.ts')).registerVerify },
  },
  'This command': {
    completion: {
      about: 'completion for bash, zsh and fish',
      load: async () => {
        const { registerCompletion } = await import('./completion.ts');
        return program => registerCompletion(program, wholeProgram);
      },
    },
  },
};

/** Names that commands had, or that people try first. */
const aliases: Readonly<Record<string, string>> = {
  firmware: 'release',
  audit: 'event',
  events: 'event',
  alarms: 'alarm',
  devices: 'device',
};

/** No name of a command. */
const everyCommand = '*';
const wholeProgram = (): Promise<Command> => programFor(everyCommand);

/** The shipped program with the command that is asked for; the others are there by name.
 *  @param first the first word after `nusec`
 *  @param json a wrong call is reported as JSON too */
export async function programFor(first: string, json = false): Promise<Command> {
  const program = bareProgram();
  if (json) reportErrorsAsJson(program);
  const asked = aliases[first] ?? first;
  for (const [stage, commands] of Object.entries(stages))
    for (const [name, { about, load }] of Object.entries(commands)) {
      if (name === asked || asked === everyCommand) (await load())(program);
      else program.command(name).description(about);
      const added = program.commands.at(-1);
      added?.helpGroup(`${stage}:`);
      if (name === asked && first !== asked && !added?.aliases().includes(first)) added?.alias(first);
    }
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
