import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { toHex } from '../../../src/bytes.ts';
import { startTarget } from '../../gateway-device/programmer/programmerFixture.ts';
import { covers } from '../../support/covers.ts';
import { limitOfProcesses } from '../../support/limits.ts';
import { books, closed, openFloor } from './floor.ts';

/** The server is away for a while, with units at many steps at once. `NUSEC_LINE_CUT_SECONDS=3600` makes it an hour. */

const cutMs = Number(process.env.NUSEC_LINE_CUT_SECONDS ?? 3) * 1000;
/** The next chip begins when the one before is there, so that the cut meets them at different steps. */
const nextAt = 4;
const count = 5;

it(
  'a server that is away costs no chip: all units wait, and are built when it is there again (T33)',
  async () => {
    covers('T33');
    const floor = await openFloor({ count: count + 1 });
    onTestFinished(() => floor.close());
    const targets = await Promise.all(Array.from({ length: count }, () => startTarget()));
    onTestFinished(() => Promise.all(targets.map(target => target.stop())).then(() => undefined));
    const at: number[] = [];
    const runs = [];
    for (const [index, { addresses }] of targets.entries()) {
      const next = Promise.withResolvers<void>();
      runs.push(
        floor.produceOn(addresses, (k, state) => {
          at[index] = k;
          if (k >= nextAt && state === 'begin') next.resolve();
        }),
      );
      await next.promise;
    }
    await floor.world.servers()[0]?.stop('SIGKILL');
    console.log(`the server is away for ${cutMs / 1000} s; the units are at the steps ${at.join(', ')}`);
    await sleep(cutMs);
    await floor.world.restartServer('SIGKILL');
    const ends = await Promise.all(runs);
    // A reservation whose bootloader was not given out lapses meanwhile, and the chip begins anew.
    for (const { outcome, bin, entries } of ends) expect({ outcome, bin }, entries.join('\n')).toEqual({ outcome: 'OK', bin: 'pass' });
    const { units, share } = await books(floor);
    const committed = units.filter(({ status }) => status === 'COMMITTED').map(({ uid }) => uid);
    expect(committed.toSorted()).toEqual(targets.map(({ uid }) => toHex(uid)).toSorted());
    expect(share).toMatchObject({ committed: count, scrapped: 0, remaining: 1, reserved: count + share.voided });
    console.log(`${share.voided} reservations lapsed`);
    expect(await closed(floor)).toMatchObject({ verdict: 'clean', discrepancies: [] });
  },
  cutMs + limitOfProcesses(10),
);
