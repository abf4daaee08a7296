import type { Command } from 'commander';
import { uidFromHex } from '../production/uid.ts';
import { runBoard } from './board.ts';
import { listAll, type ServerOptions, withServer, withServerOptions } from './client.ts';
import { act, type Confirmed, withConfirmation } from './confirm.ts';
import { portNumber } from './options.ts';
import { print, progress, record, table } from './output.ts';
import { runOnWires, type Wires, withWires } from './programmerRun.ts';

/** `nusec programmer`: the virtual programmer itself, its preparation at the OEM, and what the OEM decides about it later. */
export function registerProgrammer(program: Command): void {
  const programmer = program
    .command('programmer')
    .description('programmers (NuLink3): run a virtual one, prepare, upgrade devices, suspend, report stolen');
  registerRun(programmer);
  registerPrepare(programmer);
  withWires(
    programmer.command('upgrade').description('give the device on the wires the upgrade, or the order to wipe, that stands for it'),
    'programmer upgrade',
  ).action((wires: Wires) => runOnWires('upgrade', wires));
  registerList(programmer);
  registerShow(programmer);
  registerShip(programmer);
  registerDecision(programmer, 'suspend', 'certificate on hold, allotments frozen', true);
  registerDecision(programmer, 'resume', 'active again after a suspension', false);
  registerDecision(programmer, 'stolen', 'one command ends certificate, allotments and grants', false);
  registerDecision(programmer, 'return', 'it is back at the OEM', false);
  registerDecision(programmer, 'retire', 'out of use for good', false);
}

/** NuLink3 on the virtual debug port. */
const productId = 0x4e4c_0003;

type RunOptions = { data: string; uid?: string; serialPort?: number; serialDevice?: string; debugPort?: number; json?: boolean };

function registerRun(programmer: Command): void {
  programmer
    .command('run')
    .description('run a virtual programmer until SIGTERM or SIGINT')
    .requiredOption('--data <dir>', 'folder of the board: chip, KeyStore, packages, ledger; created when missing')
    .option('--uid <hex>', 'UID of a new board, 32 hex digits')
    .option('--serial-port <n>', 'TCP port of its serial link on loopback; any free one when not given', portNumber)
    .option('--serial-device <path>', 'serve its serial link on this device or pseudo-terminal too')
    .option('--debug-port <n>', 'TCP port of its debug port on loopback; any free one when not given', portNumber)
    .option('--json', 'JSON lines, also on a terminal')
    .addHelpText(
      'after',
      `
Everything it keeps survives the process: end it at any moment (also by kill -9) and start it again on the same folder.
Standard output has one line when it is ready and one for each event; these are JSON unless it is a terminal.

Examples:
  $ nusec programmer run --data ./nulink --uid 4e4c3300000000000000000000000001 --serial-port 7101 --debug-port 7102
  $ nusec programmer run --data ./nulink`,
    )
    .action(run);
}

function run({ data, uid, serialPort, serialDevice, debugPort, json }: RunOptions): Promise<void> {
  const nulink = {
    folder: data,
    ...(uid !== undefined && { identity: { uid: uidFromHex(uid), productId } }),
    ports: {
      ...(serialPort !== undefined && { serialPort }),
      ...(debugPort !== undefined && { debugPort }),
      ...(serialDevice !== undefined && { serialDevice }),
    },
  };
  return runBoard(json === true, async tell =>
    (await import('../../gateway-device/programmer/nulink.ts')).startNulink({ ...nulink, tell }),
  );
}

type PrepareOptions = ServerOptions & {
  uid: string;
  serial: string;
  debug: string;
  name?: string;
  firmware?: string;
  firmwareVersion: string;
  programmerServer?: string;
  to?: string;
};

function registerPrepare(programmer: Command): void {
  withServerOptions(
    programmer
      .command('prepare')
      .description('prepare a blank programmer for a contract manufacturer: keys, certificates, firmware, lock, AES_NuLink3')
      .requiredOption('--uid <hex>', 'UID of the board, 32 hex digits')
      .requiredOption('--serial <host:port>', 'its serial link (or the path of a UART)')
      .requiredOption('--debug <host:port>', 'its debug port')
      .option('--name <name>', 'what it is called in the registry')
      .option('--firmware <file>', 'NuLink3 firmware: Intel HEX, S-record, ELF or raw; an empty one for the virtual board when not given')
      .option('--firmware-version <version>', 'version of that firmware', '1.0.0')
      .option(
        '--programmer-server <url>',
        'how the programmer itself reaches the server until its first package names the server, when it is not --server',
      )
      .option('--to <name>', 'the contract manufacturer it is shipped to'),
  )
    .addHelpText(
      'after',
      `
In the order of docs/programmer.md. Run it again after an interruption: it goes on where the board is.

Examples:
  $ nusec programmer prepare --uid 4e4c3300000000000000000000000001 --serial localhost:7101 --debug localhost:7102 \\
      --server https://localhost:8443 --ca data/root.pem --token-file data/alice.token --name "line 1" --to "CM Taipei"`,
    )
    .action(prepare);
}

async function prepare(options: PrepareOptions): Promise<void> {
  const { uid, serial, debug, firmware, firmwareVersion, to } = options;
  const { builtInFirmware, prepareProgrammer } = await import('./prepareProgrammer.ts');
  const { readFirmware } = await import('./readFirmware.ts');
  const prepared = await withServer(options, server =>
    prepareProgrammer(
      server,
      {
        addresses: { serial, debug },
        uid,
        name: options.name ?? `programmer ${uid.slice(0, 8)}`,
        firmware: firmware === undefined ? builtInFirmware : readFirmware(firmware),
        firmwareVersion,
        serverUrl: options.programmerServer ?? options.server,
        ...(to !== undefined && { shipTo: to }),
      },
      progress,
    ),
  );
  print(options, prepared, record({ programmer: uid, status: prepared.status, 'epoch of AES_NuLink3': prepared.kekEpoch }));
}

type ProgrammerRow = { uid: string; name: string; status: string; kekEpoch: number; firmwareVersion?: string; shippedTo?: string };

function registerList(programmer: Command): void {
  withServerOptions(programmer.command('list').description('all programmers and where they are in their life'))
    .addHelpText('after', '\nExamples:\n  $ nusec programmer list\n  $ nusec programmer list --json')
    .action(async (options: ServerOptions) => {
      const rows = await listAll<ProgrammerRow>(options, '/v1/programmers', 'programmers');
      const cells = rows.map(row => [row.uid, row.name, row.status, row.kekEpoch, row.firmwareVersion, row.shippedTo]);
      print(options, rows, table(['uid', 'name', 'status', 'epoch', 'firmware', 'shipped to'], cells));
    });
}

function registerShow(programmer: Command): void {
  withServerOptions(programmer.command('show').description('one programmer').argument('<uid>', 'UID of the programmer'))
    .addHelpText('after', '\nExamples:\n  $ nusec programmer show 4e4c3300000000000000000000000001')
    .action(async (uid: string, options: ServerOptions) => {
      const row = await withServer(options, server => server.json<ProgrammerRow>('GET', `/v1/programmers/${uid}`));
      print(options, row, record(row));
    });
}

function registerShip(programmer: Command): void {
  withServerOptions(
    programmer
      .command('ship')
      .description('record that a prepared programmer goes to a contract manufacturer')
      .argument('<uid>', 'UID of the programmer')
      .requiredOption('--to <name>', 'the contract manufacturer; jobs for a site are built there only'),
  )
    .addHelpText('after', '\nExamples:\n  $ nusec programmer ship 4e4c3300000000000000000000000001 --to "CM Taipei"')
    .action(async (uid: string, { to, ...options }: ServerOptions & { to: string }) => {
      const row = await withServer(options, server => server.json<ProgrammerRow>('POST', `/v1/programmers/${uid}/ship`, { to }));
      print(options, row, record(row));
    });
}

type Decision = 'suspend' | 'resume' | 'stolen' | 'return' | 'retire';
/** What cannot be taken back is confirmed first. */
const final: { readonly [Name in Decision]?: string } = {
  stolen: 'is reported stolen and never works again',
  retire: 'is out of use for good',
};

function registerDecision(programmer: Command, name: Decision, description: string, needsReason: boolean): void {
  const command = withServerOptions(programmer.command(name).description(description).argument('<uid>', 'UID of the programmer'));
  const warning = final[name];
  if (warning !== undefined) withConfirmation(command);
  if (needsReason) command.requiredOption('--reason <text>', 'why; goes into the record');
  command
    .addHelpText(
      'after',
      `\nExamples:\n  $ nusec programmer ${name} 4e4c3300000000000000000000000001${needsReason ? ' --reason "audit at the site"' : ''}`,
    )
    .action(async (uid: string, options: Confirmed & { reason?: string }) => {
      const body = options.reason === undefined ? {} : { reason: options.reason };
      const deed = {
        what: `The programmer ${uid} ${warning}.`,
        name: uid,
        method: 'POST',
        path: `/v1/programmers/${uid}/${name}`,
        body,
      } as const;
      await act<ProgrammerRow>(warning === undefined ? { ...options, yes: true } : options, deed, row =>
        print(options, row, record({ programmer: row.uid, name: row.name, status: row.status })),
      );
    });
}
