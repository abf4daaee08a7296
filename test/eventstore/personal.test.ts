import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { SubjectKind } from '../../src/domain/subjects.ts';
import { personalStore } from '../../src/eventstore/personal.ts';
import { openEvent, type SubjectKeys, sealEvent } from '../../src/eventstore/personalEvent.ts';
import type { EventStore, EventToAppend, JsonObject } from '../../src/eventstore/port.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { verifyStore } from '../../src/eventstore/verify.ts';
import { type Subject, subjectId } from '../../src/evidence/personalSeal.ts';
import { covers } from '../support/covers.ts';
import { nextId, temporaryFolder } from './support.ts';

/** Keys in memory; `erase` forgets one. */
function keysInMemory(): SubjectKeys & { erase(kind: SubjectKind, name: string): void } {
  const subjects = new Map<string, Subject>();
  const find = (kind: SubjectKind, name: string) => [...subjects.values()].find(each => each.kind === kind && each.name === name);
  return {
    find,
    of(kind, name) {
      const salt = new Uint8Array(randomBytes(16));
      const made = { id: subjectId(salt, kind, name), kind, name, salt, key: new Uint8Array(randomBytes(32)) };
      const subject = find(kind, name) ?? made;
      subjects.set(subject.id, subject);
      return subject;
    },
    byId: id => subjects.get(id),
    erase: (kind, name) => void subjects.delete(find(kind, name)?.id ?? ''),
  };
}

const by = (name: string, type: string, data: JsonObject, id = nextId()): EventToAppend => ({
  type,
  id,
  at: '2026-01-02T03:04:05.678Z',
  by: `operator:${name}`,
  data,
});

let file: string;
let stored: EventStore;
let store: EventStore;
let keys: ReturnType<typeof keysInMemory>;
beforeEach(async () => {
  file = join(temporaryFolder(), 'events.db');
  stored = await openSqliteStore({ file });
  keys = keysInMemory();
  store = personalStore(stored, keys);
  return () => stored.close();
});

const suspended = { reason: 'the owner, Mr Smith, asked operator:bob for it', by: 'operator:alice' };
const inClear = async (): Promise<string> => JSON.stringify(await stored.readAll(0, 100));

describe('people in the log', () => {
  it('are read as they were written, and nothing of them is in the log', async () => {
    await store.append('operators', 'none', [
      by('alice', 'OperatorAdded', { name: 'bob', roles: ['auditor'], scope: { sites: ['Example CM'], lines: ['cam'] } }),
    ]);
    await store.append('device-1', 'none', [by('alice', 'DeviceSuspended', suspended)]);
    await store.append('effects-bob', 'none', [by('bob', 'EffectAllowanceProposed', { note: 'batch 7', by: 'operator:bob' })]);
    await store.append('alarm-operator-bob', 'any', [
      { ...by('x', 'AlarmRaised', { code: 'C', subject: 'operator-bob', detail: 'operator:alice: add bob' }), by: 'system:alarms' },
    ]);
    const [added] = await store.readStream('operators');
    expect(added).toMatchObject({ by: 'operator:alice', data: { name: 'bob', scope: { sites: ['Example CM'], lines: ['cam'] } } });
    expect((await store.readAll(1, 1))[0]?.data).toEqual(suspended);
    expect((await store.readStream('effects-bob'))[0]).toMatchObject({ stream: 'effects-bob', data: { note: 'batch 7' } });
    expect((await store.readStream('alarm-operator-bob'))[0]?.data).toEqual({
      code: 'C',
      subject: 'operator-bob',
      detail: 'operator:alice: add bob',
    });
    for (const secret of ['alice', 'bob', 'Smith', 'Example CM', 'batch 7']) expect(await inClear()).not.toContain(secret);
    expect(await inClear()).toContain('cam');
  });

  it('are erased with their key: others stay readable, two erased ones stay two, and every hash and proof holds', async () => {
    covers('T18');
    await store.append('device-1', 'none', [
      by('alice', 'DeviceSuspended', suspended),
      by('bob', 'DeviceReleased', { reason: 'found', by: 'operator:bob' }),
    ]);
    const root = await stored.tree.root(2);
    const hashes = (await store.readStream('device-1')).map(({ hash }) => hash);
    keys.erase('operator', 'alice');
    const [first, second] = await store.readStream('device-1');
    expect(first?.by).toMatch(/^operator:erased-[0-9a-f]{12}$/);
    expect(first?.data).toEqual({ reason: 'erased', by: first?.by });
    expect(second).toMatchObject({ by: 'operator:bob', data: { reason: 'found' } });
    keys.erase('operator', 'bob');
    const erased = await store.readStream('device-1');
    expect(new Set(erased.map(event => event.by)).size).toBe(2);
    expect(erased.map(({ hash }) => hash)).toEqual(hashes);
    expect(verifyStore(file, [{ size: 2, root }])).toMatchObject({ ok: true, events: 2 });
  });

  it('who come back under a name that was erased are somebody else', async () => {
    await store.append('device-1', 'none', [by('alice', 'DeviceResumed', { by: 'operator:alice' })]);
    keys.erase('operator', 'alice');
    await store.append('device-1', 'any', [by('alice', 'DeviceResumed', { by: 'operator:alice' })]);
    const [before, after] = await store.readStream('device-1');
    expect(before?.by).not.toBe(after?.by);
    expect(after?.by).toBe('operator:alice');
  });

  it('appended again with the same ids are stored once; with another text it is a conflict', async () => {
    const event = by('alice', 'DeviceSuspended', suspended);
    const first = await store.append('device-1', 'none', [event]);
    expect(await store.append('device-1', 'none', [event])).toEqual(first);
    const other = { ...event, data: { ...suspended, reason: 'another' } };
    await expect(store.append('device-1', 'any', [other])).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  it('in streams that an earlier version named in clear go on there', async () => {
    const old = by('bob', 'EffectUsed', { effect: 'revoke', subject: '1', at: 'now' });
    await stored.append('effects-bob', 'none', [old]);
    await store.append('effects-bob', 0, [by('bob', 'EffectUsed', { effect: 'revoke', subject: '2', at: 'now' })]);
    const events = await store.readStream('effects-bob');
    expect(events.map(event => [event.revision, event.by])).toEqual([
      [0, 'operator:bob'],
      [1, 'operator:bob'],
    ]);
  });

  it('are named as ever in the conflict of a stream', async () => {
    await store.append('effects-bob', 'none', [by('bob', 'EffectUsed', { effect: 'revoke', subject: '1', at: 'now' })]);
    await expect(store.append('effects-bob', 'none', [by('bob', 'EffectUsed', {})])).rejects.toMatchObject({ stream: 'effects-bob' });
  });

  it('any event comes back as it was, whatever people type', () => {
    const texts = fc.oneof(
      fc.string(),
      fc.constantFrom('~', `~${'0'.repeat(48)}`, `~${'0'.repeat(48)}:AAAA`, 'operator:', 'operator:~x', 'see operator:bob.'),
    );
    const data = fc.record({
      reason: texts,
      note: texts,
      name: texts,
      by: fc.constantFrom('operator:alice', 'system:x'),
      deep: fc.array(texts),
    });
    const type = fc.constantFrom('DeviceSuspended', 'ProgrammerReportedStolen', 'GatewayRegistered');
    keys.of('operator', 'bob');
    fc.assert(
      fc.property(type, data, (eventType, values) => {
        const event = by('alice', eventType, values);
        const kept = sealEvent(keys, event);
        const recorded = { ...kept, v: 1, stream: 's', revision: 0, position: 1, hash: '' };
        expect(openEvent(keys, recorded)).toMatchObject({ by: event.by, data: event.data });
      }),
    );
  });
});
