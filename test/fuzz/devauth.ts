import { createBoard } from '../../gateway-device/chip/board.ts';
import { openChip } from '../../gateway-device/chip/chip.ts';
import { devauthStage } from '../../gateway-device/chip/devauthStage.ts';
import { steadyPower } from '../../gateway-device/chip/flash.ts';
import { devAuthMagic, memoryMap } from '../../gateway-device/link/debugPort.ts';
import { equalBytes, utf8 } from '../../src/bytes.ts';
import { decodeCbor } from '../../src/cbor/decode.ts';
import { isMap } from '../../src/cbor/value.ts';
import { decodeMessage, encodeMessage, maxBodyDepth } from '../../src/production/devauth/header.ts';
import { decodeVendorMessage, encodeVendorMessage } from '../../src/production/devauth/vendor.ts';
import { layout } from '../gateway-device/chip/bootFixture.ts';
import { memoryStorage, memoryVault } from '../gateway-device/chip/memory.ts';

/** The input is `form | op | command | body`: a request to a chip that runs DevAuth, or with form 0 the vendor-defined message as it is. There is no
 *  answer, or one that answers this request; the chip keeps its key, and HELLO is answered afterwards. */

const storage = { otp: memoryStorage(), flash: memoryStorage(), registers: memoryStorage(), keys: memoryVault() };
const chip = openChip({ uid: new Uint8Array(16).fill(0x33), productId: 1 }, storage, steadyPower, layout);
const board = createBoard({ chip, stages: { devauth: devauthStage } });
const hello = Uint8Array.of(0xa2, 1, 1, 2, 0x50, ...new Uint8Array(16));
let sequence = 0;
let point: Uint8Array | undefined;

export const target = {
  run: async (input: Uint8Array): Promise<void> => {
    if (board.stage() !== 'devauth') await start();
    const [form = 0, op = 0, command = 0] = input;
    const request = form === 0 ? input.slice(1) : wrapped(op % 4, command, input.slice(3));
    const answer = await ask(request);
    if (answer) checkAnswer(request, answer);
    point ??= chip.keyStore.publicKey(0);
    if (point && !equalBytes(point, chip.keyStore.publicKey(0) ?? point)) throw new Error('another key');
    if (board.stage() !== 'devauth') await start();
    const greeting = await ask(wrapped(0, 0, hello));
    if (!greeting || codeIn(greeting) !== 0) throw new Error('HELLO is not answered any more');
  },
};

async function start(): Promise<void> {
  chip.sram.set(utf8(devAuthMagic));
  if (!(await board.run(memoryMap.sram.address))) throw new Error('DevAuth does not start');
}

async function ask(request: Uint8Array): Promise<Uint8Array | undefined> {
  let answer: Uint8Array | undefined;
  await board.receive(request, async bytes => {
    answer = bytes;
  });
  return answer;
}

function wrapped(op: number, command: number, body: Uint8Array): Uint8Array {
  sequence = (sequence + 1) % 256;
  return encodeVendorMessage(encodeMessage({ op, sequence, command, body }), { integrityCheck: true });
}

function checkAnswer(request: Uint8Array, answer: Uint8Array): void {
  const asked = decodeMessage(decodeVendorMessage(request).message);
  const given = decodeMessage(decodeVendorMessage(answer).message);
  if (given.op !== asked.op + 1 || given.command !== asked.command || given.sequence !== asked.sequence)
    throw new Error('answers another request');
  codeIn(answer);
}

function codeIn(answer: Uint8Array): number {
  const map = decodeCbor(decodeMessage(decodeVendorMessage(answer).message).body, maxBodyDepth);
  const code = isMap(map) ? map.get(0) : undefined;
  if (typeof code !== 'number') throw new Error('no code in the answer');
  return code;
}
