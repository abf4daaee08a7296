import { type Command, Option } from 'commander';
import type { McuOptions } from '../../gateway-device/device/mcu.ts';
import { evidenceKinds } from '../domain/attestationPolicy.ts';
import { uidFromHex } from '../production/uid.ts';
import { runBoard } from './board.ts';
import { httpsUrl, oneOf, portNumber, wholeNumber } from './options.ts';
import { hostPort } from './process.ts';

type Options = {
  data: string;
  uid?: string;
  productId: number;
  serialPort?: number;
  serialDevice?: string;
  debugPort?: number;
  mqtt?: string;
  serverMqtt?: string;
  mqttName?: string;
  https?: string;
  encryptionKey?: string;
  evidence?: 'spdm' | 'psa-token';
  json?: boolean;
};

const uidBytes = 16;

/** `nusec mcu run`: a virtual target MCU. */
export function registerMcu(program: Command): void {
  program
    .command('mcu')
    .description('virtual microcontrollers')
    .command('run')
    .description('run one: blank it waits for a programmer, provisioned it runs its firmware')
    .requiredOption('--data <dir>', 'folder of the chip: OTP, flash, KeyStore; created when missing')
    .option('--uid <hex>', 'UID of a new chip, 32 hex digits; random when not given')
    .option('--product-id <n>', 'product id of a new chip', wholeNumber(0, 0xffff_ffff), 0x2354)
    .option('--serial-port <n>', 'TCP port of its UART on loopback; any free one when not given', portNumber)
    .option('--serial-device <path>', 'serve its UART on this serial device or pseudo-terminal too')
    .option('--debug-port <n>', 'TCP port of its debug port on loopback; any free one when not given', portNumber)
    .option('--mqtt <host:port>', 'where its firmware connects to once it is provisioned')
    .option('--mqtt-name <name>', 'name in the certificate of that server; the host when not given')
    .option('--https <url>', 'fetch firmware from this API in ranges; what does not come so comes by MQTT', httpsUrl)
    .option(
      '--encryption-key <priv.pem>',
      'P-256 key that its bootloader is built with, where a whole line has one; default: the chip’s own',
    )
    .option(
      '--evidence <kind>',
      `what its firmware proves itself with: ${evidenceKinds.join(', ')} (RFC 9783, and no SPDM then)`,
      oneOf(evidenceKinds),
      'spdm',
    )
    .addOption(new Option('--server-mqtt <host:port>', 'the same as --mqtt').hideHelp())
    .option('--json', 'JSON lines, also on a terminal')
    .addHelpText(
      'after',
      `
Everything a chip keeps survives the process: end it at any moment (also by kill -9) and start it again on the same folder.
Standard output has one line when it is ready and one for each event; these are JSON unless it is a terminal.

Examples:
  $ nusec mcu run --data ./chips/1 --uid 00112233445566778899aabbccddeeff --serial-port 7001 --debug-port 7002
  $ nusec mcu run --data ./chips/1 --mqtt localhost:8883
  $ nusec mcu run --data ./chips/1 --mqtt localhost:8883 --https https://localhost:8443
  $ nusec mcu run --data ./chips/1 --mqtt localhost:8883 --evidence psa-token
  $ nusec mcu run --data ./chips/1 --serial-device /dev/ttyUSB0`,
    )
    .action(run);
}

const run = (options: Options): Promise<void> =>
  runBoard(options.json === true, async tell =>
    (await import('../../gateway-device/device/mcu.ts')).startMcu({ ...(await mcuOptions(options)), tell }),
  );

async function mcuOptions(options: Options): Promise<Omit<McuOptions, 'tell'>> {
  const { randomBytes } = await import('node:crypto');
  const { decryptionOf } = await import('./imageKeys.ts');
  const { data, productId, serialPort, debugPort, serialDevice, mqttName, https, encryptionKey, evidence } = options;
  const mqtt = options.mqtt ?? options.serverMqtt;
  const uid = options.uid === undefined ? undefined : uidFromHex(options.uid);
  return {
    folder: data,
    ...(encryptionKey !== undefined && { decryption: decryptionOf(encryptionKey) }),
    ...(uid && { identity: { uid, productId } }),
    ...(evidence === 'psa-token' && { evidence }),
    newIdentity: () => ({ uid: new Uint8Array(randomBytes(uidBytes)), productId }),
    ports: {
      ...(serialPort !== undefined && { serialPort }),
      ...(debugPort !== undefined && { debugPort }),
      ...(serialDevice !== undefined && { serialDevice }),
    },
    ...(mqtt !== undefined && {
      online: { ...hostPort(mqtt), ...(mqttName !== undefined && { servername: mqttName }), ...(https !== undefined && { https }) },
    }),
  };
}
