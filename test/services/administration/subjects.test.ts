import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { sha256Hex } from '../../../src/digest.ts';
import { forgetAddresses } from '../../../src/services/administration/retention.ts';
import { enforceErasures, eraseSubject, subjectData } from '../../../src/services/administration/subjects.ts';
import { backUpToFolder } from '../../../src/services/backup/makeBackup.ts';
import { restoreBackup } from '../../../src/services/backup/restoreBackup.ts';
import { createAlarms } from '../../../src/services/base/alarms.ts';
import type { Context } from '../../../src/services/base/context.ts';
import { openContext } from '../../../src/services/dataFolder/open.ts';
import { dayMs } from '../../../src/times.ts';
import { covers } from '../../support/covers.ts';
import { exchange } from '../../support/http.ts';
import { makeProject, startTestServer, type TestServer, testSettings } from '../../support/server.ts';
import { openProject } from '../project.ts';

/** The life of a person's data, over the API of a real server: shown to them, erased by two administrators, gone from every file. */

let server: TestServer;
/** Keys of the project and a backup from before the erasure. */
let older: string;
const carolToken = 'c'.repeat(43);
beforeAll(async () => {
  server = await startTestServer();
  older = mkdtempSync(join(tmpdir(), 'nusec-subjects-'));
});
afterAll(async () => {
  await server.close();
  rmSync(older, { recursive: true });
});

const call = async (path: string, token: string, body?: object, method = body === undefined ? 'GET' : 'POST') => {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const sent = { ca: server.rootPem, headers, method, ...(body !== undefined && { body: JSON.stringify(body) }) };
  return exchange(`${server.url}${path}`, sent);
};
type Row = { readonly id: string; readonly kind: string; readonly name: string };
const subjectOf = async (name: string): Promise<Row | undefined> =>
  ((await call('/v1/subjects', server.alice)).json.subjects as Row[]).find(each => each.name === name);
const events = async () => (await call('/v1/events?limit=500', server.alice)).json.events as { type: string; by: string; data: object }[];
const approved = async (proposal: { readonly json: Record<string, unknown> }) =>
  call(`/v1/operator-changes/${(proposal.json.proposal as Row | undefined)?.id ?? proposal.json.id}/approve`, server.bob, {});
/** Every file of the data folder that has a text in clear. */
const filesWith = (text: string): readonly string[] =>
  readdirSync(server.dataDir, { recursive: true, encoding: 'utf8' }).filter(name => {
    const file = join(server.dataDir, name);
    return statSync(file).isFile() && readFileSync(file).includes(text);
  });

describe('a person in the log', () => {
  let id: string;

  it('is in no file of the log in clear, and reads as ever', async () => {
    const body = { name: 'carol', roles: ['securityOfficer'], tokenSha256: sha256Hex(carolToken) };
    expect((await approved(await call('/v1/operators', server.alice, body))).status).toBe(200);
    const wish = { effect: 'revoke', count: 40, note: 'for Mr Smith' };
    expect((await call('/v1/operators/me/allowances', carolToken, wish)).json).toMatchObject({
      proposedBy: 'operator:carol',
      note: 'for Mr Smith',
    });
    expect((await events()).findLast(({ type }) => type === 'EffectAllowanceProposed')).toMatchObject({
      by: 'operator:carol',
      data: { note: 'for Mr Smith' },
    });
    for (const secret of ['carol', 'Mr Smith']) expect(filesWith(secret).filter(name => !name.startsWith('views'))).toEqual([]);
  });

  it('gets everything that the log has of them (GDPR article 15)', async () => {
    id = (await subjectOf('carol'))?.id ?? '';
    const { events: own } = (await call(`/v1/subjects/${id}/data`, server.alice)).json as { events: { type: string }[] };
    const types = own.map(({ type }) => type);
    expect(types).toContain('OperatorAdded');
    expect(types).toContain('EffectAllowanceProposed');
    expect((await call('/v1/subjects', carolToken)).status).toBe(403);
  });

  it('is not erased while they work here, nor by one person (I16)', async () => {
    covers('I16');
    await backUpToFolder(testSettings(server.dataDir), join(older, 'backup'), () => {});
    for (const file of ['keyset.bin', 'keystore.key']) copyFileSync(join(server.dataDir, file), join(older, file));
    const erase = (token: string) => call(`/v1/subjects/${id}/erase`, token, { reason: 'asked for it' });
    expect((await erase(server.alice)).json).toMatchObject({ code: 'STATE' });
    const removal = await call('/v1/operators/carol', server.alice, undefined, 'DELETE');
    expect((await approved(removal)).status).toBe(200);
    expect((await erase(server.alice)).json).toMatchObject({ status: 'PROPOSED' });
    expect((await erase(server.alice)).json).toMatchObject({ status: 'PROPOSED' });
    expect((await erase(server.bob)).json).toMatchObject({ status: 'ERASED', proposedBy: 'operator:alice', approvedBy: 'operator:bob' });
    expect(await subjectOf('carol')).toBeUndefined();
  });

  it('is erased from events, alarms and every file, while the others stay (GDPR article 17)', async () => {
    const all = JSON.stringify(await events());
    expect(all).not.toContain('carol');
    expect(all).not.toContain('Mr Smith');
    expect(all).toContain('operator:alice');
    expect(all).toContain('SubjectErased');
    await expect.poll(async () => JSON.stringify((await call('/v1/alarms?limit=500', server.alice)).json)).not.toContain('carol');
    expect(JSON.stringify((await call('/v1/alarms?limit=500', server.alice)).json)).toContain('operator-erased-');
    await expect.poll(() => [...filesWith('carol'), ...filesWith('Mr Smith')]).toEqual([]);
  });
});

it('what a backup from before the erasure brings back is erased again, and that is said (T34)', async () => {
  covers('T34');
  await server.close();
  const target = join(older, 'restored');
  mkdirSync(target);
  for (const file of ['keyset.bin', 'keystore.key']) copyFileSync(join(older, file), join(target, file));
  const restored = await restoreBackup(join(older, 'backup'), target, [server.alice, server.bob]);
  expect(restored).toMatchObject({ erasedAgain: 1 });
  await inFolder(target, async ctx => {
    expect(ctx.subjects.find('operator', 'carol')).toBeUndefined();
    expect(JSON.stringify(await ctx.store.readAll(0, 500))).not.toContain('carol');
  });
});

it('a key of somebody who was erased that is there again is destroyed again, with an alarm', async () => {
  const project = await makeProject();
  onTestFinished(project.remove);
  const { dataDir } = project;
  await inFolder(dataDir, async ctx => void ctx.subjects.of('operator', 'dave'));
  copyFileSync(join(dataDir, 'subjects.db'), join(dataDir, 'copy'));
  await inFolder(dataDir, async ctx => {
    const { id } = ctx.subjects.of('operator', 'dave');
    const parts = { ctx, alarms: createAlarms(ctx) };
    await eraseSubject(parts, id, { reason: 'asked for it' }, 'alice');
    expect(await eraseSubject(parts, id, { reason: 'asked for it' }, 'bob')).toMatchObject({ status: 'ERASED' });
  });
  copyFileSync(join(dataDir, 'copy'), join(dataDir, 'subjects.db'));
  await inFolder(dataDir, async ctx => {
    expect(ctx.subjects.find('operator', 'dave')).toBeDefined();
    await enforceErasures({ ctx, alarms: createAlarms(ctx) });
    expect(ctx.subjects.find('operator', 'dave')).toBeUndefined();
    expect((await ctx.store.readAll(0, 500)).at(-1)?.data).toMatchObject({ code: 'ERASED_CAME_BACK' });
  });
});

it('an address is forgotten after its days, counted and not named', async () => {
  const project = await openProject();
  try {
    await project.alarms.raise({ code: 'WRONG_TOKENS', subject: 'address-203.0.113.7', detail: '21 wrong tokens' });
    await forgetAddresses(project.ctx, 30);
    expect(project.ctx.subjects.find('address', '203.0.113.7')).toBeDefined();
    project.moveClock(31 * dayMs);
    await forgetAddresses(project.ctx, 30);
    const events = await project.ctx.store.readAll(0, 500);
    expect(JSON.stringify(events)).not.toContain('203.0.113');
    expect(events.at(-1)).toMatchObject({ type: 'AddressesForgotten', data: { count: 1 } });
  } finally {
    await project.close();
  }
});

it('what an earlier version wrote in clear is among the data of a person', async () => {
  const project = await openProject();
  try {
    const { ctx } = project;
    const { id } = ctx.subjects.of('operator', 'erin');
    const event = {
      type: 'DeviceResumed',
      id: ctx.newId(),
      at: '2026-01-01T00:00:00.000Z',
      by: 'operator:erin',
      data: { by: 'operator:erin' },
    };
    await ctx.storedLog.append('device-1', 'none', [event]);
    await ctx.storedLog.append('device-2', 'none', [{ ...event, id: ctx.newId(), by: 'operator:erinna', data: {} }]);
    expect((await subjectData(ctx, id, 0)).events.map(({ stream }) => stream)).toEqual(['device-1']);
  } finally {
    await project.close();
  }
});

it('a data folder whose subjects.db was lost is not opened as if everybody were erased', async () => {
  const project = await makeProject();
  onTestFinished(project.remove);
  rmSync(join(project.dataDir, 'subjects.db'));
  await expect(inFolder(project.dataDir, async () => undefined)).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED' });
});

async function inFolder(dataDir: string, work: (ctx: Context) => Promise<void>): Promise<void> {
  const opened = await openContext(testSettings(dataDir), { https: 0, crl: 0 });
  try {
    await work(opened.ctx);
  } finally {
    await opened.close();
  }
}
