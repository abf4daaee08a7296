import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { NusecError } from '../../../src/errors.ts';
import { newEvent } from '../../../src/eventstore/recorded.ts';
import { alarmCaseId, alarmQueries, isOpenCase } from '../../../src/projections/alarms.ts';
import { acknowledgeAlarm, alarmCase } from '../../../src/services/administration/alarmCases.ts';
import { type AlarmEnd, startAlarmEnds } from '../../../src/services/base/alarmEnds.ts';
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

it('that was closed is raised again on another day', async () => {
  const alarms = createAlarms(ctx);
  await alarms.raise(alarm, 'daily');
  await acknowledgeAlarm(ctx, await alarmCase(ctx, alarmCaseId(alarm.code, alarm.subject)), 'seen', undefined, 'operator:alice');
  await alarms.raise(alarm, 'daily');
  expect(await codes()).toHaveLength(2);
  aheadMs = dayMs;
  await alarms.raise(alarm, 'daily');
  expect(await codes()).toEqual([alarm.code, alarm.code, alarm.code]);
});

it('is there again when a case about a vulnerability is opened again, and devices are affected', async () => {
  const subject = 'vulnerability-cve-2026-1';
  const meta = () => ({ id: ctx.newId(), at: '2026-01-01T00:00:00.000Z', by: 'system:vulnerabilities' });
  const id = alarmCaseId('VulnerabilityReachedDevices', subject);
  await ctx.store.append(subject, 'any', [newEvent('VulnerabilityReachedDevices', { devices: 2 }, meta())]);
  await acknowledgeAlarm(ctx, await alarmCase(ctx, id), 'closed', undefined, 'operator:alice');
  const reopen = (devices: number) =>
    ctx.store.append(subject, 'any', [newEvent('VulnerabilityReopened', { devices, by: 'system:vulnerabilities' }, meta())]);
  await reopen(0);
  expect(isOpenCase(await alarmCase(ctx, id))).toBe(false);
  await reopen(3);
  expect(await alarmCase(ctx, id)).toMatchObject({ detail: 'an affected release runs on 3 devices again', raised: 1 });
});

describe('an alarm that is over', () => {
  const openSubjects = async (): Promise<readonly string[]> => {
    await areCurrent(ctx, ['alarms']);
    const open = await alarmQueries(ctx.reads.db).cases({ state: 'open', limit: 1000, now: ctx.clock().toISOString() });
    return open.map(({ subject }) => subject);
  };
  const watch = (because: AlarmEnd['because'] = async () => undefined) => {
    const ends = startAlarmEnds(ctx, [{ code: alarm.code, after: [], because }], [], 0);
    onTestFinished(async () => void (await ends.close()));
  };

  it('is closed, whatever keeps another of its code from being looked at', async () => {
    const alarms = createAlarms(ctx);
    for (const subject of ['release-1', 'release-2', 'release-3']) await alarms.raise({ ...alarm, subject });
    watch(async (_, subject) => {
      if (subject !== 'release-2') return 'no device runs it';
      throw new NusecError('STORE_DAMAGED', 'its stream cannot be read');
    });
    await eventually(async () => (await openSubjects()).join() === 'release-2');
  });

  it('is closed however many are newer and stay open', async () => {
    const alarms = createAlarms(ctx);
    const subjects = Array.from({ length: 501 }, (_, i) => `release-${i}`);
    for (const subject of subjects) await alarms.raise({ ...alarm, subject });
    watch(async (_, subject) => (subject === 'release-0' ? 'no device runs it' : undefined));
    await eventually(async () => !(await openSubjects()).includes('release-0'));
    expect(await openSubjects()).toHaveLength(500);
  });

  it('is closed when it is raised after what ended it', async () => {
    watch(async () => 'no device runs it');
    const alarms = createAlarms(ctx);
    for (const subject of ['release-1', 'release-2']) {
      await alarms.raise({ ...alarm, subject });
      await eventually(async () => (await openSubjects()).length === 0);
    }
  });

  it('is closed with why, when a process has seen that the condition has ended, and not one that is raised later', async () => {
    watch();
    const alarms = createAlarms(ctx);
    const witness = { code: 'WITNESS', subject: 'release-1' };
    void alarms.raise({ ...witness, detail: 'away' });
    alarms.ended(witness, 'it answers');
    await alarms.raise(alarm);
    await eventually(async () => (await ctx.store.readStream('alarm-release-1')).some(({ type }) => type === 'AlarmAcknowledged'));
    const [closed] = (await ctx.store.readStream('alarm-release-1')).filter(({ type }) => type === 'AlarmAcknowledged');
    expect(closed?.data).toMatchObject({ ...witness, note: 'it answers', by: 'system:alarms' });
    expect(await openSubjects()).toEqual(['release-1']);
    alarms.ended({ ...witness, subject: 'witness-2' }, 'it answers');
    const byAnother = { id: ctx.newId(), at: '2026-01-01T00:00:00.000Z', by: 'system:alarms' };
    const away = newEvent('AlarmRaised', { ...witness, subject: 'witness-2', detail: 'away again' }, byAnother);
    await ctx.store.append('alarm-witness-2', 'any', [away]);
    await eventually(async () => ctx.conditions.pending(0).length === 0);
    expect(await openSubjects()).toContain('witness-2');
  });

  it('stays open when it is so again before it was closed', async () => {
    const alarms = createAlarms(ctx);
    await alarms.raise(alarm);
    alarms.ended(alarm, 'over');
    await alarms.raise(alarm);
    const pending = (settleMs: number) => ctx.conditions.pending(settleMs).filter(({ code }) => code === alarm.code);
    expect(pending(0)).toEqual([]);
    alarms.ended(alarm, 'over');
    expect(pending(0)).toHaveLength(1);
    expect(pending(hourMs)).toEqual([]);
    expect(await codes()).toHaveLength(1);
  });

  it.each(['daily', undefined] as const)('is raised again as soon as it is so again (%s)', async pause => {
    watch();
    const alarms = createAlarms(ctx);
    for (const times of [1, 2]) {
      await alarms.raise(alarm, pause);
      await alarms.raise(alarm, pause);
      expect(await openSubjects()).toEqual(['release-1']);
      alarms.ended(alarm, 'over');
      await eventually(async () => (await openSubjects()).length === 0);
      expect((await ctx.store.readStream('alarm-release-1')).filter(({ type }) => type === 'AlarmRaised')).toHaveLength(times);
    }
  });
});
