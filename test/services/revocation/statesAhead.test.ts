import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { device, deviceStream } from '../../../src/domain/device.ts';
import { rowCheck } from '../../../src/eventstore/rowCheck.ts';
import { memoryOf, type PassingStates } from '../../../src/eventstore/stateCache.ts';
import { type Context, execute, oneCommit, stateOf } from '../../../src/services/base/context.ts';
import { readStatesAhead } from '../../../src/services/revocation/statesAhead.ts';
import { newUid } from '../parties.ts';
import { openProject, type Project } from '../project.ts';

let project: Project;
let uids: readonly [string, string, string];
beforeAll(async () => {
  project = await openProject();
  uids = [await produced(), await produced(), await produced()];
});
afterAll(() => project.close());

const serialOf = (uid: string) => `${uid}00`;

/** As production leaves it: nobody is named. */
async function produced(): Promise<string> {
  const { store, newId, clock } = project.ctx;
  const [uid, objId, grantId, hash] = [newUid(), newUid(), newUid(), newUid() + newUid()];
  const [icaId, serial, notAfter] = ['device-meter-1', serialOf(uid), '9999-12-31T23:59:59.000Z'];
  const events = [
    { type: 'DeviceMinted', data: { uid, objId, line: 'meter', jobId: newUid(), programmer: newUid(), grantId, generation: 1 } },
    { type: 'DeviceCertified', data: { serial, certificateSha256: hash, publicKeySha256: hash, icaId, notAfter, uid, objId } },
    { type: 'CertificateInstalled', data: { serial } },
  ];
  const common = { at: clock().toISOString(), by: 'programmer:test' };
  await store.append(
    deviceStream(uid),
    'none',
    events.map(event => ({ ...event, ...common, id: newId() })),
  );
  return uid;
}

const file = () => join(project.dataDir, 'events.db');
const remembered = (uid: string) => memoryOf(project.ctx.store).states.get(deviceStream(uid));
const forget = () => memoryOf(project.ctx.store).states.clear();
const of = (states: PassingStates, uid: string) => states.get(deviceStream(uid))?.loaded;
const ahead = (from = file()) => {
  const states = readStatesAhead(project.ctx, from);
  onTestFinished(() => states.close());
  return states;
};

type Row = [position: number, stream: string, revision: number, prev: number, id: string, hash: string, body: string];
const namePerson = (db: Database, stream: string): void => {
  const select = 'SELECT position, stream, revision, prev, id, hash, body FROM events WHERE stream = ? AND revision = 0';
  const [position, , revision, prev, id, hash, body] = db.prepare<Row>(select).raw().get(stream) as Row;
  const named = body.replace('"objId":"', '"objId":"~');
  expect(named).not.toBe(body);
  const crc = rowCheck(position, stream, revision, prev, id, hash, named);
  db.prepare('UPDATE events SET body = ?, crc = ? WHERE position = ?').run(named, crc, position);
};
const spoil = (db: Database, stream: string): unknown =>
  db.prepare('UPDATE events SET crc = crc + 1 WHERE stream = ? AND revision = 0').run(stream);
const remove = (db: Database, stream: string): unknown => db.prepare('DELETE FROM events WHERE stream = ?').run(stream);

describe('devices that are read ahead', () => {
  it('have the states that their events lead to, and those are gone on from', async () => {
    const [uid] = uids;
    const expected = await Promise.all(uids.map(each => stateOf(project.ctx, device, deviceStream(each))));
    const events = await project.ctx.store.readStream(deviceStream(uid));
    forget();
    const states = await ahead().read(uids);
    expect(uids.map(each => of(states, each)?.state)).toEqual(expected);
    expect(of(states, uid)).toMatchObject({ revision: events.length - 1, position: events.at(-1)?.position });
    const command = { type: 'RevokeCertificate', serial: serialOf(uid), reason: 'keyCompromise', by: 'system:test' } as const;
    const revoke = (ctx: Context) => execute(ctx, device, deviceStream(uid), command, 'system:test');
    expect((await oneCommit(project.ctx, revoke, states)).revision).toBe(events.length);
    expect(uids.map(remembered)).toEqual([undefined, undefined, undefined]);
    // What was read before is not the newest any more: what came after it counts.
    expect(await oneCommit(project.ctx, revoke, states)).toMatchObject({ revision: events.length, events: [] });
  });

  it.each([
    ['whose events name a person', namePerson],
    ['whose events are not as they were stored', spoil],
    ['that has no events', remove],
  ])('leave one %s to whoever decides', async (name, change) => {
    const copy = join(project.dataDir, `${name}.db`);
    const db = new Database(file());
    await db.backup(copy);
    db.close();
    const [, uid, other] = uids;
    const changed = new Database(copy);
    change(changed, deviceStream(uid));
    changed.close();
    forget();
    const states = await ahead(copy).read([uid, other]);
    expect([...states.keys()]).toEqual([deviceStream(other)]);
  });

  it('are left to whoever decides when the file cannot be read', async () => {
    expect((await ahead(join(project.dataDir, 'none.db')).read([uids[1]])).size).toBe(0);
  });
});
