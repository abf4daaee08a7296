import { expect, it, onTestFinished } from 'vitest';
import { job, jobStream } from '../../src/domain/job.ts';
import type { JobEvent } from '../../src/domain/jobEvents.ts';
import { schemaVersionOf } from '../../src/domain/upcasters.ts';
import { createFollowers } from '../../src/eventstore/followers.ts';
import { type CommandMeta, handle, loadState } from '../../src/eventstore/handle.ts';
import { historyOf, newEvent, type Recorded, streamOf } from '../../src/eventstore/recorded.ts';
import { openMemoryStore } from './memory.ts';
import { event, nextId } from './support.ts';

const jobId = '0f'.repeat(16);
const facts = { jobId, line: 'sensor', plannedCount: 10, scrapAllowance: 1 };
const today = { ...facts, createdBy: 'operator:ann', policy: { requireUidList: true } };
/** As it was stored when a job chose all bits of its policy. */
const old = {
  ...today,
  policy: { requireUidList: true, lockDebug: true, deployedLifeCycle: true, requireSpdm: true, verifyBootBeforeLock: true },
};
const meta: CommandMeta = { by: 'operator:ann', now: '2026-01-02T03:04:05.678Z', newId: nextId };

async function withOldJob() {
  const store = openMemoryStore();
  onTestFinished(store.close);
  await store.append(jobStream(jobId), 'none', [event('JobCreated', old)]);
  return store;
}

it('a stream with an event of an older version is folded and decided on in the shape of today', async () => {
  const store = await withOldJob();
  expect((await loadState(store, job, jobStream(jobId))).state).toMatchObject({ policy: { requireUidList: true } });
  expect((await loadState(store, job, jobStream(jobId))).state).not.toHaveProperty('policy.lockDebug');
  const uidList = { type: 'AttachUidList', sha256: 'aa'.repeat(32), count: 10, by: 'operator:ann' } as const;
  expect((await handle(store, job, jobStream(jobId), uidList, meta)).state).toMatchObject({ policy: today.policy, uidList: { count: 10 } });
});

it('whoever follows or reads the log sees an event of an older version in the shape of today', async () => {
  const store = await withOldJob();
  const seen: Recorded[] = [];
  const followers = createFollowers(store);
  onTestFinished(followers.close);
  await followers.follow('one', 0, events => void seen.push(...events)).caughtUp(1);
  const expected = [{ type: 'JobCreated', v: schemaVersionOf('JobCreated'), data: today }];
  for (const events of [seen, await streamOf<JobEvent>(store, jobStream(jobId)), await historyOf(store, jobStream(jobId), 'JobCreated')]) {
    expect(events.map(({ type, v, data }) => ({ type, v, data }))).toEqual(expected);
  }
});

it('the log keeps the event as it was written, for its hash and for auditors', async () => {
  const store = await withOldJob();
  await streamOf<JobEvent>(store, jobStream(jobId));
  expect((await store.readStream(jobStream(jobId))).map(({ v, data }) => ({ v, data }))).toEqual([{ v: 1, data: old }]);
});

it('new events are stored with the version that their shape has', async () => {
  const store = openMemoryStore();
  onTestFinished(store.close);
  const policy = { requireUidList: true };
  await handle(store, job, jobStream(jobId), { type: 'CreateJob', ...facts, policy, by: 'operator:ann' }, meta);
  await store.append('made', 'any', [newEvent('JobCreated', today, { id: nextId(), at: meta.now, by: meta.by })]);
  await store.append('made', 'any', [newEvent('JobClosed', { by: 'operator:ann' }, { id: nextId(), at: meta.now, by: meta.by })]);
  expect((await store.readAll(0, 9)).map(({ type, v }) => `${type} ${v}`)).toEqual(['JobCreated 2', 'JobCreated 2', 'JobClosed 1']);
});
