import type { Command } from 'commander';
import { NusecError } from '../errors.ts';
import { print, record, styled, table } from './output.ts';

/** `nusec devauth check`: whether a device speaks DevAuth as docs/devauth.md lays it down. For those who write the device's side. */
export function registerDevauth(program: Command): void {
  program
    .command('devauth')
    .description('the protocol between a programmer and a device')
    .command('check')
    .description('ask a device everything that can be asked without changing it, and report what it does not keep')
    .option('--serial <path>', 'UART or pseudo-terminal of the device, or host:port')
    .option('--tcp <host:port>', 'its serial link over TCP')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
Exit status 0: every check passed or was skipped. The device runs DevAuth, its bootloader or its application;
a blank chip runs nothing that could answer: a programmer loads DevAuth into its SRAM over the debug port first (docs/cortex-m.md).

Examples:
  $ nusec devauth check --serial /dev/ttyUSB0
  $ nusec devauth check --tcp localhost:7001 --json`,
    )
    .action(check);
}

/** A blank chip has nothing that could answer. */
function explainSilence(address: string, cause: unknown): never {
  if (!(cause instanceof NusecError) || cause.code !== 'LINK_TIMEOUT') throw cause;
  const next =
    'look at the wires and the speed; a blank chip runs nothing yet: load DevAuth into its SRAM over the debug port and start it (docs/cortex-m.md)';
  throw new NusecError(cause.code, `nothing answers on ${address} (${cause.message}): ${next}`, { cause });
}

async function check({ serial, tcp, json }: { serial?: string; tcp?: string; json?: boolean }): Promise<void> {
  const address = serial ?? tcp;
  if (address === undefined || (serial !== undefined && tcp !== undefined)) throw new NusecError('BAD_REQUEST', 'give --serial or --tcp');
  const { openByteLink } = await import('../../gateway-device/link/byteLink.ts');
  const { checkDevAuth } = await import('../../gateway-device/link/devAuthCheck.ts');
  const { createMctpClient } = await import('../../gateway-device/link/mctpLink.ts');
  const client = createMctpClient(await openByteLink(address));
  try {
    const report = await checkDevAuth(client).catch(error => explainSilence(address, error));
    const marks = { passed: styled('green', 'passed'), failed: styled('red', 'failed'), skipped: styled('yellow', 'skipped') };
    const rows = report.results.map(({ name, source, result, detail }) => [marks[result], name, source, detail ?? '']);
    const text = `${record({ uid: report.uid, stage: report.stage })}\n\n${table(['RESULT', 'CHECK', 'SOURCE', 'DETAIL'], rows)}`;
    print({ ...(json === true && { json }) }, report, text);
    if (!report.passed) throw new NusecError('DEVAUTH_MALFORMED', 'the device does not keep to DevAuth; the lines above say where');
  } finally {
    await client.close();
  }
}
