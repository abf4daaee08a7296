import { expect, it } from 'vitest';
import { createCommitQueue, defaultLockWaitMs, maxQueuedWeight } from '../../src/eventstore/commitQueue.ts';
import type { Durability } from '../../src/eventstore/durability.ts';
import type { Writer } from '../../src/eventstore/writer.ts';
import { covers } from '../support/covers.ts';

/** The disk is busy: nothing leaves the queue. */
const busy = { isFree: () => false } as Durability;
const request = { appends: [], basis: [] };

it('a full queue tells whoever comes, by a promise and without one, and keeps no count of it (T24)', async () => {
  covers('T24');
  const queue = createCommitQueue({} as Writer, busy, defaultLockWaitMs);
  const outcomes: unknown[] = [];
  queue.put(request, maxQueuedWeight - 1, outcome => outcomes.push(outcome));
  queue.put(request, 2, outcome => outcomes.push(outcome));
  expect(outcomes).toEqual([expect.objectContaining({ code: 'RATE_LIMITED' })]);
  queue.put(request, 1, outcome => outcomes.push(outcome));
  expect(outcomes).toHaveLength(1);
  await expect(queue.add({ ...request, blobs: [{ sha256: '00', bytes: new Uint8Array(1) }] })).rejects.toMatchObject({
    code: 'RATE_LIMITED',
  });
});
