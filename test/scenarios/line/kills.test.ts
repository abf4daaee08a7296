import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { covers } from '../../support/covers.ts';
import { limitOfProcesses } from '../../support/limits.ts';
import { books, type Chip, chipHere, chipProcess, closed, type Floor, openFloor, type Run, until } from './floor.ts';

/** kill -9 of programmer, server and target before and after each of the 16 steps, with the same and with another chip afterwards. In each run every
 *  fourth case, so that each step and each kind of cut comes along; `NUSEC_LINE_KILLS=all` runs all of them. */

const steps = Array.from({ length: 16 }, (_, index) => index + 1);
const parties = ['programmer', 'server', 'target'] as const;
const moments = ['before', 'after'] as const;
const chips = ['the same', 'another'] as const;

type Case = {
  readonly party: (typeof parties)[number];
  readonly moment: (typeof moments)[number];
  readonly next: (typeof chips)[number];
  readonly k: number;
};

const kinds = parties.flatMap(party => moments.flatMap(moment => chips.map(next => ({ party, moment, next }))));
const all: readonly Case[] = kinds.flatMap(kind => steps.map(k => ({ ...kind, k })));
/** Each kind at four steps, each step in three of the kinds. */
const share = process.env.NUSEC_LINE_KILLS === 'all' ? 1 : 4;
const cases = all.filter(({ k }, index) => (k + Math.floor(index / steps.length)) % share === 0);

/** What the server is asked in a step: it ends with the work done and the answer unsent. */
const callOf: Readonly<Record<number, string>> = {
  2: 'units',
  5: 'csr',
  7: 'bootloader',
  10: 'application-key',
  13: 'application',
  16: 'commit',
};
/** Steps in which the target answers something. */
const withTarget = new Set([1, 4, 5, 6, 8, 9, 10, 11, 12, 14, 15]);

let floor: Floor;
const built: string[] = [];
beforeAll(async () => {
  floor = await openFloor({ count: 2 * cases.length + 10 });
}, limitOfProcesses(6));
afterAll(() => floor?.close());

const pidOf = ({ party }: Case, chip: Chip): number => {
  if (party === 'target') return chip.pid();
  return party === 'programmer' ? floor.programmer.pid() : (floor.world.servers()[0]?.pid ?? 0);
};

/** Hits at the moment of the case. What comes before the first step has no line in a journal. */
async function hit(given: Case, { uid }: Chip, pid: number): Promise<void> {
  const { party, moment, k: step } = given;
  const call = party === 'server' ? callOf[step] : party === 'target' && withTarget.has(step) ? 'any' : undefined;
  const isUnanswered = moment === 'after' && call !== undefined;
  const blow = (): void => {
    if (isUnanswered) floor.arm(party === 'server' ? 'server' : 'mcu', call);
    else process.kill(pid, 'SIGKILL');
  };
  if (step === 1 && (moment === 'before' || isUnanswered)) return blow();
  if (party === 'programmer') return floor.plan({ uid, step, moment, action: 'die' });
  floor.plan({ uid, step, moment: isUnanswered ? 'before' : moment, action: 'hold' });
  await floor.held();
  blow();
  if (!isUnanswered) await until(() => !isThere(pid));
  floor.release();
}

const isThere = (pid: number): boolean => existsSync(`/proc/${pid}`);

/** What was hit is there again. A target is when its chip is put in. */
async function restore(party: Case['party']): Promise<void> {
  if (party === 'server') await floor.world.restartServer('SIGKILL');
  if (party === 'programmer') await floor.programmer.restart();
}

async function build(chip: Chip): Promise<Run> {
  const takeOut = await chip.insert();
  const run = await floor.produce();
  await takeOut();
  return run;
}

/** The run goes into the cut. @returns how the first chip ends; while the server is away its run may wait until another chip takes its place */
async function cutRun(given: Case, chip: Chip): Promise<{ readonly end: Promise<Run> }> {
  const takeOut = await chip.insert();
  const pid = pidOf(given, chip);
  const isHit = hit(given, chip, pid);
  const end = floor.produce();
  await isHit;
  await until(() => !isThere(pid));
  await Promise.all([given.party !== 'server' || given.next === 'the same' ? end : undefined, restore(given.party)]);
  await takeOut();
  return { end };
}

const passed = { outcome: 'OK', bin: 'pass' };

/** Every chip was committed once and no more, nothing is scrap, and server and programmer count the same. */
async function expectBalance(): Promise<void> {
  const { units, share, left, underWay } = await books(floor);
  const committed = units.filter(({ status }) => status === 'COMMITTED').map(({ uid }) => uid);
  expect(committed.toSorted()).toEqual(built.toSorted());
  expect(units.filter(({ status }) => status !== 'COMMITTED').map(({ status }) => status)).toEqual(Array(share.voided).fill('VOIDED'));
  expect(share).toMatchObject({ committed: built.length, scrapped: 0, reserved: share.committed + share.voided });
  expect(share.quota).toBe(share.committed + share.remaining);
  expect({ left, underWay }).toEqual({ left: share.remaining, underWay: [] });
}

describe.each(parties)('kill -9 of the %s', party => {
  it.each(cases.filter(given => given.party === party).map(given => [given.moment, given.k, given.next, given] as const))(
    '%s step %i, with %s chip afterwards (T33)',
    async (_, k, next, given) => {
      covers('T33');
      const chip = party === 'target' ? chipProcess(floor) : chipHere(floor);
      const cut = await cutRun(given, chip);
      if (next === 'another') {
        const other = chipHere(floor);
        expect(await build(other)).toMatchObject(passed);
        built.push(other.uid);
      }
      const first = await cut.end;
      const end = first.outcome === 'OK' ? first : await build(chip);
      expect(end, `step ${k}`).toMatchObject(passed);
      built.push(chip.uid);
      await expectBalance();
    },
    limitOfProcesses(4),
  );
});

describe('with no chip on the wires afterwards', () => {
  it('the commit whose answer was lost is delivered by the programmer itself (T33)', async () => {
    covers('T33');
    const chip = chipHere(floor);
    const { end } = await cutRun({ party: 'server', moment: 'after', next: 'another', k: 16 }, chip);
    expect(await end).toMatchObject(passed);
    built.push(chip.uid);
    await expectBalance();
  });
});

describe('after all of this', () => {
  it('ledger, programmer and server tell the same story, unit by unit: the job closes clean (T19, I14)', async () => {
    covers('T19', 'I14');
    expect(await closed(floor)).toMatchObject({ verdict: 'clean', discrepancies: [] });
  });
});
