import { fromHex } from '../../src/bytes.ts';
import { startCortexBoard } from '../cortexM/board.ts';
import { buildFirmware } from '../cortexM/firmware.ts';
import { type Life, type Proof, preparation, type Step } from './steps.ts';

/** `npm run demo -- --target qemu`: the device-identity part of production on a Cortex-M33 in QEMU. The DevAuth code is real; the board has no
 *  bootloader that speaks SPDM, so the unit is held where it would be asked for a session (docs/cortex-m.md). */

const uid = '4e7553454300000000000000c1000000';
const productId = 0x2354;

/** What the unit waits for. */
const sessionStep = 11;

type Produced = { readonly boardSerial: string };

async function produceOnBoard(life: Life): Promise<Produced> {
  const { world, programmer } = life;
  if (programmer === undefined) throw new Error('there is no programmer');
  const board = await startCortexBoard({ folder: `${world.dir}/board`, uid: fromHex(uid), productId, firmware: buildFirmware() });
  try {
    const wires = ['--target-serial', board.serial, '--target-debug', board.debug];
    const made = await world.nusec('produce', '--programmer', `127.0.0.1:${programmer.ready.serialPort}`, ...wires);
    const last = made.lines.findLast(line => line.state === 'failed');
    if (last?.step !== sessionStep || made.error.error !== 'LINK_TIMEOUT')
      throw new Error(`produce: ${JSON.stringify([made.error, ...made.lines])}`);
    return { boardSerial: board.serial };
  } finally {
    await board.close();
  }
}

const proof = async (life: Life, type: string, note?: string): Promise<Proof> => {
  const event = await life.world.event(found => found.type === type && found.stream === `device-${uid}`, type);
  return note === undefined ? { event } : { event, note };
};
const stage = 'manufacture';

export const cortexSteps: readonly Step[] = [
  ...preparation,
  {
    stage,
    name: 'a Cortex-M33 in QEMU gets the DevAuth code over OpenOCD and makes its key; the server certifies it',
    async run(life) {
      const { boardSerial } = await produceOnBoard(life);
      return proof(life, 'DeviceCertified', `${uid} on ${boardSerial}`);
    },
  },
  { stage, name: 'its certificates are in flash, checked by the chip itself', run: life => proof(life, 'CertificateInstalled') },
  { stage, name: 'its bootloader is written over the debug port and read back', run: life => proof(life, 'BootloaderInstalled') },
  { stage, name: 'the bootloader key is in OTP, burned once and read back', run: life => proof(life, 'BootKeyBurned') },
];
