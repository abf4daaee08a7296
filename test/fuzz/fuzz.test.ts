import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/bytes.ts';
import { fuzz, loadCorpus, targetNames } from './engine.ts';
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

  it('the corpus of records begins with one that opens', () => {
    expect(toHex(loadCorpus('secured-record')[0]!)).toBe(toHex(goodRecord()));
  });
});
