import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LogToCheck, startLogCheck } from '../../../src/services/proof/logCheck.ts';
import { openProject, type Project } from '../project.ts';

let project: Project;
let log: LogToCheck;
beforeEach(async () => {
  project = await openProject();
  log = { file: join(project.dataDir, 'events.db'), signed: [] };
});
afterEach(() => project.close());

function change(): void {
  const db = new Database(log.file);
  db.exec(`UPDATE events SET body = replace(body, '"administrator"', '"auditor"') WHERE stream = 'operators' AND revision = 1`);
  db.close();
}

describe('the look at every event when a server starts (T18)', () => {
  it('refuses the start, and names the event that was changed', async () => {
    change();
    const refusal = { code: 'STORE_DAMAGED', message: expect.stringContaining('stream operators, revision 1') };
    await expect(startLogCheck(project, log)).rejects.toMatchObject(refusal);
  });

  it('of a long log goes on beside the work, and is an alarm and a reason not to be ready', async () => {
    change();
    const check = await startLogCheck(project, log, 0);
    await expect.poll(() => check.trouble()).toContain('stream operators, revision 1');
    await expect.poll(async () => (await project.eventsOf('AlarmRaised')).map(({ data }) => data.code)).toContain('STORE_DAMAGED');
    await check.close();
  });

  it('finds nothing in a log that nobody touched', async () => {
    const check = await startLogCheck(project, log);
    expect(check.trouble()).toBeUndefined();
    await check.close();
  });
});
