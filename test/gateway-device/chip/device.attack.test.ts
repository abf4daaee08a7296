import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PowerCut } from '../../../gateway-device/chip/flash.ts';
import { connectTcp } from '../../../gateway-device/link/byteLink.ts';
import { createMctpClient } from '../../../gateway-device/link/mctpLink.ts';
import { toHex } from '../../../src/bytes.ts';
import { sha256 } from '../../../src/digest.ts';
import { sendFirmware } from '../../../src/production/devauth/transfer.ts';
import { otpMap } from '../../../src/production/otpMap.ts';
import { covers } from '../../support/covers.ts';
import { flippedAt } from '../device/attacks.ts';
import {
  type Bench,
  hello,
  installBl2,
  leafSlot,
  type MemoryStorage,
  makeIdentity,
  makeImage,
  makeOem,
  newChip,
  newStorage,
  type Oem,
  openBench,
  openSession,
  provision,
  startDevAuth,
  transferOf,
} from '../programmer/factory.ts';
import { type Attack, type Direction, interpose, passing } from '../programmer/sealedInterposer.ts';
import { memoryVault, powerFor } from './memory.ts';

let oem: Oem;
/** A unit that waits for its application: identity, BL2, OTP, locked. */
let waiting: MemoryStorage;
/** Sealed messages of each direction until the session stands: what the target asks of the programmer, and FINISH. */
let handshake = 0;
const cleanUps: (() => Promise<unknown>)[] = [];
const chunkBytes = 2048;

beforeAll(async () => {
  oem = await makeOem();
  waiting = newStorage();
  const bench = await openBench(newChip(waiting));
  await startDevAuth(bench.debug);
  await makeIdentity(bench.devAuth, oem);
  await installBl2(bench, oem);
  await bench.debug.reset();
  await bench.devAuth.request('lock', { debugState: 'locked', lifeCycle: 'deployed' });
  await bench.close();
  const { client } = await attackedBench((message, direction, number) => {
    if (direction === 'up') handshake = Math.max(handshake, number + 1);
    return [message];
  });
  await openSession(client, oem);
  await cleanUp();
});
const cleanUp = async () => {
  for (const close of cleanUps.splice(0).reverse()) await close();
};
afterEach(cleanUp);

async function attackedBench(attack: Attack) {
  const bench = await openBench(newChip({ ...newStorage(waiting), keys: waiting.keys }));
  const proxy = await interpose(bench.served.serialPort, attack);
  const client = createMctpClient(await connectTcp('127.0.0.1', proxy.port), { timeoutMs: () => 60, retransmissions: 1 });
  cleanUps.push(bench.close, proxy.close, client.close);
  return { bench, proxy, client };
}

describe('an interposer on the UART', () => {
  const app = () => makeImage(oem.appKey, '1.2.3', 5);

  it('sees no byte of the firmware, and changes nothing by listening (RULE-13, T10)', async () => {
    covers('RULE-13', 'T10');
    const { bench, proxy, client } = await attackedBench(passing);
    const { sealed } = await openSession(client, oem);
    const image = app();
    await sendFirmware(sealed, transferOf(image), chunkBytes);
    await bench.board.reset();
    expect(bench.board.lastBoot().app?.imageHash).toEqual(image.imageHash);
    const wire = Buffer.from(proxy.wire());
    expect(wire.includes('in clear')).toBe(false);
    for (let at = 0; at + 16 <= image.payload.length; at += 64)
      expect(wire.includes(Buffer.from(image.payload.subarray(at, at + 16)))).toBe(false);
  });

  /** After the handshake: FW_BEGIN, four FW_CHUNK, FW_END and their answers. */
  const messages = 6;
  const lastChunk = 4;
  const places = (): (readonly [Direction, number])[] =>
    (['up', 'down'] as const).flatMap(direction =>
      Array.from({ length: handshake + messages }, (_, number) => [direction, number] as const),
    );
  const kinds: Readonly<Record<string, (direction: Direction, number: number) => Attack>> = {
    'flips a bit in': (where, which) => (message, direction, number) =>
      direction === where && number === which ? [flippedAt(message, message.length - 20)] : [message],
    drops: (where, which) => (message, direction, number) => (direction === where && number === which ? [] : [message]),
    'puts an older one in the place of': (where, which) => {
      const old: Uint8Array[] = [];
      return (message, direction, number) => {
        if (direction === where && number === 0) old.push(message);
        return direction === where && number === which ? old.slice(0, 1) : [message];
      };
    },
  };
  for (const [kind, attackAt] of Object.entries(kinds)) {
    it(`who ${kind} any one sealed message ends the session; no changed firmware runs (T10)`, async () => {
      covers('T10');
      for (const [direction, number] of places()) {
        if (kind.startsWith('puts') && number === 0) continue;
        const { bench, client } = await attackedBench(attackAt(direction, number));
        const image = app();
        const transfer = openSession(client, oem).then(({ sealed }) => sendFirmware(sealed, transferOf(image), chunkBytes));
        await expect(transfer, `${direction} ${number}`).rejects.toThrow();
        await bench.board.reset();
        const { app: booted } = bench.board.lastBoot();
        // From the last chunk on the genuine image is whole in flash, and the boot chain judges it by itself.
        if (booted) expect([number >= handshake + lastChunk, toHex(booted.imageHash)]).toEqual([true, toHex(image.imageHash)]);
      }
    });
  }

  it('who repeats a sealed message under a new tag ends the session (T10)', async () => {
    covers('T10');
    const { bench, client } = await attackedBench(passing);
    const { session, sealed } = await openSession(client, oem);
    await sealed.request('fwBegin', { ...begin(app()) });
    const record = session.seal(Uint8Array.of(0x7f, 0, 0, 0, 0));
    await client.request(Uint8Array.of(6, ...record));
    expect((await client.request(Uint8Array.of(6, ...record)))[0]).toBe(5);
    await expect(sealed.request('fwChunk', { offset: 0, data: new Uint8Array(16) })).rejects.toThrow();
    expect(bench.board.stage()).toBe('bl2');
  });

  it('cannot burn OTP in the open, nor by a changed message (T11)', async () => {
    covers('T11');
    const value = new Uint8Array(32).fill(3);
    const { bench, client } = await attackedBench((message, direction, number) =>
      direction === 'up' && number === handshake ? [flippedAt(message, message.length - 30)] : [message],
    );
    const { sealed } = await openSession(client, oem);
    await expect(sealed.request('otp', { slot: otpMap.spare.slot, kind: 'spare', value })).rejects.toThrow();
    await expect(bench.devAuth.request('otp', { slot: otpMap.spare.slot, kind: 'spare', value })).rejects.toThrow();
    expect(bench.board.chip.otp.slot(otpMap.spare.slot)).toBe('blank');
  });
});

const begin = ({ bytes, version, securityCounter }: ReturnType<typeof makeImage>) => ({
  image: 2,
  sizeBytes: bytes.length,
  sha256: sha256(bytes),
  version,
  securityCounter,
});

describe('a requester on the UART that is no programmer of this OEM', () => {
  const refused = expect.objectContaining({ code: expect.stringMatching(/^SPDM_/) });

  it('opens no session: without a certificate, as a gateway, as a programmer of another OEM, or with a stolen certificate', async () => {
    const { bench, client } = await attackedBench(passing);
    const foreign = await makeOem();
    const impostor = { certificates: oem.programmer.certificates, sign: foreign.programmer.sign };
    const slots = [
      { certificates: [], sign: oem.programmer.sign },
      await leafSlot(oem.root, oem.programmerIca, 'gateway'),
      await leafSlot(oem.root, oem.ica, 'programmer'),
      foreign.programmer,
      impostor,
    ];
    for (const slot of slots) await expect(openSession(client, oem, undefined, slot)).rejects.toEqual(refused);
    const { sealed } = await openSession(client, oem);
    await sendFirmware(sealed, transferOf(makeImage(oem.appKey, '1.2.3', 5)), chunkBytes);
    await bench.board.reset();
    expect(bench.board.lastBoot().stage).toBe('app');
  });
});

describe('a power cut of the unit', () => {
  /** What a programmer does that finds the unit at any point. */
  async function goOn(bench: Bench): Promise<void> {
    const { debugState, stage } = await bench.debug.status();
    if (debugState === 'open') return void (await provision(bench, oem));
    if (stage === 'app') return;
    if ((await hello(bench.devAuth)).lifeCycle !== 'deployed') {
      await bench.devAuth.request('lock', { debugState: 'locked', lifeCycle: 'deployed' });
    }
    const { sealed } = await openSession(bench.client, oem);
    await sendFirmware(sealed, transferOf(makeImage(oem.appKey, '1.2.3', 5)), chunkBytes);
    await bench.devAuth.request('reset', { mode: 'normal' });
  }

  it('at any write of the whole provisioning leaves a unit that can be finished, with one key (T33, R74)', async () => {
    covers('T33', 'R74');
    let writes = 0;
    const storage = newStorage();
    const counting = {
      holds: () => {
        writes += 1;
        return true;
      },
    };
    const whole = await openBench(newChip(storage, counting));
    await provision(whole, oem);
    await whole.close();

    const cuts = 40;
    for (let cut = 0; cut < cuts; cut += 1) {
      const at = Math.floor((cut * writes) / cuts);
      const unit = newStorage();
      const chip = newChip(unit, powerFor(at));
      const first = await openBench(chip, { timeoutMs: () => 15, retransmissions: 1 }).catch(() => undefined);
      if (first) {
        await goOn(first).catch(() => undefined);
        await first.close().catch(() => undefined);
      }
      const key = chip.keyStore.publicKey(0);
      const again = await openBench(newChip(unit));
      cleanUps.push(again.close);
      await goOn(again);
      expect([at, again.board.stage(), again.board.chip.debugState()]).toEqual([at, 'app', 'locked']);
      if (key) expect(toHex(again.board.chip.keyStore.publicKey(0) as Uint8Array)).toBe(toHex(key));
    }
  });

  it('at any write of a wipe leaves a unit as it was, or one that is wiped by its next start (R96, T33)', () => {
    covers('R96', 'T33');
    for (const operations of [0, 1, 2, 3, 40, 200, 500, 700]) {
      const vault = memoryVault();
      vault.save(waiting.keys.load() as Uint8Array);
      const unit = { ...newStorage(waiting), keys: vault };
      const cut = newChip(unit, powerFor(operations));
      try {
        cut.wipe();
      } catch (error) {
        expect(error).toBeInstanceOf(PowerCut);
      }
      const chip = newChip(unit);
      const { stage } = chip.boot();
      const blank = chip.flash.read(chip.layout.bl2.offset, chip.layout.bl2.bytes).every(byte => byte === 0xff);
      const facts = [stage, chip.lifeCycle(), chip.keyStore.publicKey(0) === undefined, chip.data.get('objId') === undefined, blank];
      expect([operations, ...facts]).toEqual(
        operations === 0 ? [0, 'bl2', 'deployed', false, false, false] : [operations, 'dead', 'decommissioned', true, true, true],
      );
    }
  });
});
