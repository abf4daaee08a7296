import { afterAll, beforeAll, expect, it } from 'vitest';
import { reserveUnit } from '../../src/services/production/units.ts';
import { csrOf, newUid } from '../services/parties.ts';
import { activeProgrammer, Chip, defineProduct, releasedJob, type TestProgrammer } from '../services/production/factory.ts';
import { openPlant, type Plant } from '../services/production/plant.ts';
import { covers } from '../support/covers.ts';

/** Whoever has taken a programmer away: it keeps its key, its certificate and its share until somebody tells. */

let plant: Plant;
beforeAll(async () => {
  plant = await openPlant();
  await defineProduct(plant, 'meter');
});
afterAll(() => plant.close());

async function started(count: number): Promise<TestProgrammer> {
  const builder = await activeProgrammer(plant);
  await builder.begin(await releasedJob(plant, 'meter', { plannedCount: count }), count);
  return builder;
}

it('who floods reservations is held back (T24)', async () => {
  covers('T24');
  const builder = await started(500);
  const codes = new Map<string | number, number>();
  for (let unit = 0; unit < 70; unit++) {
    const code = await builder.code('units', await builder.reserveRequest(newUid()));
    if (code === 200) builder.acknowledged = builder.records.length;
    else builder.records.pop();
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  expect(Object.fromEntries(codes)).toEqual({ 200: 64, RATE_LIMITED: 6 });
});

it('who has a stolen one does nothing any more once it is told, with whatever it holds (T15, silence 10)', async () => {
  covers('T15');
  const builder = await started(3);
  const chip = new Chip();
  await builder.build(chip, 'application');
  await plant.ask('olga', 'POST', `/v1/programmers/${builder.uid}/stolen`, {});
  for (const path of ['units', `units/${chip.grantId}/bootloader`, `units/${chip.grantId}/commit`]) {
    expect(['CERTIFICATE_REVOKED', 'BAD_REQUEST']).toContain(await builder.code(path));
  }
  expect(await builder.code(`units/${chip.grantId}/bootloader`)).toBe('CERTIFICATE_REVOKED');
  const { board } = await plant.ask('pia', 'GET', `/v1/jobs/${builder.jobId}`);
  expect(board).toContainEqual(expect.objectContaining({ programmer: builder.uid, status: 'FROZEN', frozenReason: 'programmer-stolen' }));
  expect(await plant.code('pia', 'POST', `/v1/jobs/${builder.jobId}/allotments/${builder.uid}/export`, { replace: true })).toBe(
    'ALLOTMENT_FROZEN',
  );
});

it('is refused when suspended, even where the certificate still counts (T15, I17)', async () => {
  covers('T15', 'I17');
  const builder = await started(3);
  const request = await builder.reserveRequest(newUid());
  await plant.ask('olga', 'POST', `/v1/programmers/${builder.uid}/suspend`, { reason: 'audit' });
  const ledger = builder.records.slice(1);
  await expect(reserveUnit(plant.services, builder.uid, { ...request, ledger }, 'test')).rejects.toMatchObject({
    code: 'PROGRAMMER_NOT_ACTIVE',
  });
  await plant.ask('olga', 'POST', `/v1/programmers/${builder.uid}/resume`);
  expect(await builder.code('units', request)).toBe(200);
});

it('cannot use the grant of another one (T1)', async () => {
  covers('T1');
  const [builder, other] = [await started(3), await started(3)];
  const chip = new Chip();
  await builder.reserve(chip);
  expect(await other.code(`units/${chip.grantId}/csr`, { csr: csrOf(chip.party, chip.objId) })).toBe('NOT_FOUND');
});

it('builds nothing with a person’s token and no certificate (T15, R71, RULE-9)', async () => {
  covers('T15', 'R71', 'RULE-9');
  expect(await plant.code('alice', 'POST', '/v1/production/units', {})).toBe('CLIENT_CERTIFICATE_REQUIRED');
});
