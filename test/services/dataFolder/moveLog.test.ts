import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { listOperators } from '../../../src/services/administration/operators.ts';
import { backUpToFolder } from '../../../src/services/backup/makeBackup.ts';
import { restoreBackup } from '../../../src/services/backup/restoreBackup.ts';
import { moveLog, moveLogOut } from '../../../src/services/dataFolder/moveLog.ts';
import { openContext } from '../../../src/services/dataFolder/open.ts';
import { startDouble } from '../../eventstore/kurrentdb/double.ts';
import { makeProject, testSettings } from '../../support/server.ts';

/** A project whose log goes into KurrentDB and comes back. */

const ports = { https: 0, crl: 0 };

it('a project works in its folder, in KurrentDB and in its folder again; a log that a server works on stays where it is', async () => {
  const double = await startDouble();
  onTestFinished(double.close);
  const project = await makeProject();
  onTestFinished(project.remove);
  const own = testSettings(project.dataDir);
  const there = { ...own, eventStore: double.url };
  /** @returns the people, and how many events the log has */
  const look = async (settings: typeof own) => {
    const { ctx, close } = await openContext(settings, ports);
    const seen = { people: (await listOperators(ctx)).map(({ name }) => name), events: await ctx.store.head() };
    await close();
    return seen;
  };
  const before = await look(own);
  expect(await moveLog(there)).toEqual({ events: before.events });
  await expect(look(own)).rejects.toMatchObject({ code: 'STATE' });
  expect(await look(there)).toEqual(before);

  const { ctx, close } = await openContext(there, ports);
  let count = 0;
  const timer = setInterval(() => {
    count += 1;
    void ctx.store.servers?.give({ id: 'other', host: 'nusec2.internal', port: 8444, count });
  }, 300);
  await expect(moveLogOut(there, false)).rejects.toMatchObject({ code: 'STATE', message: expect.stringContaining('nusec2.internal') });
  clearInterval(timer);
  await close();

  expect(await moveLogOut(there, false)).toEqual({ events: before.events });
  expect(await look(own)).toEqual(before);
  await expect(look(there)).rejects.toMatchObject({ code: 'STATE' });
  // The database is lost: what is here is the log.
  await moveLog(there);
  await double.down();
  const [backup, restored] = ['-backup', '-restored'].map(ending => project.dataDir + ending) as [string, string];
  onTestFinished(() => {
    for (const folder of [backup, restored]) rmSync(folder, { recursive: true, force: true });
  });
  await backUpToFolder(own, backup, () => undefined);
  await expect(moveLogOut(there, false)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  await expect(moveLogOut(own, false)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  expect(await moveLogOut(there, true)).toEqual({ events: before.events });
  expect(await look(own)).toEqual(before);
  // So does a backup that was made there.
  mkdirSync(restored, { mode: 0o700 });
  for (const file of ['keyset.bin', 'keystore.key']) copyFileSync(join(project.dataDir, file), join(restored, file));
  await expect(restoreBackup(backup, restored, [])).rejects.toMatchObject({ code: 'STATE' });
  expect(await restoreBackup(backup, restored, [], true)).toMatchObject({ events: before.events });
  expect(await look(testSettings(restored))).toEqual(before);
});
