import { afterAll, beforeAll, expect, it } from 'vitest';
import { activeProgrammer, Chip, defineProduct, releasedJob } from '../services/production/factory.ts';
import { openPlant, type Plant } from '../services/production/plant.ts';
import { covers } from '../support/covers.ts';

/** One release manager who wants to make a fleet impossible to upgrade, or its history disappear: what is never taken back needs another person. */

let plant: Plant;
beforeAll(async () => {
  plant = await openPlant();
  await defineProduct(plant, 'meter', 5);
  const builder = await activeProgrammer(plant);
  await builder.begin(await releasedJob(plant, 'meter'), 5);
  await builder.build(new Chip(), 'bootloader');
});
afterAll(() => plant?.close());

const path = '/v1/lines/meter';
const floor = (who: string, value: number, line = path) => plant.call(who, 'POST', `${line}/floor`, { floor: value });
const meter = () => plant.ask('rita', 'GET', path);
const encryption = { scheme: 'device', bits: 128, only: true, uidBound: false };

it('raises the floor to what two people have published, and no step further alone (RULE-11, I16, T12, T17)', async () => {
  covers('RULE-11', 'I16', 'T12', 'T17');
  expect(await floor('rita', 5)).toMatchObject({ status: 200, body: { rollbackFloor: 5 } });
  for (const value of [6, 255]) {
    const proposed = { floor: value, by: 'operator:rita' };
    expect(await floor('rita', value)).toMatchObject({ status: 202, body: { rollbackFloor: 5, proposed } });
  }
  await plant.ask('rita', 'POST', '/v1/lines', { line: 'meter', rollbackFloor: 255 });
  expect(await meter()).toMatchObject({ rollbackFloor: 5, proposed: { floor: 255 } });
  expect(await plant.code('rita', 'POST', `${path}/approve`)).toBe('FOUR_EYES_REQUIRED');
  expect(await plant.code('pia', 'POST', `${path}/approve`)).toBe('FORBIDDEN');
});

it('lets another one approve what was looked at, not what has taken its place (I16, T17)', async () => {
  covers('I16', 'T17');
  await floor('rita', 7);
  const { contentSha256 } = (await meter()).proposed;
  await floor('rita', 200);
  expect(await plant.code('rolf', 'POST', `${path}/approve`, { contentSha256 })).toBe('CONFLICT');
  await floor('rita', 7);
  const seen = (await meter()).proposed;
  expect(await plant.ask('rolf', 'POST', `${path}/approve`, { contentSha256: seen.contentSha256 })).toMatchObject({ rollbackFloor: 7 });
  expect((await meter()).proposed).toBeUndefined();
  expect(await plant.code('rolf', 'POST', `${path}/approve`)).toBe('STATE');
});

it('has plain images refused for ever, or attestations deleted early, by two people alone; a new line is its own (I16, T17, T18)', async () => {
  covers('I16', 'T17', 'T18');
  expect(await plant.call('rita', 'POST', `${path}/encryption`, encryption)).toMatchObject({
    status: 202,
    body: { proposed: { encryption } },
  });
  expect((await meter()).encryption).toBeUndefined();
  await plant.ask('rita', 'POST', '/v1/lines', { line: 'meter', attestationDays: 1 });
  expect(await meter()).toMatchObject({ proposed: { attestationDays: 1 } });
  await plant.ask('rita', 'POST', '/v1/lines', { line: 'meter', attestationDays: 4000 });
  expect(await meter()).toMatchObject({ attestationDays: 4000 });
  plant.moveClock(8 * 86_400_000);
  expect(await plant.code('rolf', 'POST', `${path}/approve`)).toBe('PROPOSAL_EXPIRED');
  await plant.ask('rita', 'POST', '/v1/lines', { line: 'valve', rollbackFloor: 9, attestationDays: 3 });
  expect(await plant.call('rita', 'POST', '/v1/lines/valve/encryption', encryption)).toMatchObject({
    status: 200,
    body: { rollbackFloor: 9, attestationDays: 3, encryption },
  });
});
