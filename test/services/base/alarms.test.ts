import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, onTestFinished } from 'vitest';
import { NusecError } from '../../../src/errors.ts';
import { alarmQueries } from '../../../src/projections/alarms.ts';
import { startAlarmEnds } from '../../../src/services/base/alarmEnds.ts';
import { createAlarms } from '../../../src/services/base/alarms.ts';
import { areCurrent, type Context } from '../../../src/services/base/context.ts';
import { type OpenedContext, openContext } from '../../../src/services/dataFolder/open.ts';
import { dayMs, hourMs } from '../../../src/times.ts';
import { eventually } from '../../gateway/fieldKit.ts';
import { testSettings } from '../../support/server.ts';
import { watchWrites } from '../../support/watchedStore.ts';

/** Alarms of several processes at one log, and of a process that is started again: each has its own memory of what it has raised. */

const alarm = { code: 'RELEASE_RECALLED', subject: 'release-1', detail: 'one device' };
let opened: OpenedContext;
let ctx: Context;
let dataDir: string;
let aheadMs = 0;

beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'nusec-alarms-'));
  opened = await openContext(testSettings(dataDir), { https: 8443, crl: 8080 }, true);
  aheadMs = 0;
  ctx = { ...opened.ctx, clock: () => new Date(Date.parse('2026-01-01T00:00:00Z') + aheadMs) };
});
afterEach(async () => {
  await opened.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const codes = async () => (await ctx.store.readStream('alarm-release-1')).map(({ data }) => data.code);

it('raises a daily alarm once a day for all processes together, also after a restart', async () => {
  const processes = [createAlarms(ctx), createAlarms(ctx), createAlarms(ctx)];
  const look = () => Promise.all(processes.map(each => each.raise(alarm, 'daily')));
  await look();
  aheadMs = 23 * hourMs;
  await look();
  processes[0] = createAlarms(ctx);
  await look();
  expect(await codes()).toEqual([alarm.code]);
  aheadMs = dayMs;
  await look();
  expect(await codes()).toEqual([alarm.code, alarm.code]);
});

it('is raised again after it could not be stored', async () => {
  let isFull = true;
  const store = watchWrites(ctx.store, () => {
    if (isFull) throw new NusecError('STORE_UNAVAILABLE', 'the disk is full');
  });
  const alarms = createAlarms({ ...ctx, store });
  await expect(alarms.raise(alarm)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  isFull = false;
  await alarms.raise(alarm);
  await alarms.raise(alarm);
  expect(await codes()).toEqual([alarm.code]);
});

it('pauses no longer when the clock is set back', async () => {
  const alarms = createAlarms(ctx);
  aheadMs = 30 * dayMs;
  await alarms.raise(alarm);
  await alarms.raise(alarm, 'daily');
  aheadMs = 0;
  await alarms.raise(alarm);
  expect(await codes()).toEqual([alarm.code, alarm.code]);
  await alarms.raise(alarm);
  await alarms.raise(alarm, 'daily');
  expect(await codes()).toEqual([alarm.code, alarm.code]);
});

it('raises a daily alarm whatever else is raised about the same subject', async () => {
  const alarms = createAlarms(ctx);
  await alarms.raise({ ...alarm, code: 'OTHER' });
  await alarms.raise(alarm, 'daily');
  expect(await codes()).toEqual(['OTHER', alarm.code]);
});

it('is closed when it is over, whatever keeps another of its code from being looked at', async () => {
  const alarms = createAlarms(ctx);
  for (const subject of ['release-1', 'release-2', 'release-3']) await alarms.raise({ ...alarm, subject });
  const because = async (_: Context, subject: string) => {
    if (subject !== 'release-2') return 'no device runs it';
    throw new NusecError('STORE_DAMAGED', 'its stream cannot be read');
  };
  const ends = startAlarmEnds(ctx, [{ code: alarm.code, after: [], because }], []);
  onTestFinished(async () => void (await ends.close()));
  await eventually(async () => {
    await areCurrent(ctx, ['alarms']);
    const open = await alarmQueries(ctx.reads.db).cases({ state: 'open', limit: 10, now: ctx.clock().toISOString() });
    return open.map(({ subject }) => subject).join() === 'release-2';
  });
});
