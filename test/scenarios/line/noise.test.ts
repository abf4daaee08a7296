import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Closable, type Own, opening } from '../../../src/closing.ts';
import { generator } from '../../fuzz/random.ts';
import { covers } from '../../support/covers.ts';
import { limitOfProcesses } from '../../support/limits.ts';
import { books, chipHere, closed, type Floor, openFloor } from './floor.ts';
import { noisyWire } from './noisyWire.ts';

/** A production on wires that damage one frame in a hundred: between tool and programmer, and between programmer and chip. */

const oneIn = 100;
const units = 10;
/** Some hundred frames for each unit. */
const applicationBytes = 96 * 1024;

let floor: Floor;
let wire: Awaited<ReturnType<typeof noisyWire>>;
let all: Closable;
beforeAll(async () => {
  const random = generator(20_261_129);
  all = await opening(async (own: Own) => {
    const toolWire = async (port: number) => own('tool wire', await noisyWire(port, oneIn, random)).port;
    floor = own('floor', await openFloor({ count: units + 1, applicationBytes, toolWire }));
    wire = own('wire', await noisyWire(floor.socket.serialPort, oneIn, random));
    return {};
  }, limitOfProcesses(6));
}, limitOfProcesses(6));
afterAll(() => all?.close());

it(
  'builds every unit, loses none and scraps none (T33)',
  async () => {
    covers('T33');
    const built: string[] = [];
    let runs = 0;
    while (built.length < units) {
      const chip = chipHere(floor);
      const takeOut = await chip.insert();
      for (let outcome = ''; outcome !== 'OK'; runs += 1) {
        const run = await floor.produce(wire.port);
        outcome = run.outcome;
        expect(['OK', 'LINK_TIMEOUT'], run.entries.join('\n')).toContain(outcome);
      }
      await takeOut();
      built.push(chip.uid);
    }
    const { units: rows, share, left } = await books(floor);
    expect(rows.map(({ uid, status }) => [uid, status]).toSorted()).toEqual(built.map(uid => [uid, 'COMMITTED']).toSorted());
    expect(share).toMatchObject({ reserved: units, committed: units, voided: 0, scrapped: 0, remaining: 1 });
    expect(left).toBe(1);
    expect(wire.frames.damaged).toBeGreaterThan(units);
    expect(await closed(floor)).toMatchObject({ verdict: 'clean', discrepancies: [] });
    console.log(`${wire.frames.damaged} of ${wire.frames.passed} frames damaged, ${runs} runs for ${units} units`);
  },
  limitOfProcesses(20),
);
