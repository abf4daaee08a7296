import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { verifyStore } from '../../src/eventstore/verify.ts';
import { covers } from '../support/covers.ts';
import { temporaryFolder } from './support.ts';
import { eventsOf, kinds, planted, rewrite, streams, total } from './tampering.ts';

/** The 16 kinds of tampering, tried on the file of a store. */

const seal = { key: new Uint8Array(32).fill(3), isNew: false };

let file: string;
let signed: { size: number; root: string };
beforeEach(async () => {
  file = join(temporaryFolder(), 'events.db');
  const store = await openSqliteStore({ file, seal: { ...seal, isNew: true } });
  for (let i = 0; i < total; i += 4) await Promise.all(streams.map(stream => store.append(stream, 'any', eventsOf(stream, i))));
  signed = { size: await store.head(), root: await store.tree.root(await store.head()) };
  await store.close();
});

describe('16 kinds of tampering, each with fresh hashes (T18)', () => {
  it('a store that nobody touched is whole, and opens', async () => {
    expect(verifyStore(file, [signed])).toEqual({ ok: true, events: total, streams: 4 });
    await (await openSqliteStore({ file, seal })).close();
  });

  it.each(kinds())('%s: verification names the first event that does not hold', (_, change, found) => {
    covers('T18');
    rewrite(file, change);
    expect(verifyStore(file, [signed])).toEqual({ ok: false, ...found });
  });

  it.each(kinds())('%s: with the tree made to fit, the checkpoint shows it', (_, change) => {
    covers('T18');
    rewrite(file, change, 'made to fit');
    expect(verifyStore(file, [signed])).toMatchObject({ ok: false });
    // Without anything signed such a store is whole: nothing in the file itself tells.
    expect(verifyStore(file)).toMatchObject({ ok: true });
  });

  it.each(kinds())('%s: with the tree made to fit, the store does not open for want of a seal', async (_, change) => {
    rewrite(file, change, 'made to fit');
    await expect(openSqliteStore({ file, seal })).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  });

  it('a planted event behind the checkpoint is no fault of the chain; the seal does not cover it', async () => {
    rewrite(file, rows => [...rows, planted('operators')], 'made to fit');
    expect(verifyStore(file, [signed])).toMatchObject({ ok: true });
    const refusal = { code: 'STORE_DAMAGED', message: expect.stringContaining(`from position ${total + 1} on`) };
    await expect(openSqliteStore({ file, seal })).rejects.toMatchObject(refusal);
  });
});
