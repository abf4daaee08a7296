import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/bytes.ts';
import { covers } from '../support/covers.ts';
import { fuzz, loadCorpus, targetNames } from './engine.ts';
import { fuzzPackets } from './mqttPackets.ts';
import { goodRecord } from './secured-record.ts';

const secondsEach = 1.5;
/** Another day, another seed, told when it fails. */
const seed = Math.floor(Date.now() / 86_400_000);

describe('fuzzing (T27); longer with `npm run fuzz -- NAME --seconds N`', () => {
  it.each(targetNames)('%s: a defined result for every input', async name => {
    const { runs, failure } = await fuzz(name, secondsEach, seed);
    expect(failure && { seed, ...failure }).toBeUndefined();
    expect(runs).toBeGreaterThan(20);
  });

  it('a hundred thousand packets to the MQTT broker: it lives, serves others, and keeps nothing (T27)', async () => {
    covers('T27');
    const { connections } = await fuzzPackets(100_000, seed);
    expect(connections).toBeGreaterThan(8);
  });

  it('the corpus of records begins with one that opens', () => {
    expect(toHex(loadCorpus('secured-record')[0]!)).toBe(toHex(goodRecord()));
  });
});
