import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { canMount, fillDisk, smallDisk } from '../../eventstore/smallDisk.ts';
import { covers } from '../../support/covers.ts';
import { limitOfProcesses } from '../../support/limits.ts';
import { books, chipHere, closed, openFloor } from './floor.ts';

/** The disk of the server is full from the beginning of a step on, and has room again when the programmer says that it waits. */

const mebibytes = 24;
const steps = Array.from({ length: 15 }, (_, index) => index + 2);

it(
  'a full disk of the server at each step costs no chip: the unit waits, and is built when there is room (T33)',
  async test => {
    if (!canMount()) return test.skip('no right to mount a disk');
    covers('T33');
    const disk = smallDisk(mebibytes);
    const floor = await openFloor({ count: steps.length + 1, dataFolder: join(disk, 'server') });
    onTestFinished(() => floor.close());
    const waited: number[] = [];
    for (const step of steps) {
      const chip = chipHere(floor);
      const takeOut = await chip.insert();
      floor.plan({ uid: chip.uid, step, moment: 'before', action: 'hold' });
      const run = floor.produce();
      await floor.held();
      const free = fillDisk(disk);
      const isWaiting = floor.programmer.waiting();
      isWaiting.catch(() => undefined);
      floor.release();
      if ((await Promise.race([run, isWaiting])) === 'waiting') waited.push(step);
      free();
      expect(await run, `step ${step}`).toMatchObject({ outcome: 'OK', bin: 'pass' });
      await takeOut();
    }
    // What the log writes over again needs no room, so not every step meets the full disk itself.
    expect(waited.length).toBeGreaterThan(steps.length / 2);
    const { share, left } = await books(floor);
    expect(share).toMatchObject({ reserved: steps.length, committed: steps.length, voided: 0, scrapped: 0, remaining: 1 });
    expect(left).toBe(1);
    expect(await closed(floor)).toMatchObject({ verdict: 'clean', discrepancies: [] });
  },
  limitOfProcesses(25),
);
