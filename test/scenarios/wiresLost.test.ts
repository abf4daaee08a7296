import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Running } from '../../scripts/demo/processes.ts';
import { toHex } from '../../src/bytes.ts';
import { interpose } from '../gateway-device/link/interposer.ts';
import { covers } from '../support/covers.ts';
import { limitOfProcesses } from '../support/limits.ts';
import { type LosingLink, losingLink } from '../support/losingLink.ts';
import { openWiredWorld, serial, type WiredWorld } from './wiredWorld.ts';

/** Upgrades over a serial line, with server, programmer, gateway and devices as processes of their own, of whose dialogue any message is lost: between the
 *  machine and the server, and on the wire. `NUSEC_LOST_MESSAGES=all` loses each of the first kind in turn, not every fourth. */

const step = process.env.NUSEC_LOST_MESSAGES === 'all' ? 1 : 4;
/** A handshake, and some ten questions with their answers. */
const [leastMessages, mostMessages] = [16, 60];
const limitMs = limitOfProcesses(2 * (mostMessages / step));
const gatewayId = 'hall-9';

let wired: WiredWorld;
let programmerLink: LosingLink;
let gatewayLink: LosingLink;
let gateway: Running | undefined;
let minor = 0;
const nextVersion = (): string => {
  minor += 1;
  return `2.${minor}.0`;
};

beforeAll(async () => {
  programmerLink = await losingLink();
  wired = await openWiredWorld({ api: programmerLink });
  gatewayLink = await losingLink(Number(new URL(wired.world.url).port));
}, limitOfProcesses(6));
afterAll(async () => {
  await wired?.world.close();
  await programmerLink?.close();
  await gatewayLink?.close();
});

/** Runs the dialogue, each time with another message lost, until none is left. @returns how many there were */
async function losingEach(link: LosingLink, dialogue: (version: string, lose: () => void) => Promise<void>): Promise<number> {
  for (let message = 0; message < mostMessages; message += step) {
    let hasCome = (): boolean => false;
    await dialogue(nextVersion(), () => {
      hasCome = link.lose(message);
    });
    if (!hasCome()) return message;
  }
  return mostMessages;
}

/** Every message of the wire is lost when it comes for the first time. */
async function losingWire(target: string) {
  const seen = new Set<string>();
  const wire = await interpose(target, (body, direction) => {
    const name = `${direction} ${toHex(body)}`;
    if (seen.has(name)) return [body];
    seen.add(name);
    return [];
  });
  return { ...wire, lost: () => seen.size };
}

/** The command is given again as often as a person would. */
async function upgradeInTheEnd(target?: string): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    const { status, error, lines } = await wired.upgrade(target);
    if (status === 0) return;
    // A clear word, and no stack.
    const said = JSON.stringify([error, ...lines]);
    expect(said).toMatch(/"error":"[A-Z_]+"/);
    expect(tries, said).toBeLessThan(3);
  }
}

describe('an upgrade by a programmer', () => {
  it('is brought to its end by the same command when a message to or from the server is lost, whichever (R87, T33)', {
    timeout: limitMs,
  }, async () => {
    covers('R87', 'T33');
    const messages = await losingEach(programmerLink, async (version, lose) => {
      const rolloutId = await wired.offer(0, version);
      lose();
      await upgradeInTheEnd();
      await wired.ended(rolloutId, 'RolloutCompleted');
      await wired.shows(0, { version });
    });
    expect(messages).toBeGreaterThanOrEqual(leastMessages);
    expect(messages).toBeLessThan(mostMessages);
  });

  it('comes to its end though every message on the wire is lost once (R87, T33)', { timeout: limitOfProcesses(8) }, async () => {
    covers('R87', 'T33');
    const version = nextVersion();
    const wire = await losingWire(serial(wired.mcus[0]));
    const rolloutId = await wired.offer(0, version);
    await upgradeInTheEnd(wire.address);
    await wired.ended(rolloutId, 'RolloutCompleted');
    await wired.shows(0, { version });
    expect(wire.lost()).toBeGreaterThanOrEqual(leastMessages);
    await wire.close();
  });
});

describe('an upgrade by a gateway', () => {
  const startGateway = async (target: string): Promise<void> => {
    await gateway?.stop('SIGKILL');
    const names = ['--data', `${wired.world.dir}/gw`, '--id', gatewayId, '--mqtt', wired.world.mqtt];
    const wires = ['--server', `https://localhost:${gatewayLink.port}`, '--device', `${wired.unit(1).uid}=${target}`];
    gateway = await wired.world.start('gateway', 'gateway', 'run', ...names, ...wires, '--json');
  };
  beforeAll(async () => {
    for (const more of [['register'], ['attach', '--device', wired.unit(1).uid]])
      expect((await wired.world.nusec('gateway', more[0] as string, '--id', gatewayId, ...more.slice(1))).status).toBe(0);
  }, limitOfProcesses(2));

  it('comes to its end by itself when a message to or from the server is lost, whichever (R96, T33)', { timeout: limitMs }, async () => {
    covers('R96', 'T33');
    await startGateway(serial(wired.mcus[1]));
    const messages = await losingEach(gatewayLink, async (version, lose) => {
      const rolloutId = await wired.offer(1, version);
      lose();
      await wired.ended(rolloutId, 'RolloutCompleted');
      await wired.shows(1, { version });
    });
    expect(messages).toBeGreaterThanOrEqual(leastMessages);
    expect(messages).toBeLessThan(mostMessages);
  });

  it('comes to its end though every message on the wire is lost once (R96, T33)', { timeout: limitOfProcesses(8) }, async () => {
    covers('R96', 'T33');
    const version = nextVersion();
    const wire = await losingWire(serial(wired.mcus[1]));
    await startGateway(wire.address);
    const rolloutId = await wired.offer(1, version);
    await wired.ended(rolloutId, 'RolloutCompleted');
    await wired.shows(1, { version });
    expect(wire.lost()).toBeGreaterThanOrEqual(leastMessages);
    await wire.close();
  });
});
