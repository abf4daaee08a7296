import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { showTogether } from '../../src/eventstore/subscription.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
});

/** @returns what is shown, and how often subscribers were woken */
function setUp() {
  let durable = 0;
  let wakes = 0;
  const shown = showTogether(() => durable);
  const count = async (): Promise<void> => {
    for (;;) {
      await shown.wait();
      wakes += 1;
    }
  };
  void count();
  const store = async (events: number): Promise<void> => {
    durable += events;
    shown.advanced();
    await Promise.resolve();
  };
  return { shown, store, wakes: () => wakes };
}

describe('what subscribers are shown', () => {
  it('is the first event after a pause immediately, and what comes close behind it in one step', async () => {
    const { shown, store, wakes } = setUp();
    await store(1);
    expect([shown.position(), wakes()]).toEqual([1, 1]);
    for (let n = 0; n < 5; n += 1) await store(2);
    expect([shown.position(), wakes()]).toEqual([1, 1]);
    await vi.advanceTimersByTimeAsync(10);
    expect([shown.position(), wakes()]).toEqual([11, 2]);
    await vi.advanceTimersByTimeAsync(10);
    await store(1);
    expect([shown.position(), wakes()]).toEqual([12, 3]);
  });

  it('is everything when somebody waits for it, also what comes to the disk a moment later', async () => {
    const { shown, store } = setUp();
    await store(1);
    await store(1);
    shown.hurry();
    expect(shown.position()).toBe(2);
    shown.hurry();
    await store(1);
    expect(shown.position()).toBe(3);
    await store(1);
    expect(shown.position()).toBe(3);
  });

  it('wakes nobody when there is nothing new', async () => {
    const { shown, store, wakes } = setUp();
    await store(1);
    shown.advanced();
    await vi.advanceTimersByTimeAsync(100);
    expect(wakes()).toBe(1);
  });
});
