import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { readSettings } from '../../../src/config.ts';
import { authority, authorityStream } from '../../../src/domain/authority.ts';
import { operators, operatorsStream } from '../../../src/domain/operators.ts';
import type { Handler } from '../../../src/eventstore/followers.ts';
import type { Recorded } from '../../../src/eventstore/recorded.ts';
import { startServer } from '../../../src/main.ts';
import { initialiseProject } from '../../../src/services/administration/initialise.ts';
import { addOperator, authenticateOperator } from '../../../src/services/administration/operators.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { takeUp } from '../../../src/services/backup/takeUp.ts';
import { type Context, execute } from '../../../src/services/base/context.ts';
import { openContext } from '../../../src/services/dataFolder/open.ts';
import { gatewayOf, moveGateway, registerGateway } from '../../../src/services/field/gateways.ts';
import { defineLine, lineOf } from '../../../src/services/firmware/lines.ts';
import { certifyGateway } from '../../../src/services/identity/enrolment.ts';
import { currentCrl } from '../../../src/services/revocation/crl.ts';
import { checkRevocationMark, keepRevocationMark } from '../../../src/services/revocation/revocationMark.ts';
import { type Revocations, startRevocations } from '../../../src/services/revocation/revocations.ts';
import { covers } from '../../support/covers.ts';
import { changeByTwo } from '../firmware/lineKit.ts';
import { newParty } from '../parties.ts';
import { requestOf } from '../project.ts';

/** An old backup in place of the event store (T34). */

const by = 'operator:alice';
let folder: string;
let data: string;
let mark: string;
/** Of alice and bob. */
let tokens: readonly string[] = [];
let carol: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nusec-mark-'));
  data = join(folder, 'data');
  mark = join(folder, 'elsewhere.mark');
});
afterAll(() => rmSync(folder, { recursive: true }));

const ports = { NUSEC_HTTPS_PORT: '0', NUSEC_MQTT_PORT: '0', NUSEC_CRL_PORT: '0', NUSEC_LOG_LEVEL: 'silent' };
const settings = (more: NodeJS.ProcessEnv = {}) => readSettings(data, { ...ports, NUSEC_MARK_FILE: mark, ...more });

type Work = (ctx: Context, revocations: Revocations) => Promise<unknown>;

/** Opens the project with its mark, works, and closes. */
async function session(work: Work): Promise<void> {
  const { ctx, close } = await openContext(settings(), { https: 0, crl: 0 }, true);
  await initialiseProject(ctx, { organization: 'Example OEM', administrators: ['alice', 'bob'] }).then(
    made => {
      tokens = made.tokens.map(({ token }) => token);
    },
    () => {},
  );
  const revocations = await startRevocations(ctx);
  await checkRevocationMark(ctx, revocations, mark);
  const kept = await keepRevocationMark(ctx, mark);
  await work(ctx, revocations);
  await kept.close();
  await revocations.close();
  await close();
}

async function startAndStop(more: NodeJS.ProcessEnv = {}): Promise<void> {
  await (await startServer(settings(more))).close();
}

const revoke =
  (id: string): Work =>
  (ctx, revocations) =>
    moveGateway(ctx, revocations, id, { type: 'RevokeGateway', reason: 'stolen' }, by);
const putBack = (): void => {
  rmSync(data, { recursive: true });
  cpSync(join(folder, 'yesterday'), data, { recursive: true });
};
const signingKeys = async (ctx: Context) => (await authorityOf(ctx)).packageKeys;
const numberOf = async (ctx: Context) => (await currentCrl(ctx, 'gateway-1')).number;

describe('the high-water mark of revocations', () => {
  it('is not waited for by a start whose read models have a long way to go', async () => {
    const { ctx, close } = await openContext(settings(), { https: 0, crl: 0 }, true);
    onTestFinished(close);
    await initialiseProject(ctx, { organization: 'Example OEM', administrators: ['alice', 'bob'] });
    const [asked, known] = [vi.fn(), ctx.reads.health()];
    const built = known.projections.map(each => (each.name === 'releases' ? { ...each, behindEvents: 10_000_000 } : each));
    const health = () => {
      asked();
      return { ...known, projections: built };
    };
    const reads = { ...ctx.reads, health, waitFor: () => new Promise<void>(() => {}) };
    const kept = await keepRevocationMark({ ...ctx, reads }, join(folder, 'later.mark'));
    expect(asked).toHaveBeenCalled();
    await kept.close();
    rmSync(data, { recursive: true });
  });

  it('is written once for what is stored when it is written, however many batches bring it', async () => {
    const { ctx, close } = await openContext(settings(), { https: 0, crl: 0 }, true);
    onTestFinished(close);
    await initialiseProject(ctx, { organization: 'Example OEM', administrators: ['alice', 'bob'] });
    const handlers: Handler[] = [];
    const followers: Context['followers'] = {
      ...ctx.followers,
      follow(name, after, handler, options) {
        handlers.push(handler);
        return ctx.followers.follow(name, after, handler, options);
      },
    };
    const waitFor = vi.fn(ctx.reads.waitFor);
    const kept = await keepRevocationMark({ ...ctx, followers, reads: { ...ctx.reads, waitFor } }, join(folder, 'batches.mark'));
    const begun = waitFor.mock.calls.length;
    const [event] = await ctx.store.readAll(0, 1);
    const batch = (position: number) => [{ ...event, type: 'RootCaRetired', position }] as unknown as readonly Recorded[];
    const head = await ctx.store.head();
    for (let position = 1; position <= head; position += 1) await handlers[0]?.(batch(position));
    expect(waitFor).toHaveBeenCalledTimes(begun);
    await handlers[0]?.(batch(head + 1));
    expect(waitFor).toHaveBeenCalledTimes(begun + 1);
    await kept.close();
    rmSync(data, { recursive: true });
  });

  it('refuses yesterday’s store, until two administrators say that it is meant; then nothing is good again', async () => {
    covers('T34', 'I16');
    await session(async (ctx, revocations) => {
      carol = await addOperator(ctx, 'carol', ['auditor'], by);
      await defineLine(ctx, { line: 'meter' }, by);
      for (const id of ['gw', 'gw2', 'gw3']) {
        await registerGateway(ctx, id, id, by);
        await certifyGateway(ctx, id, requestOf(newParty(), { commonName: id }), by);
      }
      await revoke('gw3')(ctx, revocations);
    });
    await startAndStop();
    cpSync(data, join(folder, 'yesterday'), { recursive: true });
    let newest = 0;
    await session(async (ctx, revocations) => {
      await revoke('gw')(ctx, revocations);
      await moveGateway(ctx, revocations, 'gw2', { type: 'SuspendGateway', reason: 'lost' }, by);
      await registerGateway(ctx, 'late', 'late', by);
      await certifyGateway(ctx, 'late', requestOf(newParty(), { commonName: 'late' }), by);
      await revoke('late')(ctx, revocations);
      await execute(ctx, operators, operatorsStream, { type: 'RemoveOperator', name: 'carol' }, by);
      await changeByTwo(ctx, 'meter', { floor: 3 });
      const command = { type: 'CompromisePackageKey', keyId: (await signingKeys(ctx))[0]?.keyId ?? '', reason: 'leak', by } as const;
      await execute(ctx, authority, authorityStream(ctx.project), command, by);
      newest = await numberOf(ctx);
    });
    await startAndStop();
    putBack();
    await expect(startServer(settings())).rejects.toMatchObject({ code: 'STORE_OLDER', message: expect.stringContaining('nusec restore') });
    const [alice = '', bob = ''] = tokens;
    await expect(takeUp(settings(), [])).rejects.toMatchObject({ code: 'STORE_OLDER' });
    await expect(takeUp(settings(), [alice, alice])).rejects.toMatchObject({ code: 'FOUR_EYES_REQUIRED' });
    await expect(takeUp(settings(), [alice, 'none'])).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    await expect(takeUp(settings(), [alice, carol])).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    await expect(startServer(settings())).rejects.toMatchObject({ code: 'STORE_OLDER' });
    expect(await takeUp(settings(), [alice, bob])).toMatchObject({ by: ['alice', 'bob'], revokedAgain: 3 });
    await startAndStop();
    await session(async (ctx, revocations) => {
      const alarms = (await ctx.store.readAll(0, 10_000)).filter(({ type }) => type === 'AlarmRaised');
      expect(alarms.map(({ data: { code } }) => code)).toContain('OLDER_STORE_ACCEPTED');
      expect(revocations.count()).toBe(4);
      expect((await gatewayOf(ctx, 'gw')).status).toBe('REVOKED');
      expect((await gatewayOf(ctx, 'gw2')).status).toBe('SUSPENDED');
      await expect(authenticateOperator(ctx, carol)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
      expect((await lineOf(ctx, 'meter')).rollbackFloor).toBe(3);
      expect((await signingKeys(ctx))[0]).toMatchObject({ compromised: true });
      expect((await signingKeys(ctx))[1]).toMatchObject({ compromised: false });
      expect(await numberOf(ctx)).toBeGreaterThan(newest);
    });
  });

  it('is also missed by a store that has grown since in another way', async () => {
    covers('T34');
    putBack();
    rmSync(mark);
    await session(revoke('gw'));
    putBack();
    const { ctx, close } = await openContext(settings(), { https: 0, crl: 0 });
    for (let i = 0; i < 30; i += 1) await registerGateway(ctx, `gw-${i}`, 'x', by);
    await close();
    await expect(startServer(settings())).rejects.toMatchObject({ code: 'STORE_OLDER' });
  });

  it('names every single revocation: one that a read model has lost is missed', async () => {
    covers('T34');
    putBack();
    rmSync(mark);
    await session(async (ctx, revocations) => {
      await revoke('gw')(ctx, revocations);
      await revoke('gw2')(ctx, revocations);
    });
    const views = new Database(join(data, 'views.db'));
    const table = views.prepare<string>("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'certificates%'").pluck().get();
    expect(views.prepare(`UPDATE ${table} SET reason = NULL WHERE subject = 'gw' AND reason IS NOT NULL`).run().changes).toBe(1);
    views.close();
    await expect(startServer(settings())).rejects.toMatchObject({ code: 'STORE_DAMAGED', message: expect.stringContaining('views') });
    for (const name of readdirSync(data).filter(each => each.startsWith('views'))) rmSync(join(data, name));
    await startAndStop();
  });

  it('is refused when it or its list was changed by hand', async () => {
    const text = readFileSync(mark, 'utf8');
    for (const changed of [text.replace(/"size":\d+/, '"size":1'), 'not a mark']) {
      writeFileSync(mark, changed);
      await expect(startServer(settings())).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
    }
    writeFileSync(mark, text);
    const list = join(folder, /"list":\{"name":"([^"]+)"/.exec(text)?.[1] ?? '');
    const lines = readFileSync(list, 'utf8');
    writeFileSync(list, lines.split('\n').slice(1).join('\n'));
    await expect(startServer(settings())).rejects.toMatchObject({ code: 'STORE_DAMAGED', message: expect.stringContaining(list) });
    writeFileSync(list, lines);
    await startAndStop();
  });

  it('raises an alarm where it is missing, and where only the data folder has room for it', async () => {
    covers('T34');
    rmSync(mark);
    await startAndStop();
    vi.stubEnv('XDG_STATE_HOME', join(data, 'state'));
    onTestFinished(() => void vi.unstubAllEnvs());
    await startAndStop({ NUSEC_MARK_FILE: '' });
    expect(readdirSync(data)).toContain('revocations.mark');
    await session(async ctx => {
      const codes = (await ctx.store.readStream('alarm-store')).map(({ data: { code } }) => code);
      expect(codes).toEqual(expect.arrayContaining(['MARK_MISSING', 'MARK_BESIDE_STORE']));
    });
  });
});
