import type { Command } from 'commander';
import { evidenceKinds } from '../domain/attestationPolicy.ts';
import type { CheckResult } from '../gateway/conformance/checks.ts';
import { oneOf, portNumber, wholeNumber } from './options.ts';
import { print, progress, styled, table } from './output.ts';

/** `nusec device check`: plays the server's part against the firmware of a device, and says what it does not do as docs/device-contract.md asks. */

type CheckOptions = {
  readonly uid?: string;
  readonly port: number;
  readonly host: string;
  readonly name: string;
  readonly wait: number;
  readonly evidence: (typeof evidenceKinds)[number];
  readonly json?: boolean;
};

const marks = { passed: styled('green', 'passed'), failed: styled('red', 'FAILED'), 'not run': 'not run' } as const;

const uid = '00112233445566778899aabbccddeeff';
const maxWaitSeconds = 86_400;

export function registerCheck(device: Command): void {
  device
    .command('check <folder>')
    .description('play the server for the firmware of a device, and say what it does not do as docs/device-contract.md asks')
    .option('--uid <hex>', 'UID of the device, 32 hex digits; needed the first time, when the folder gets its keys and certificates')
    .option('--port <n>', 'port of the broker; 0 for any free one', portNumber, 8883)
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--name <name>', 'name or address under which the device reaches it; goes into the certificate', 'localhost')
    .option('--wait <seconds>', 'how long to wait for the device, each time', wholeNumber(1, maxWaitSeconds), 120)
    .option('--evidence <kind>', `what the device proves itself with: ${evidenceKinds.join(', ')}`, oneOf(evidenceKinds), 'spdm')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
The folder gets a root, the certificate of the broker and the key and certificate of the device; they are for this check and nothing else.
Exit status 1: a check failed.

Examples:
  $ nusec device check ./check --uid ${uid}
  $ nusec device check ./check --uid ${uid} --evidence psa-token
  $ nusec device check ./check --host 0.0.0.0 --name 192.0.2.7 --wait 600 --json`,
    )
    .action(checkDevice);
}

async function checkDevice(folder: string, { uid, port, host, name, wait, evidence, ...options }: CheckOptions): Promise<void> {
  const { openBench } = await import('../gateway/conformance/bench.ts');
  const { defaultCheckTimes, runChecks } = await import('../gateway/conformance/checks.ts');
  const { openCheckPki } = await import('../gateway/conformance/testPki.ts');
  const pki = await openCheckPki(folder, uid, name);
  const bench = await openBench(pki, { host, port });
  try {
    progress(
      `device ${pki.uid}: flash root.pem, device.key and device.pem of ${folder}, registration ${pki.objId}; connect to ${name}:${bench.port}`,
    );
    const times = { ...defaultCheckTimes, connectMs: wait * 1000 };
    const results = await runChecks({ bench, pki, times, evidence }, options.json ? undefined : tell);
    if (results.some(({ verdict }) => verdict !== 'passed')) process.exitCode = 1;
    const rows = results.map(({ name, verdict, section, detail }) => [name, verdict, section, detail]);
    print(options, { uid: pki.uid, results }, `\n${table(['CHECK', 'VERDICT', 'CONTRACT', 'DETAIL'], rows)}`);
  } finally {
    await bench.close();
  }
}

const tell = ({ name, verdict, detail }: CheckResult): void => progress(`${marks[verdict]}  ${name}${detail && `: ${detail}`}`);
