import { copyFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it, onTestFinished } from 'vitest';
import { utf8 } from '../../../src/bytes.ts';
import { attestationSealStream, type SealedDay } from '../../../src/domain/attestationSeal.ts';
import { openS3 } from '../../../src/objects/s3.ts';
import { sealedObjects } from '../../../src/objects/sealed.ts';
import { type NewAttestation, openAttestationLog } from '../../../src/services/base/attestationLog.ts';
import { type KnownSegment, openAttestationSegments } from '../../../src/services/base/attestationSegments.ts';
import { defineLine } from '../../../src/services/firmware/lines.ts';
import { rootOf, sealAndForget } from '../../../src/services/proof/attestationSeals.ts';
import { startAttestationSharing } from '../../../src/services/proof/attestationSharing.ts';
import { dayMs } from '../../../src/times.ts';
import { temporaryFolder } from '../../eventstore/support.ts';
import { type S3Double, startS3Double } from '../../objects/s3Double.ts';
import { changeByTwo } from '../firmware/lineKit.ts';
import { openProject, type Project } from '../project.ts';

/** The log of attestations of several machines: two folders and one object store (a double); the event log is one. */

const uid = 'aa'.repeat(16);
const secret = new Uint8Array(32).fill(7);
let project: Project;
let double: S3Double;
let line = '';
let lines = 0;

beforeAll(async () => {
  project = await openProject();
});
afterAll(() => project.close());
beforeEach(async () => {
  double = await startS3Double();
  onTestFinished(double.close);
  lines += 1;
  line = `line-${lines}`;
  await defineLine(project.ctx, { line }, 'operator:alice');
});

const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
const nowMs = (): number => project.ctx.clock().getTime();

type Listener = (value: never) => void;
/** The links between the machines. @param isCut nothing that a machine is told arrives */
const linked = (listeners: Map<string, Listener>[], isCut = false) => {
  const own = new Map<string, Listener>();
  listeners.push(own);
  return {
    notify: (topic: string, value: unknown) => {
      for (const each of listeners) if (each !== own && !isCut) each.get(topic)?.(value as never);
    },
    onNotice: <Value>(topic: string, listener: (value: Value) => void) => void own.set(topic, listener),
  };
};

async function machine({ folder = temporaryFolder(), listeners = [] as Map<string, Listener>[], name = '' } = {}) {
  const file = join(folder, 'attestations.db');
  const s3 = await openS3({ url: double.url('p'), credentials: double.credentials });
  const attestations = openAttestationLog(file);
  const { ctx, alarms } = project;
  const sharing = startAttestationSharing({
    ctx,
    alarms,
    attestations,
    segments: openAttestationSegments(file),
    objects: sealedObjects(s3, secret),
    lock: join(folder, `attestations${name}`),
    peers: linked(listeners),
  });
  let isOpen = true;
  const close = async (): Promise<void> => {
    if (!isOpen) return;
    isOpen = false;
    await sharing.close();
    attestations.close();
    s3.close();
  };
  onTestFinished(close);
  let count = 0;
  return {
    folder,
    attestations,
    sharing,
    close,
    async add(atMs: number, change: Partial<NewAttestation> = {}): Promise<void> {
      count += 1;
      const nonceHex = Buffer.from(`${folder} ${count}`).toString('hex').padEnd(64, '0').slice(-64);
      await attestations.add({
        uid,
        line,
        atMs,
        via: 'mqtt',
        nonceHex,
        result: 'passed',
        evidence: utf8(`evidence ${folder} ${count}`),
        ...change,
      });
    },
    rows: () => attestations.page(uid, { limit: 100 }).filter(row => row.line === line),
    seal: () => sealAndForget({ ctx, alarms, attestations, sharing }),
  };
}
type Machine = Awaited<ReturnType<typeof machine>>;

/** The log of attestations as a backup has it; the file alone lacks what is in its WAL. */
function copied(folder: string): string {
  const back = temporaryFolder();
  for (const name of readdirSync(folder).filter(file => file.startsWith('attestations.db')))
    copyFileSync(join(folder, name), join(back, name));
  return back;
}

const seals = async (): Promise<readonly SealedDay[]> =>
  (await project.ctx.store.readStream(attestationSealStream(line))).map(({ data }) => data as unknown as SealedDay);

/** What a seal covers, as a machine has it: its rows give the root. */
function rootAt({ sharing: { segments } }: Machine, all: readonly SealedDay[], seal: SealedDay): string {
  const before = all.slice(0, all.indexOf(seal)).filter(({ day }) => day === seal.day);
  const isIn = ({ origin, seq }: KnownSegment, { through = {} }: SealedDay) => (through[origin] ?? 0) >= seq;
  const covered = segments
    .ofLine(line)
    .filter(each => each.day === seal.day && !each.isSealed && isIn(each, seal) && !before.some(earlier => isIn(each, earlier)));
  return rootOf(segments.rowsOf(covered)).root;
}

it('has every row on every machine, with its evidence and the same id, told by a link', async () => {
  const listeners: Map<string, Listener>[] = [];
  const [one, two] = [await machine({ listeners }), await machine({ listeners })];
  one.add(nowMs() - 10, {
    negotiated: { version: '1.2', signature: 'P-256', hash: 'SHA-256', slot: 0, capabilities: 'ff' },
    verdict: utf8('v'),
  });
  await two.add(nowMs(), { result: 'failed', reason: 'application: other value', evidence: undefined });
  await expect.poll(() => [one.rows().length, two.rows().length]).toEqual([2, 2]);
  expect(two.rows()).toEqual(one.rows());
  const [, older] = two.rows();
  expect(two.attestations.kept(uid, older?.evidenceSha256 ?? '')).toEqual(one.attestations.kept(uid, older?.evidenceSha256 ?? ''));
  expect(two.attestations.kept(uid, older?.verdictSha256 ?? '')).toEqual(utf8('v'));
  expect(two.attestations.page(uid, { beforeId: one.rows()[0]?.id, limit: 1 })).toEqual([older]);
});

it('loses nothing that was sent when a machine is lost, and reads nothing that the project has not sealed', async () => {
  const one = await machine();
  await one.add(nowMs());
  await one.sharing.exchange();
  const keys = double.keys().filter(key => key.startsWith('p/attestations/'));
  expect(keys).toHaveLength(1);
  expect(double.versions(keys[0] ?? '')[0]?.toString('latin1')).not.toContain('evidence');
  const later = await machine();
  await later.sharing.exchange();
  expect(later.rows()).toEqual(one.rows());
  // Somebody with the access key of the bucket puts a row of yesterday in the place of the next one.
  double.plant(keys[0]?.replace(/1$/, '2') ?? '', double.versions(keys[0] ?? '')[0] as Buffer);
  await expect(later.sharing.exchange()).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  expect(later.rows()).toHaveLength(1);
  // The rows of other machines come all the same.
  await later.add(nowMs());
  const third = await machine();
  await expect(later.sharing.exchange()).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  await expect(third.sharing.exchange()).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  expect(third.rows()).toHaveLength(2);
});

it('seals a day once over the rows of all machines, and late rows of one that was cut off in a seal of their own', async () => {
  const [one, two] = [await machine(), await machine()];
  const yesterdayMs = Date.parse(dayOf(nowMs())) - dayMs / 2;
  await one.add(yesterdayMs);
  await two.add(yesterdayMs + 1);
  await two.add(yesterdayMs - dayMs);
  await two.sharing.exchange();
  await one.seal();
  await one.seal();
  expect(await seals()).toMatchObject([
    { day: dayOf(yesterdayMs - dayMs), rows: 1 },
    { day: dayOf(yesterdayMs), rows: 2 },
  ]);
  // A machine that had no way to the object store: whoever leads seals what it brings.
  const lost = await machine();
  await lost.add(yesterdayMs + 2);
  await lost.add(yesterdayMs - 2 * dayMs);
  await lost.seal();
  const all = await seals();
  expect(all.slice(2)).toMatchObject([
    { day: dayOf(yesterdayMs - 2 * dayMs), rows: 1, late: true },
    { day: dayOf(yesterdayMs), rows: 1, late: true },
  ]);
  for (const each of [one, two, lost]) {
    await each.sharing.exchange();
    expect(all.map(seal => rootAt(each, all, seal))).toEqual(all.map(({ root }) => root));
  }
  await two.seal();
  expect(await seals()).toHaveLength(4);
});

it('keeps the seals that a machine has made before it shared its rows', async () => {
  const folder = temporaryFolder();
  const alone = openAttestationLog(join(folder, 'attestations.db'));
  const beforeMs = Date.parse(dayOf(nowMs())) - dayMs;
  const entry = { uid, line, via: 'mqtt', result: 'passed' } as const;
  await alone.add({ ...entry, atMs: beforeMs, nonceHex: '11'.repeat(32) });
  await sealAndForget({ ctx: project.ctx, alarms: project.alarms, attestations: alone });
  alone.close();
  // The other machine has rows of that day too: nobody has sealed them.
  const other = await machine();
  await other.add(beforeMs + 1);
  const first = await machine({ folder });
  await other.sharing.exchange();
  await first.seal();
  const all = await seals();
  expect(all).toMatchObject([{ rows: 1 }, { rows: 1, late: true }]);
  expect(rootOf(first.sharing.segments.ownRowsOf(line, all[0]?.day ?? '')).root).toBe(all[0]?.root);
  await other.sharing.exchange();
  expect(other.rows()).toEqual(first.rows());
  expect(rootAt(other, all, all[1] as SealedDay)).toBe(all[1]?.root);
});

it('doubles no row when a folder is put back that had sent more, nor when two processes send', async () => {
  const folder = temporaryFolder();
  const one = await machine({ folder });
  const beside = await machine({ folder, name: '-second' });
  for (let i = 0; i < 4; i++) one.add(nowMs() + i);
  await Promise.all([one.sharing.exchange(), beside.sharing.exchange()]);
  await beside.close();
  await one.close();
  const back = copied(folder);
  const again = await machine({ folder });
  await again.add(nowMs() + 10);
  await again.sharing.exchange();
  const restored = await machine({ folder: back });
  await restored.add(nowMs() + 11);
  await restored.sharing.exchange();
  await again.sharing.exchange();
  expect(restored.rows()).toHaveLength(6);
  expect(again.rows()).toEqual(restored.rows());
  const fresh = await machine();
  await fresh.sharing.exchange();
  expect(fresh.rows()).toEqual(restored.rows());
});

it('goes on under a new name when a folder is put back and what it had sent since is deleted: the others get its rows', async () => {
  const folder = temporaryFolder();
  const todayMs = Date.parse(dayOf(nowMs()));
  const one = await machine({ folder });
  await one.add(todayMs - 9 * dayMs);
  await one.close();
  const back = copied(folder);
  const again = await machine({ folder });
  for (const days of [8, 7]) {
    await again.add(todayMs - days * dayMs);
    await again.sharing.exchange();
  }
  const nameBefore = again.sharing.segments.origin();
  const two = await machine();
  await two.seal();
  await again.close();
  await defineLine(project.ctx, { line }, 'operator:alice');
  await changeByTwo(project.ctx, line, { attestationDays: 5 });
  await two.seal();
  expect(double.keys().filter(key => key.startsWith('p/attestations/'))).toEqual([]);
  const restored = await machine({ folder: back });
  await restored.add(nowMs());
  await restored.sharing.exchange();
  await restored.add(nowMs() + 1);
  await restored.sharing.exchange();
  await two.sharing.exchange();
  expect(two.rows()).toHaveLength(2);
  const names = double.keys().filter(key => key.startsWith('p/attestations/'));
  expect(new Set(names.map(key => key.split('/')[2])).size).toBe(1);
  expect(names.every(key => !key.includes(nameBefore))).toBe(true);
});

it('forgets on every machine and in the object store what a line keeps no longer', async () => {
  const [one, two] = [await machine(), await machine()];
  const todayMs = Date.parse(dayOf(nowMs()));
  for (const days of [9, 2]) {
    await one.add(todayMs - days * dayMs);
    await two.add(todayMs - days * dayMs + 1);
  }
  await two.sharing.exchange();
  await one.seal();
  await two.sharing.exchange();
  expect(two.rows()).toHaveLength(4);
  await defineLine(project.ctx, { line }, 'operator:alice');
  await changeByTwo(project.ctx, line, { attestationDays: 5 });
  await one.seal();
  await two.seal();
  for (const each of [one, two])
    expect(each.rows().map(({ atMs }) => dayOf(atMs))).toEqual([dayOf(todayMs - 2 * dayMs), dayOf(todayMs - 2 * dayMs)]);
  expect(double.keys().filter(key => key.startsWith('p/attestations/'))).toHaveLength(2);
  const fresh = await machine();
  await fresh.sharing.exchange();
  expect(fresh.rows()).toEqual(one.rows());
  expect(await seals()).toHaveLength(2);
});

it('sends what it has when it ends, and what it could not send at the next start', async () => {
  const one = await machine();
  await one.sharing.exchange();
  await one.add(nowMs());
  await one.close();
  expect(double.keys().filter(key => key.startsWith('p/attestations/'))).toHaveLength(1);
  const again = await machine({ folder: one.folder });
  double.down();
  await again.add(nowMs() + 1);
  await expect(again.sharing.exchange()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  double.up();
  await again.sharing.exchange();
  const two = await machine();
  await two.sharing.exchange();
  expect(two.rows()).toHaveLength(2);
});
