import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { device, deviceStream } from '../../../src/domain/device.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { establishIssuingCa } from '../../../src/services/authority/issuingCa.ts';
import { stateOf } from '../../../src/services/base/context.ts';
import { type BulkSelection, createBulkRevocations, startBulkRevocationWork } from '../../../src/services/revocation/bulkRevocations.ts';
import { currentCrl } from '../../../src/services/revocation/crl.ts';
import { startCrlSchedule } from '../../../src/services/revocation/crlSchedule.ts';
import { readCrl } from '../../pki/readCrl.ts';
import { covers } from '../../support/covers.ts';
import { newUid } from '../parties.ts';
import { killer, openProject, type Project, type TestDevice, withKills } from '../project.ts';

const [alice, bob] = ['operator:alice', 'operator:bob'];
let project: Project;
beforeAll(async () => {
  project = await openProject(withKills);
});
afterAll(() => project.close());

const pauses = { firstMs: 20, maxMs: 40 };
const start = async () => {
  const work = await startBulkRevocationWork(project.ctx, project.alarms, join(project.dataDir, 'events.db'), pauses);
  onTestFinished(() => work.close());
  const bulk = createBulkRevocations(project.ctx);
  const done = (id: string) => expect.poll(async () => (await bulk.get(id)).status).toBe('DONE');
  return { ...bulk, done };
};
const devices = (count: number): Promise<readonly TestDevice[]> => Promise.all(Array.from({ length: count }, () => project.newDevice()));
const isRevoked = async ({ uid, parsed }: TestDevice) => {
  const state = await stateOf(project.ctx, device, deviceStream(uid));
  return state.status === 'REVOKED' && project.revocations.isRevoked(parsed.serialHex);
};

describe('a revocation in bulk', () => {
  it('needs two people, then revokes every device of a line and puts them on the list (R86, RULE-16, I16)', async () => {
    covers('R86', 'RULE-16', 'I16');
    const schedule = startCrlSchedule(project.ctx, project.revocations, project.alarms);
    onTestFinished(() => schedule.close());
    const units = await devices(300);
    const bulk = await start();
    const { id, count, status } = await bulk.propose({ line: 'meter' }, 'keyCompromise', 'weak generator', alice);
    expect([count, status]).toEqual([300, 'PROPOSED']);
    await expect(bulk.approve(id, alice)).rejects.toMatchObject({ code: 'FOUR_EYES_REQUIRED' });
    expect((await bulk.approve(id, bob)).status).toBe('RUNNING');
    await bulk.done(id);
    expect(await bulk.get(id)).toMatchObject({ status: 'DONE', done: 300, revoked: 300, failed: 0 });
    await project.revocations.caughtUp(await project.ctx.store.head());
    for (const unit of units) expect(await isRevoked(unit)).toBe(true);
    const ica = parseCertificate(units[0]?.ica ?? new Uint8Array());
    const listed = async () => readCrl((await currentCrl(project.ctx, 'device-meter-1')).full, ica, Date.now()).entries.length;
    await expect.poll(listed).toBe(300);
    expect((await project.eventsOf('CrlIssued')).length).toBeLessThan(20);
    await bulk.approve(id, bob);
    expect((await project.eventsOf('CertificateRevoked')).length).toBe(300);
  });

  it('counts devices that are missing or revoked already', async () => {
    const [unit] = await devices(1);
    const bulk = await start();
    await project.revoke(unit as TestDevice);
    const { id } = await bulk.propose({ uids: [unit?.uid ?? '', newUid()] }, 'superseded', 'x', alice);
    await bulk.approve(id, bob);
    await bulk.done(id);
    expect(await bulk.get(id)).toMatchObject({ status: 'DONE', done: 2, revoked: 0, failed: 1 });
  });

  it('goes on by itself after a failure that keeps the alarm out of the log too, and so do those behind it (R86, T33)', async () => {
    covers('R86', 'T33');
    const [one, other] = [await devices(50), await devices(50)];
    const bulk = await start();
    const propose = (units: readonly TestDevice[]) => bulk.propose({ uids: units.map(({ uid }) => uid) }, 'superseded', 'x', alice);
    const [first, second] = [await propose(one), await propose(other)];
    const before = (await project.eventsOf('CertificateRevoked')).length;
    // After the approval: the commit of the devices, and that of the alarm.
    Object.assign(killer, { at: 2, times: 2 });
    onTestFinished(() => void Object.assign(killer, { times: 1 }));
    await bulk.approve(first.id, bob);
    await expect.poll(() => killer.at).toBeLessThan(0);
    await bulk.approve(second.id, bob);
    await bulk.done(first.id);
    await bulk.done(second.id);
    expect((await project.eventsOf('CertificateRevoked')).length - before).toBe(100);
  });

  it('goes on after a restart where it was, and revokes none twice', async () => {
    const units = await devices(50);
    const stopping = await startBulkRevocationWork(project.ctx, project.alarms, join(project.dataDir, 'events.db'));
    const bulk = createBulkRevocations(project.ctx);
    const { id } = await bulk.propose({ uids: units.map(({ uid }) => uid) }, 'superseded', 'x', alice);
    const before = (await project.eventsOf('CertificateRevoked')).length;
    killer.at = 3;
    await bulk.approve(id, bob);
    const alarms = async () => (await project.eventsOf('AlarmRaised')).map(({ data }) => data.code);
    await expect.poll(alarms).toContain('BULK_REVOCATION_STOPPED');
    await stopping.close();
    expect((await bulk.get(id)).status).toBe('RUNNING');
    const again = await start();
    await again.done(id);
    expect((await project.eventsOf('CertificateRevoked')).length - before).toBe(50);
  });

  it('selects devices of several lines, or all, in the order of their UIDs', async () => {
    await establishIssuingCa(project.ctx, 'device', 'valve');
    await establishIssuingCa(project.ctx, 'device', 'pump');
    const lines = ['meter', 'valve', 'pump', 'valve'];
    const made = await Promise.all(lines.map(line => project.newDevice(undefined, line)));
    const bulk = await start();
    const selected = async (selection: BulkSelection) => {
      const { uidsSha256, count } = await bulk.propose(selection, 'superseded', 'x', alice);
      const uids =
        Buffer.from(await project.ctx.blobs.get(uidsSha256))
          .toString('hex')
          .match(/.{32}/g) ?? [];
      expect(uids).toHaveLength(count);
      expect(uids).toEqual(uids.toSorted());
      return uids;
    };
    const uidsOn = (...wanted: readonly string[]) => made.filter((_, index) => wanted.includes(lines[index] ?? '')).map(({ uid }) => uid);
    expect(await selected({ lines: ['valve', 'pump'] })).toEqual(uidsOn('valve', 'pump').toSorted());
    const all = await selected({ all: true });
    expect(all).toEqual(expect.arrayContaining(uidsOn(...lines)));
    expect(await selected({ all: true, status: 'REVOKED' })).not.toEqual(expect.arrayContaining(uidsOn('valve')));
    await expect(selected({ lines: ['nothing'] })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('is not stopped by one person unseen, once two have wanted it (T17)', async () => {
    covers('T17');
    const units = await devices(300);
    const bulk = await start();
    const { id } = await bulk.propose({ uids: units.map(({ uid }) => uid) }, 'superseded', 'x', alice);
    await bulk.approve(id, bob);
    await bulk.cancel(id, alice);
    const told = async () => (await project.eventsOf('AlarmRaised')).map(({ data }) => `${data.subject} ${data.detail}`);
    await expect.poll(told).toContainEqual(expect.stringMatching(new RegExp(`${id} ${alice} has cancelled it after \\d+ of 300 devices`)));
  });

  it('can be cancelled, and then revokes nothing more', async () => {
    const units = await devices(3);
    const bulk = await start();
    const { id } = await bulk.propose({ uids: units.map(({ uid }) => uid) }, 'superseded', 'x', alice);
    expect(await bulk.cancel(id, alice)).toMatchObject({ status: 'CANCELLED' });
    await expect(bulk.approve(id, bob)).rejects.toMatchObject({ code: 'STATE' });
    expect(await isRevoked(units[0] as TestDevice)).toBe(false);
    await expect(bulk.propose({ jobId: newUid() }, 'superseded', 'x', alice)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect((await bulk.list())[0]).toMatchObject({ id });
  });
});
