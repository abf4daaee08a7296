import { describe, expect, it } from 'vitest';
import { NusecError } from '../../src/errors.ts';
import { awayAfterMs, createAsking, silentAfterMs } from '../../src/objects/asking.ts';

/** How a store that may be away is asked; the clock is the test's. */

function world() {
  let nowMs = 0;
  const told: number[] = [];
  let back = 0;
  const ask = createAsking({
    isAnswer: error => error instanceof NusecError,
    mayTryAgain: error => !(error instanceof NusecError),
    watch: {
      onAway: ms => told.push(ms),
      onBack: () => {
        back += 1;
      },
    },
    now: () => nowMs,
  });
  let asked = 0;
  const pass = (ms: number): void => {
    nowMs += ms;
  };
  return {
    ask,
    told,
    back: () => back,
    pass,
    asked: () => asked,
    /** Asks, and gets nothing for so long. */
    inVain: (ms: number) =>
      ask(async () => {
        asked += 1;
        pass(ms);
        throw new Error('no answer');
      }),
    answered: () =>
      ask(async () => {
        asked += 1;
        return 'answer';
      }),
  };
}

const silent = { code: 'STORE_UNAVAILABLE' };

describe('asking a store', () => {
  it('tries again what fails at once, and not what is refused or gets no answer', async () => {
    const { ask, inVain, asked } = world();
    await expect(inVain(1)).rejects.toThrow('no answer');
    expect(asked()).toBe(3);
    await expect(inVain(silentAfterMs)).rejects.toThrow('no answer');
    expect(asked()).toBe(4);
    let refused = 0;
    const refusal = ask(async () => {
      refused += 1;
      throw new NusecError('BAD_REQUEST', 'too large');
    });
    // Silent since the try before: not even asked.
    await expect(refusal).rejects.toMatchObject(silent);
    expect(refused).toBe(0);
  });

  it('waits for a silent store once: the others are told so, until one finds it answering', async () => {
    const { inVain, answered, pass, asked } = world();
    await expect(inVain(5000)).rejects.toThrow('no answer');
    for (let n = 0; n < 5; n += 1) await expect(answered()).rejects.toMatchObject(silent);
    expect(asked()).toBe(1);
    pass(2000);
    expect(await answered()).toBe('answer');
    expect(await answered()).toBe('answer');
  });

  it('lets one look while it is silent, and takes nobody else along', async () => {
    const { ask, inVain, answered, pass } = world();
    await expect(inVain(5000)).rejects.toThrow('no answer');
    pass(2000);
    const gate = Promise.withResolvers<string>();
    const look = ask(() => gate.promise);
    await expect(answered()).rejects.toMatchObject(silent);
    gate.resolve('it is back');
    expect(await look).toBe('it is back');
    expect(await answered()).toBe('answer');
  });

  it('does not call a store silent that answers others', async () => {
    const { ask, answered, pass } = world();
    const gate = Promise.withResolvers<string>();
    let tried = 0;
    const slow = ask(() => {
      tried += 1;
      return gate.promise;
    });
    pass(4000);
    expect(await answered()).toBe('answer');
    pass(1000);
    gate.reject(new Error('no answer'));
    await expect(slow).rejects.toThrow('no answer');
    expect(tried).toBe(1);
    expect(await answered()).toBe('answer');
  });

  it('says once that it is away, when it has been for a while, and again when it is away again', async () => {
    const { inVain, answered, pass, told, back } = world();
    for (let round = 1; round <= 2; round += 1) {
      for (let ms = 0; ms < 3 * awayAfterMs; ms += 7000) {
        await expect(inVain(5000)).rejects.toThrow();
        pass(2000);
      }
      expect(told).toHaveLength(round);
      expect(told.at(-1)).toBeGreaterThanOrEqual(awayAfterMs);
      expect(back()).toBe(round - 1);
      expect(await answered()).toBe('answer');
      expect(back()).toBe(round);
    }
  });
});
