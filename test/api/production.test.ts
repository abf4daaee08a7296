import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64url, fromHex } from '../../src/bytes.ts';
import { attachTrailer } from '../../src/ota/build.ts';
import { verifyImage } from '../../src/ota/verify.ts';
import { activeProgrammer, Chip, defineProduct, releasedJob, type TestProgrammer } from '../services/factory.ts';
import { sha256 } from '../services/parties.ts';
import { openPlant, type Plant } from '../services/plant.ts';

let plant: Plant;
let programmer: TestProgrammer;
beforeAll(async () => {
  plant = await openPlant();
  await defineProduct(plant, 'meter');
  programmer = await activeProgrammer(plant);
  await programmer.begin(await releasedJob(plant, 'meter'), 5, 1);
});
afterAll(() => plant.close());

describe('one unit, from grant to commit', () => {
  it('is built step by step (R35–R56, R65–R82)', async () => {
    const chip = new Chip();
    await programmer.build(chip);
    console.log(await plant.ask('pia', 'GET', `/v1/jobs/${programmer.jobId}`));
  });
});
