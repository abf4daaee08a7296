import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Patience, pauseMs } from '../../../gateway-device/programmer/patience.ts';
import { toHex } from '../../../src/bytes.ts';
import { sweepUnits } from '../../../src/services/production/unitExpiry.ts';
import { hourMs } from '../../../src/times.ts';
import { covers } from '../../support/covers.ts';
import { endLine, startLineWithJob } from './line.ts';
import type { OemServer } from './oemServer.ts';
import { produce, startTarget, type TestProgrammer } from './programmerFixture.ts';

/** The network between factory and server is cut for an hour in the middle of a unit. The pauses of the programmer are the real ones, and move the
 *  server's clock instead of being slept through; the server sweeps expired grants meanwhile. */

let server: OemServer;
let programmer: TestProgrammer;
let jobId: string;

beforeAll(async () => {
  ({ server, programmer, jobId } = await startLineWithJob({ count: 60, scrapAllowance: 5 }));
});
afterAll(() => endLine({ server, programmer }));

/** Until the network is there again. */
function hourOfPatience(): Patience & { readonly pausesMs: number[] } {
  const pausesMs: number[] = [];
  const wait = async (tries: number): Promise<boolean> => {
    const ms = pauseMs(tries, 1);
    pausesMs.push(ms);
    server.plant.moveClock(ms);
    await sweepUnits(server.ctx);
    if (pausesMs.reduce((sum, each) => sum + each, 0) >= hourMs) server.proxy.heal();
    return true;
  };
  return { pausesMs, wait };
}

const beforeKey = ['csr', 'bootloader'];
const calls = ['units', ...beforeKey, 'application-key', 'application', 'commit'];

describe('a network that is cut for an hour', () => {
  it.each([...calls.map(call => [call, 'lost'] as const), ...['units', 'bootloader', 'commit'].map(call => [call, 'unanswered'] as const)])(
    'at %s, calls %s: the unit is built, and nothing is scrap (T33)',
    async (call, fault) => {
      covers('T33');
      const target = await startTarget();
      let isCut = false;
      server.proxy.fail(({ name }) => {
        const isFirst = name === call && !isCut;
        isCut ||= isFirst;
        return isFirst ? fault : isCut ? 'lost' : undefined;
      });
      const patience = hourOfPatience();
      const { code } = await produce(programmer.core, target.addresses, undefined, patience);
      server.proxy.heal();
      expect(patience.pausesMs.length).toBeGreaterThanOrEqual(hourMs / 60_000);
      expect(code).toBe('OK');
      // A unit without its bootloader has no claim on its place: the chip began anew.
      const units = (await server.units(jobId, programmer.uid)).filter(({ uid }) => uid === toHex(target.uid));
      expect(units.map(({ outcome }) => outcome).filter(outcome => outcome !== 'voided')).toEqual(['committed']);
      if (!['units', ...beforeKey].includes(call)) expect(units).toHaveLength(1);
      expect(await server.allotment(jobId, programmer.uid)).toMatchObject({ scrapped: 0 });
      await target.stop();
    },
  );
});
