import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ByteLink, connectTcp, listenTcp } from '../../../gateway-device/link/byteLink.ts';
import type { Patience } from '../../../gateway-device/programmer/patience.ts';
import { toHex } from '../../../src/bytes.ts';
import type { Context } from '../../../src/services/base/context.ts';
import { covers } from '../../support/covers.ts';
import { watchWrites } from '../../support/watchedStore.ts';
import { endLine, startLineWithJob } from './line.ts';
import type { OemServer } from './oemServer.ts';
import {
  importCode,
  preparedProgrammer,
  produce,
  startProgrammer,
  startTarget,
  type TestProgrammer,
  type TestTarget,
} from './programmerFixture.ts';

/** What a line meets, at every step: power cuts with another chip put in, a network that is away for an hour, people who stop job or programmer in
 *  the middle of a unit, wires that damage one frame of a hundred. No good chip is lost, none is built twice. */

let server: OemServer;
let programmer: TestProgrammer;
let jobId: string;

/** Whether the disk of the server takes nothing any more, as SQLite reports it. */
let isDiskFull = false;
const onSmallDisk = (ctx: Context): Context => ({
  ...ctx,
  store: watchWrites(ctx.store, async () => {
    if (isDiskFull) throw Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' });
  }),
});

beforeAll(async () => {
  ({ server, programmer, jobId } = await startLineWithJob({ count: 400, scrapAllowance: 20 }, onSmallDisk));
});
afterAll(() => endLine({ server, programmer }));

const steps = Array.from({ length: 15 }, (_, index) => index + 2);
/** Those that are written down before they begin. */
const starred = [2, 4, 6, 9, 10, 12, 14, 16];
const code = async (target: TestTarget, at = programmer): Promise<string> => (await produce(at.core, target.addresses)).code;
const outcomesOf = async ({ uid }: TestTarget, job = jobId, at = programmer): Promise<readonly string[]> =>
  (await server.units(job, at.uid)).filter(unit => unit.uid === toHex(uid)).map(unit => unit.outcome);
const scrapped = async (): Promise<number> => {
  const share = await server.allotment(jobId, programmer.uid);
  return share.status === 'NONE' ? -1 : share.scrapped;
};

/** Does something when a step begins for the first time. */
function onceAt(k: number, work: () => void): (step: number, state: string) => void {
  let isDone = false;
  return (step, state) => {
    if (isDone || step !== k || state !== 'begin') return;
    isDone = true;
    work();
  };
}

class Cut extends Error {}

describe('after a power cut of the programmer, with another chip on the wires', () => {
  it.each([...steps.map(k => [k, 'begin'] as const), ...starred.map(k => [k, 'done'] as const)])(
    'at step %i %s: the other chip is built, and the first one when it comes back (T33)',
    async (k, moment) => {
      covers('T33');
      const [first, other] = [await startTarget(), await startTarget()];
      const cut = (step: number, state: string): void => {
        if (step === k && state === moment) throw new Cut();
      };
      const begun = await produce(programmer.core, first.addresses, cut).catch((error: unknown) => {
        if (error instanceof Cut) return { code: 'cut' };
        throw error;
      });
      expect(begun.code).toBe('cut');
      await programmer.stop();
      programmer = await startProgrammer(programmer.folder);
      expect(await code(other)).toBe('OK');
      // The answer to its commit had come: nothing is left to be reported of this chip.
      expect(await code(first)).toBe(k === 16 && moment === 'done' ? 'DEVICE_STATE' : 'OK');
      expect(await outcomesOf(other)).toEqual(['committed']);
      expect((await outcomesOf(first)).filter(outcome => outcome !== 'voided')).toEqual(['committed']);
      expect(await scrapped()).toBe(0);
      await Promise.all([first.stop(), other.stop()]);
    },
  );
});

describe('a network that is away for an hour', () => {
  it.each(steps)('from step %i on: the unit waits, its grant is renewed, and it is committed once (T33, I12)', async k => {
    covers('T33', 'I12');
    const target = await startTarget();
    const cutOff = onceAt(k, () => server.proxy.fail(() => 'lost'));
    let waited = 0;
    const anHour: Patience = {
      wait: async () => {
        waited += 1;
        server.plant.moveClock(60 * 60_000);
        server.proxy.heal();
        return true;
      },
    };
    expect((await produce(programmer.core, target.addresses, cutOff, anHour)).code).toBe('OK');
    server.proxy.heal();
    // Steps that need no server pass without it.
    if (![3, 4, 11].includes(k)) expect(waited).toBeGreaterThan(0);
    expect(await outcomesOf(target)).toEqual(['committed']);
    await target.stop();
  });
});

describe('a server whose disk is full', () => {
  it.each(steps)('from step %i on: the unit waits and is committed once, no chip is blamed (T33)', async k => {
    covers('T33');
    const target = await startTarget();
    const fill = onceAt(k, () => {
      isDiskFull = true;
    });
    const cleanUp: Patience = {
      wait: async tries => {
        if (tries >= 3) isDiskFull = false;
        return true;
      },
    };
    const { code: ended, steps: seen } = await produce(programmer.core, target.addresses, fill, cleanUp);
    isDiskFull = false;
    expect(ended).toBe('OK');
    expect(seen.filter(step => step.includes('failed'))).toEqual([]);
    expect(seen.some(step => /waiting STORE_/.test(step))).toBe(true);
    expect(await outcomesOf(target)).toEqual(['committed']);
    await target.stop();
  });
});

describe('somebody stops the work in the middle of a unit', () => {
  const order = (uid: string, step: string) =>
    server.plant.ask('olga', 'POST', `/v1/programmers/${uid}/${step}`, step === 'suspend' ? { reason: 'audit' } : {});

  /** As somebody does it while the step is under way. */
  const during = (k: number, work: () => Promise<unknown>) => {
    let done: Promise<unknown> | undefined;
    let isHeld = false;
    // The next call reaches the server after the person has.
    server.proxy.fail(() => {
      if (done === undefined || isHeld) return undefined;
      isHeld = true;
      return { delayMs: 300 };
    });
    return {
      onStep: onceAt(k, () => {
        done = work();
      }),
      end: async () => {
        server.proxy.heal();
        await done;
      },
    };
  };

  it.each(steps)('the job, in step %i: nothing more is given; the unit is finished when it is resumed, or was complete', async k => {
    const target = await startTarget();
    const stop = during(k, () => server.suspend(jobId));
    const { code: ended } = await produce(programmer.core, target.addresses, stop.onStep);
    await stop.end();
    expect(ended).toBe(k >= 15 ? 'OK' : 'JOB_NOT_RUNNING');
    await server.resume(jobId);
    if (ended !== 'OK') expect(await code(target)).toBe('OK');
    expect((await outcomesOf(target)).filter(outcome => outcome !== 'voided')).toEqual(['committed']);
    expect(await scrapped()).toBe(0);
    await target.stop();
  });

  it.each([2, 5, 7, 9, 12, 14, 16])(
    'the programmer, in step %i: it builds nothing, and finishes the unit when it is resumed (I17)',
    async k => {
      covers('I17');
      const target = await startTarget();
      const stop = during(k, () => order(programmer.uid, 'suspend'));
      expect((await produce(programmer.core, target.addresses, stop.onStep)).code).not.toBe('OK');
      await stop.end();
      expect(await outcomesOf(target)).not.toContain('committed');
      await order(programmer.uid, 'resume');
      expect(await code(target)).toBe('OK');
      expect(await scrapped()).toBe(0);
      await target.stop();
    },
  );

  it.each([2, 7, 12, 14, 16])(
    'the programmer is stolen in step %i: the unit is never committed, and nothing is given any more (T15)',
    async k => {
      covers('T15');
      const stolen = await preparedProgrammer(server);
      const { jobId: own, file } = await server.newJob(stolen.uid, { count: 2 });
      expect(await importCode(stolen.core, file)).toBe('OK');
      const target = await startTarget();
      const theft = during(k, () => order(stolen.uid, 'stolen'));
      expect((await produce(stolen.core, target.addresses, theft.onStep)).code).not.toBe('OK');
      await theft.end();
      expect(await code(target, stolen)).not.toBe('OK');
      expect(await outcomesOf(target, own, stolen)).not.toContain('committed');
      expect((await server.units(own, stolen.uid)).filter(({ hasApplication }) => hasApplication)).toHaveLength(k > 14 ? 1 : 0);
      await Promise.all([target.stop(), stolen.stop()]);
    },
  );
});

describe('wires that damage one frame of a hundred', () => {
  it('cost time and no chip: a batch is built, each unit once', async () => {
    const damaged = { frames: 0, hit: 0 };
    for (let unit = 0; unit < 4; unit += 1) {
      const target = await startTarget();
      const wire = await damagingWire(target.addresses.serial, damaged);
      const addresses = { ...target.addresses, serial: wire.address };
      let ended = '';
      // A link that stays silent for six attempts ends the run; the operator starts it again.
      for (let attempt = 0; attempt < 3 && ended !== 'OK'; attempt += 1) ended = (await produce(programmer.core, addresses)).code;
      expect(ended).toBe('OK');
      expect(await outcomesOf(target)).toEqual(['committed']);
      await wire.close();
      await target.stop();
    }
    expect(damaged.hit).toBeGreaterThan(0);
    expect(damaged.hit / damaged.frames).toBeLessThan(0.05);
    expect(await scrapped()).toBe(0);
  });
});

/** Every hundredth frame, both ways together, has one bit flipped. */
async function damagingWire(serial: string, counts: { frames: number; hit: number }) {
  const [host = '', port = ''] = serial.split(':');
  const flag = 0x7e;
  const pass = (from: ByteLink, to: ByteLink): void => {
    let inFrame = false;
    let at = 0;
    let isHit = false;
    from.onData(bytes => {
      const out = bytes.slice();
      for (const [index, byte] of bytes.entries()) {
        if (byte === flag) {
          inFrame = !inFrame;
          if (inFrame) counts.frames += 1;
          [at, isHit] = [0, inFrame && counts.frames % 100 === 0];
          continue;
        }
        at += 1;
        if (!isHit || at !== 8) continue;
        out[index] = byte ^ 0x10;
        counts.hit += 1;
      }
      void to.write(out).catch(() => undefined);
    });
  };
  const wire = await listenTcp(0, async near => {
    const far = await connectTcp(host, Number(port));
    pass(near, far);
    pass(far, near);
    near.onClose(() => void far.close());
    far.onClose(() => void near.close());
  });
  return { address: `127.0.0.1:${wire.port}`, close: () => wire.close() };
}
