import { afterAll, beforeAll, expect, it } from 'vitest';
import { endSession, findSession, openSession } from '../../src/api/sessions.ts';
import { sha256Hex } from '../../src/digest.ts';
import type { Context } from '../../src/services/base/context.ts';
import { openContext } from '../../src/services/dataFolder/open.ts';
import { makeProject, testSettings } from '../support/server.ts';

/** Whoever has a copy of a cookie has nothing once its person has signed out. */

let project: Awaited<ReturnType<typeof makeProject>>;
beforeAll(async () => {
  project = await makeProject();
});
afterAll(() => project.remove());

async function inProcess<Result>(work: (ctx: Context) => Promise<Result>): Promise<Result> {
  const { ctx, close } = await openContext(testSettings(project.dataDir), { https: 0, crl: 0 });
  return work(ctx).finally(close);
}

it('a session that was ended stays so after a restart of everything, and no other one ends with it', async () => {
  const of = { name: 'alice', tokenSha256: sha256Hex(project.alice) };
  const [ended, other] = await inProcess(async ctx => {
    const texts = [await openSession(ctx, of, {}), await openSession(ctx, of, {})] as const;
    for (const text of texts) expect(await findSession(ctx, text)).toMatchObject({ name: 'alice' });
    await endSession(ctx, texts[0]);
    await endSession(ctx, texts[0]);
    expect(await findSession(ctx, texts[0])).toBeUndefined();
    return texts;
  });
  await inProcess(async ctx => {
    expect(await findSession(ctx, ended)).toBeUndefined();
    for (const last of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_')
      expect(await findSession(ctx, ended.slice(0, -1) + last).catch(() => undefined)).toBeUndefined();
    expect(await findSession(ctx, other)).toMatchObject({ name: 'alice' });
  });
});
