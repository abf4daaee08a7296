import { describe, expect, it } from 'vitest';
import { createHeads } from '../../src/eventstore/heads.ts';

/** An index with one stream, whose newest event is at position 7. */
const indexed = { revision: 3, position: 7, hash: 'read here' };
const elsewhere = { ...indexed, hash: 'read elsewhere' };

function openHeads() {
  let [looks, searches] = [0, 0];
  /** What the index has; a test may put more into it. */
  const index = { ...indexed };
  const heads = createHeads({
    indexedEnd(stream) {
      searches += 1;
      return stream === 'device-1' ? index.position : undefined;
    },
    indexedHead(stream) {
      looks += 1;
      return stream === 'device-1' ? { ...index } : undefined;
    },
  });
  return { ...heads, index, looks: () => looks, searches: () => searches };
}

describe('where a stream ends', () => {
  it('is known without a look at its newest event', () => {
    const heads = openHeads();
    expect(['device-1', 'device-2'].map(heads.end)).toEqual([7, 0]);
    expect(heads.looks()).toBe(0);
  });

  it('is taken over from who has read it', () => {
    const heads = openHeads();
    heads.learn('device-1', elsewhere);
    expect(heads.of('device-1')).toEqual(elsewhere);
    expect(heads.looks()).toBe(0);
  });

  it('is not taken over where the index has another end, or none', () => {
    const heads = openHeads();
    heads.learn('device-1', { ...elsewhere, position: 6 });
    heads.learn('device-2', elsewhere);
    expect(heads.of('device-1')).toEqual(indexed);
    expect(heads.of('device-2')).toMatchObject({ revision: -1 });
  });

  it('is searched for in the index once, when it is learnt after it was asked for', () => {
    const heads = openHeads();
    expect(heads.end('device-1')).toBe(7);
    heads.learn('device-1', elsewhere);
    expect(heads.of('device-1')).toEqual(elsewhere);
    expect(heads.searches()).toBe(1);
  });

  it('is not taken over where the index has got more after it was asked for', () => {
    const heads = openHeads();
    heads.end('device-1');
    Object.assign(heads.index, { revision: 4, position: 9, hash: 'from another process' });
    heads.trim(9);
    heads.learn('device-1', elsewhere);
    expect(heads.of('device-1')).toMatchObject({ revision: 4, position: 9 });
  });

  it('is not taken over where more is known', () => {
    const heads = openHeads();
    const newer = { revision: 4, position: 9, hash: 'stored here' };
    heads.set('device-1', newer);
    heads.learn('device-1', elsewhere);
    expect([heads.of('device-1'), heads.end('device-1')]).toEqual([newer, 9]);
  });
});

it('is known of every stream while the index takes them over some at a time', () => {
  const heads = openHeads();
  const count = 1300;
  for (let i = 1; i <= count; i += 1) heads.set(`gateway-${i}`, { revision: 0, position: i, hash: `h${i}` });
  for (const indexedUpTo of [1200, 1200, 1250, 1250, 1250]) {
    heads.trim(indexedUpTo);
    for (let i = 1; i <= count; i += 1) expect(heads.of(`gateway-${i}`).position).toBe(i);
  }
  expect([heads.looks(), heads.searches()]).toEqual([0, 0]);
});
