import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { activeProgrammer, Chip, defineProduct, releasedJob, type TestProgrammer } from './factory.ts';
import { openPlant, type Plant } from './plant.ts';

/** Configuration words of a job: what the programmer says that it wrote is no proof, the chip signs what it has. */

const words = [0xffff_ff7f, 0xffff_ffff, 0xffff_fffe, 0x5a5a_ffff];
const others = [0xffff_ff7f, 0xffff_ffff, 0xffff_ffff, 0x5a5a_ffff];

let plant: Plant;
let builder: TestProgrammer;
beforeAll(async () => {
  plant = await openPlant();
  await defineProduct(plant, 'meter');
  builder = await activeProgrammer(plant);
  await builder.begin(await releasedJob(plant, 'meter', { plannedCount: 20, scrapAllowance: 5, configWords: words }), 20, 5);
});
afterAll(() => plant.close());

describe('the receipt of the lock', () => {
  it.each([
    ['has none', {}],
    ['has others', { configWords: others }],
  ])('that %s is refused, and no application is given', async (_, facts) => {
    const chip = new Chip();
    await builder.build(chip, 'application');
    const ask = async (shown: object) => {
      const receipt = await chip.receipt('NuSEC lock receipt', shown);
      return builder.code(`units/${chip.grantId}/application`, await builder.applicationRequest(chip, { receipt }));
    };
    expect(await ask(facts)).toBe('RECEIPT_REFUSED');
    expect(await ask({ configWords: words })).toBe(200);
  });
});

describe('the receipt of the commit', () => {
  const built = async (): Promise<Chip> => {
    const chip = new Chip();
    chip.facts = { configWords: words };
    await builder.build(chip, 'commit');
    return chip;
  };

  it('that has others is refused', async () => {
    const chip = await built();
    chip.facts = { configWords: others };
    expect(await builder.code(`units/${chip.grantId}/commit`, await builder.commitRequest(chip))).toBe('RECEIPT_REFUSED');
  });

  it('need not have them: behind the lock nobody can write them', async () => {
    const chip = await built();
    chip.facts = {};
    await builder.commit(chip);
    expect(await builder.look(chip)).toMatchObject({ outcome: 'committed' });
  });
});
