import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { covers } from '../../support/covers.ts';
import { limitOfProcesses } from '../../support/limits.ts';
import { books, type Chip, chipHere, type Floor, openFloor } from './floor.ts';

/** The OEM suspends the programmer or the job in the middle of a unit, and lets it go on; at last the programmer is reported stolen. The programmer stands
 *  still at the beginning of a step while that happens. Even steps meet one, odd ones the other; `NUSEC_LINE_KILLS=all` both. */

const lastStep = 16;
/** In which the application is given. */
const lastGift = 13;
const steps = Array.from({ length: lastStep - 1 }, (_, index) => index + 2);
const isWhole = process.env.NUSEC_LINE_KILLS === 'all';

let floor: Floor;
const built: string[] = [];
beforeAll(async () => {
  floor = await openFloor({ count: 60 });
}, limitOfProcesses(6));
afterAll(() => floor?.close());

/** The person who decides; both take turns, because what one may take out of service in a day is limited. */
const person = (k: number) => (k % 4 < 2 ? floor.world.alice : floor.world.bob);
const decisions = {
  programmer: (k: number, what: 'suspend' | 'resume') =>
    person(k).json('POST', `/v1/programmers/${floor.programmer.uid}/${what}`, what === 'suspend' ? { reason: 'audit' } : {}),
  job: (k: number, what: 'suspend' | 'resume') =>
    person(k).json('POST', `/v1/jobs/${floor.jobId}/${what}`, what === 'suspend' ? { reason: 'audit' } : {}),
};

/** A run that reaches the step, and what is decided there. */
async function runTo(k: number, chip: Chip, decide: () => Promise<unknown>) {
  floor.plan({ uid: chip.uid, step: k, moment: 'before', action: 'hold' });
  const run = floor.produce();
  await floor.held();
  await decide();
  const isWaiting = floor.programmer.waiting();
  isWaiting.catch(() => undefined);
  floor.release();
  return { run, first: await Promise.race([run, isWaiting]) };
}

async function expectBooks(): Promise<void> {
  const { units, share, left, underWay } = await books(floor);
  const committed = units.filter(({ status }) => status === 'COMMITTED').map(({ uid }) => uid);
  expect(committed.toSorted()).toEqual(built.toSorted());
  expect(share).toMatchObject({ scrapped: 0, committed: built.length, reserved: share.committed + share.voided });
  expect({ left, underWay }).toEqual({ left: share.quota - share.committed, underWay: [] });
}

describe.each(['programmer', 'job'] as const)('the %s is suspended', what => {
  const own = steps.filter(k => isWhole || (k % 2 === 0) === (what === 'programmer'));
  it.each(own)(
    'at the beginning of step %i: the unit waits, and is built when it goes on (T33, I17)',
    async k => {
      covers('T33', 'I17');
      const chip = chipHere(floor);
      const takeOut = await chip.insert();
      const { run, first } = await runTo(k, chip, () => decisions[what](k, 'suspend'));
      // Before there is a grant nothing is waited for; a unit that has its application is finished in a suspended job too.
      const expected = k === 2 ? 'refused' : what === 'job' && k > lastGift ? 'OK' : 'waiting';
      expect(first === 'waiting' ? first : first.outcome === 'OK' ? 'OK' : 'refused').toBe(expected);
      await decisions[what](k, 'resume');
      const end = await run;
      if (k > 2) expect(end).toMatchObject({ outcome: 'OK', bin: 'pass' });
      else expect(await floor.produce()).toMatchObject({ outcome: 'OK', bin: 'pass' });
      await takeOut();
      built.push(chip.uid);
      await expectBooks();
    },
    limitOfProcesses(4),
  );
});

describe('the programmer is reported stolen', () => {
  it(
    'past OTP: it gets nothing more, and the reconciliation names its unit, and no other (T15, T19, I14)',
    async () => {
      covers('T15', 'T19', 'I14');
      const chip = chipHere(floor);
      const takeOut = await chip.insert();
      const { alice } = floor.world;
      const before = (await floor.world.events()).length;
      const { first } = await runTo(13, chip, () => alice.json('POST', `/v1/programmers/${floor.programmer.uid}/stolen`, {}));
      expect(first === 'waiting' ? first : first.outcome).not.toBe('OK');
      await takeOut();
      const next = chipHere(floor);
      const takeNext = await next.insert();
      const refused = await floor.produce();
      expect(refused.outcome).not.toBe('OK');
      await takeNext();
      const since = (await floor.world.events()).slice(before);
      expect(since.filter(({ stream, type }) => stream === `device-${chip.uid}` && type === 'ProgrammingSessionAuthenticated')).toEqual([]);
      expect(since.filter(({ stream }) => stream === `device-${next.uid}`)).toEqual([]);
      const { report } = await alice.json<{ report: string }>('GET', `/v1/jobs/${floor.jobId}/reconciliation`);
      const { verdict, findings } = JSON.parse(report) as { verdict: string; findings: readonly { uid?: string }[] };
      expect(verdict).toBe('discrepant');
      expect(findings).toContainEqual(expect.objectContaining({ kind: 'open-units', uid: chip.uid, programmer: floor.programmer.uid }));
      expect(findings.flatMap(({ uid }) => uid ?? [])).toEqual([chip.uid]);
    },
    limitOfProcesses(4),
  );
});
