import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromHex } from '../../../src/bytes.ts';
import { sweepUnits } from '../../../src/services/production/unitExpiry.ts';
import { dayMs } from '../../../src/times.ts';
import { covers } from '../../support/covers.ts';
import { newUid } from '../parties.ts';
import { activeProgrammer, Chip, defineProduct, releasedJob, type TestProgrammer } from './factory.ts';
import { openPlant, type Plant } from './plant.ts';

/** The truth table of reconciliation through real, signed ledgers: a programmer does a job, tells something else in its ledger, and the server
 *  finds it when the job is closed. */

let plant: Plant;
beforeAll(async () => {
  plant = await openPlant();
  await defineProduct(plant, 'meter');
});
afterAll(() => plant.close());

type Row = readonly [story: string, act: (builder: TestProgrammer, chip: Chip) => Promise<unknown>, kinds: readonly string[]];

const commitRecord = (builder: TestProgrammer, chip: Chip, change: object = {}) =>
  builder.append(
    builder.entry('commit', { uid: fromHex(chip.party.uid), grantId: fromHex(chip.grantId), receiptSha256: new Uint8Array(32), ...change }),
  );
const voidRecord = (builder: TestProgrammer, chip: Chip, change: object = {}) =>
  builder.append(builder.entry('void', { uid: fromHex(chip.party.uid), grantId: fromHex(chip.grantId), reason: 'test', ...change }));

const rows: readonly Row[] = [
  ['commits a unit', (builder, chip) => builder.build(chip), []],
  [
    'voids a unit',
    async (builder, chip) => {
      await builder.build(chip, 'bootloader');
      await builder.voidUnit(chip, false);
    },
    [],
  ],
  [
    'says in its ledger that nothing was burned of a unit that got its bootloader: the server counts it as scrap',
    async (builder, chip) => {
      await builder.build(chip, 'application-key');
      const request = { reason: 'test', otpTouched: false, ledger: [] as string[] };
      await voidRecord(builder, chip, { scrap: false });
      request.ledger = builder.pending;
      expect(await builder.ask(`units/${chip.grantId}/void`, request)).toMatchObject({ scrapped: true });
      builder.acknowledged = builder.records.length;
    },
    [],
  ],
  [
    'scraps a unit in its ledger and says less to the server: what is signed counts',
    async (builder, chip) => {
      await builder.build(chip, 'bootloader');
      await voidRecord(builder, chip, { scrap: true });
      const request = { reason: 'test', otpTouched: false, ledger: builder.pending };
      expect(await builder.ask(`units/${chip.grantId}/void`, request)).toMatchObject({ scrapped: true });
      builder.acknowledged = builder.records.length;
    },
    [],
  ],
  [
    'is refused a unit and voids it in the ledger alone',
    async builder => {
      await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/suspend`, { reason: 'test' });
      const uid = newUid();
      expect(await builder.code('units', await builder.reserveRequest(uid))).toBe('JOB_NOT_RUNNING');
      await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/resume`);
      await builder.append(builder.entry('void', { uid: fromHex(uid), reason: 'refused' }));
    },
    [],
  ],
  [
    'commits a unit, then voids it in the ledger: a valid device in the scrap bin',
    async (builder, chip) => {
      await builder.build(chip);
      await voidRecord(builder, chip);
    },
    ['unit-mismatch'],
  ],
  [
    'voids a unit at the server and commits it in the ledger',
    async (builder, chip) => {
      await builder.build(chip, 'bootloader');
      await builder.voidUnit(chip, false);
      await commitRecord(builder, chip);
    },
    ['ledger-order', 'unit-mismatch'],
  ],
  [
    'commits in the ledger a unit that was never granted',
    async builder => {
      await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/suspend`, { reason: 'test' });
      const uid = newUid();
      expect(await builder.code('units', await builder.reserveRequest(uid))).toBe('JOB_NOT_RUNNING');
      await plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/resume`);
      const ids = { uid: fromHex(uid), grantId: fromHex(newUid()), receiptSha256: new Uint8Array(32) };
      await builder.append(builder.entry('commit', ids));
    },
    ['overbuild-attempt', 'unit-mismatch'],
  ],
  [
    'ends a unit that it has not reserved',
    async (builder, chip) => {
      await builder.build(chip);
      await builder.append(builder.entry('void', { uid: fromHex(newUid()), reason: 'test' }));
    },
    ['ledger-order'],
  ],
  [
    'commits a unit twice',
    async (builder, chip) => {
      await builder.build(chip);
      await commitRecord(builder, chip);
    },
    ['ledger-order', 'unit-mismatch'],
  ],
  [
    'gives itself two units more with a void',
    async (builder, chip) => {
      await builder.build(chip, 'bootloader');
      builder.left += 1;
      await builder.voidUnit(chip, false);
    },
    ['ledger-order'],
  ],
  [
    'builds on after the end of the job',
    async (builder, chip) => {
      await builder.build(chip);
      await builder.zeroise();
      await voidRecord(builder, chip);
    },
    ['ledger-order', 'unit-mismatch'],
  ],
];

describe('a job whose programmer', () => {
  it.each(rows)('%s', async (_, act, kinds) => {
    covers('T1', 'T19', 'I14');
    const builder = await activeProgrammer(plant);
    const jobId = await releasedJob(plant, 'meter', { plannedCount: 5, scrapAllowance: 2 });
    await builder.begin(jobId, 5, 2);
    await act(builder, new Chip());
    await builder.zeroise().catch(() => undefined);
    const closed = await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/close`, { withoutReceipt: 'test' });
    expect([...new Set(closed.discrepancies.map((finding: { kind: string }) => finding.kind))].sort()).toEqual([...kinds].sort());
    expect(closed.verdict).toBe(kinds.length === 0 ? 'clean' : 'discrepant');
  });
});

describe('a programmer that is stolen in the middle of its units', () => {
  it('leaves none uncounted: each is named while it is open, and after it has lapsed (T15, T19, I14)', async () => {
    covers('T15', 'T19', 'I14');
    const builder = await activeProgrammer(plant);
    const jobId = await releasedJob(plant, 'meter', { plannedCount: 5, scrapAllowance: 2 });
    await builder.begin(jobId, 5, 2);
    const [built, begun, burned] = [new Chip(), new Chip(), new Chip()];
    await builder.build(built);
    await builder.build(begun, 'bootloader');
    await builder.build(burned, 'application');
    await plant.ask('olga', 'POST', `/v1/programmers/${builder.uid}/stolen`, {});
    const left = [begun.party.uid, burned.party.uid].toSorted();
    const open = JSON.parse((await plant.ask('pia', 'GET', `/v1/jobs/${jobId}/reconciliation`)).report);
    expect(named(open.findings, 'open-units')).toEqual(left);
    plant.moveClock(8 * dayMs);
    await sweepUnits(plant.ctx);
    const closed = await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/close`, { withoutReceipt: 'stolen' });
    expect(closed.verdict).toBe('discrepant');
    expect(named(closed.discrepancies, 'unit-mismatch')).toEqual(left);
    const { board } = await plant.ask('pia', 'GET', `/v1/jobs/${jobId}`);
    expect(board).toMatchObject([{ reserved: 3, committed: 1, voided: 2, scrapped: 1 }]);
  });
});

const named = (findings: readonly { kind: string; uid?: string }[], kind: string): readonly string[] =>
  findings.flatMap(finding => (finding.kind === kind ? (finding.uid ?? []) : [])).toSorted();
