import { describe, expect, it } from 'vitest';
import { type Own, opening, repeatedly, whileOpen } from '../src/closing.ts';

/** Opens `a`, `b` and `c`, which write down when they are closed. */
function three(log: string[], close: (name: string) => unknown = () => undefined) {
  return async (own: Own) => {
    for (const name of ['a', 'b', 'c']) {
      own(name, {
        close() {
          log.push(name);
          return close(name);
        },
      });
    }
    return { opened: 3 };
  };
}

const never = new Promise<never>(() => {});
const shortMs = 20;

describe('what was opened as one', () => {
  it('closes in reverse order, once, however often it is asked', async () => {
    const log: string[] = [];
    const whole = await opening(three(log, async () => {}));
    expect(whole.opened).toBe(3);
    await Promise.all([whole.close(), whole.close()]);
    await whole.close();
    expect(log).toEqual(['c', 'b', 'a']);
  });

  it('waits for each before the next', async () => {
    const log: string[] = [];
    const slow = async (name: string): Promise<void> => {
      await new Promise(resolve => setTimeout(resolve, shortMs));
      log.push(`${name} is closed`);
    };
    await (await opening(three(log, slow))).close();
    expect(log).toEqual(['c', 'c is closed', 'b', 'b is closed', 'a', 'a is closed']);
  });

  it('may take as long as its parts take together', async () => {
    const slow = () => new Promise(resolve => setTimeout(resolve, 2 * shortMs));
    const limitMs = 5 * shortMs;
    const whole = await opening(async own => {
      own('parts', await opening(three([], slow), limitMs));
      return {};
    }, limitMs);
    await expect(whole.close()).resolves.toBeUndefined();
  });

  it('is closed when opening fails half-way, and the failure goes on', async () => {
    const log: string[] = [];
    const failing = opening(async own => {
      await three(log)(own);
      throw new Error('no fourth');
    });
    await expect(failing).rejects.toThrow('no fourth');
    expect(log).toEqual(['c', 'b', 'a']);
  });

  it.each([
    ['throws', () => Promise.reject(new Error('stuck')), 'stuck'],
    ['never ends', () => never, 'b: not closed within 20 ms'],
  ] as const)('closes the others when one %s, and tells', async (_, close, told) => {
    const log: string[] = [];
    const whole = await opening(
      three(log, name => (name === 'b' ? close() : undefined)),
      shortMs,
    );
    await expect(whole.close()).rejects.toThrow(told);
    expect(log).toEqual(['c', 'b', 'a']);
  });

  it('tells all that went wrong', async () => {
    const whole = await opening(
      three([], name => Promise.reject(new Error(`${name} is stuck`))),
      shortMs,
    );
    await expect(whole.close()).rejects.toThrow('c is stuck; b is stuck; a is stuck');
  });
});

describe('what is open for some work', () => {
  it('is closed after it, and when it fails', async () => {
    const log: string[] = [];
    expect(await whileOpen(async own => (await three(log)(own)).opened)).toBe(3);
    await expect(
      whileOpen(async own => {
        await three(log)(own);
        throw new Error('no work');
      }),
    ).rejects.toThrow('no work');
    expect(log).toEqual(['c', 'b', 'a', 'c', 'b', 'a']);
  });
});

describe('work that is repeated', () => {
  const everyMs = 5;

  it('is done one at a time, and its failures are told', async () => {
    let running = 0;
    let most = 0;
    const told: unknown[] = [];
    const work = async (): Promise<void> => {
      running += 1;
      most = Math.max(most, running);
      await new Promise(resolve => setTimeout(resolve, 3 * everyMs));
      running -= 1;
      throw new Error('full');
    };
    const repeated = repeatedly(everyMs, work, error => told.push((error as Error).message));
    await Promise.all([repeated.now(), repeated.now()]);
    await expect.poll(() => told.length).toBeGreaterThan(3);
    await repeated.close();
    expect(most).toBe(1);
    expect(new Set(told)).toEqual(new Set(['full']));
  });

  it('is told to stop and waited for when it is closed; what fails by that is no failure', async () => {
    const log: string[] = [];
    const work = async (stop: AbortSignal): Promise<void> => {
      log.push('begin');
      await new Promise(resolve => stop.addEventListener('abort', resolve));
      await new Promise(resolve => setTimeout(resolve, everyMs));
      log.push('end');
      throw new Error('closed');
    };
    const repeated = repeatedly(10_000, work, error => log.push(String(error)));
    void repeated.now();
    await expect.poll(() => log).toEqual(['begin']);
    await repeated.close();
    log.push('closed');
    await repeated.now();
    expect(log).toEqual(['begin', 'end', 'closed']);
  });
});
