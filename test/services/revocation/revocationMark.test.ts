import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSettings } from '../../../src/config.ts';
import { startServer } from '../../../src/main.ts';
import { initialiseProject } from '../../../src/services/administration/initialise.ts';
import { createAlarms } from '../../../src/services/base/alarms.ts';
import type { Context } from '../../../src/services/base/context.ts';
import { openContext } from '../../../src/services/dataFolder/open.ts';
import { moveGateway, registerGateway } from '../../../src/services/field/gateways.ts';
import { certifyGateway } from '../../../src/services/identity/enrolment.ts';
import { checkRevocationMark, keepRevocationMark } from '../../../src/services/revocation/revocationMark.ts';
import { startRevocations } from '../../../src/services/revocation/revocations.ts';
import { covers } from '../../support/covers.ts';
import { newParty } from '../parties.ts';
import { requestOf } from '../project.ts';

/** An old backup in place of the event store (T34). */

const by = 'operator:alice';
let folder: string;
let data: string;
let mark: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nusec-mark-'));
  data = join(folder, 'data');
  mark = join(folder, 'elsewhere.mark');
});
afterAll(() => rmSync(folder, { recursive: true }));

const ports = { NUSEC_HTTPS_PORT: '0', NUSEC_MQTT_PORT: '0', NUSEC_CRL_PORT: '0', NUSEC_LOG_LEVEL: 'silent' };
const settings = (more: NodeJS.ProcessEnv = {}) => readSettings(data, { ...ports, NUSEC_MARK_FILE: mark, ...more });

/** Opens the project with its mark, works, and closes. */
async function session(work: (ctx: Context, revocations: Awaited<ReturnType<typeof startRevocations>>) => Promise<void>): Promise<void> {
  const { ctx, close } = await openContext(settings(), { https: 0, crl: 0 }, true);
  await initialiseProject(ctx, { organization: 'Example OEM', administrators: ['alice', 'bob'] }).catch(() => {});
  const revocations = await startRevocations(ctx);
  const parts = { ctx, alarms: createAlarms(ctx), revocations };
  await checkRevocationMark(parts, mark, false);
  const kept = await keepRevocationMark(parts, mark);
  await work(ctx, revocations);
  await kept.close();
  await revocations.close();
  await close();
}

describe('the high-water mark of revocations', () => {
  it('refuses yesterday’s store, until an operator says that it is meant', async () => {
    covers('T34');
    await session(async ctx => {
      await registerGateway(ctx, 'gw', 'gw', by);
      await certifyGateway(ctx, 'gw', requestOf(newParty(), { commonName: 'gw' }), by);
    });
    const running = await startServer(settings());
    await running.close();
    cpSync(data, join(folder, 'yesterday'), { recursive: true });
    await session((ctx, revocations) =>
      moveGateway(ctx, revocations, 'gw', { type: 'RevokeGateway', reason: 'stolen' }, by).then(() => {}),
    );
    const again = await startServer(settings());
    await again.close();
    rmSync(data, { recursive: true });
    cpSync(join(folder, 'yesterday'), data, { recursive: true });
    await expect(startServer(settings())).rejects.toMatchObject({ code: 'STORE_OLDER' });
    await expect(startServer(settings())).rejects.toThrow('old backup');
    const accepted = await startServer(settings({ NUSEC_ACCEPT_OLDER_STORE: 'true' }));
    await accepted.close();
    await session(async ctx => {
      const alarms = (await ctx.store.readAll(0, 10_000)).filter(({ type }) => type === 'AlarmRaised');
      expect(alarms.map(({ data: { code } }) => code)).toContain('OLDER_STORE_ACCEPTED');
    });
  });

  it('is also missed by a store that has grown since in another way', async () => {
    covers('T34');
    rmSync(data, { recursive: true });
    cpSync(join(folder, 'yesterday'), data, { recursive: true });
    rmSync(mark);
    await session((ctx, revocations) =>
      moveGateway(ctx, revocations, 'gw', { type: 'RevokeGateway', reason: 'stolen' }, by).then(() => {}),
    );
    rmSync(data, { recursive: true });
    cpSync(join(folder, 'yesterday'), data, { recursive: true });
    const { ctx, close } = await openContext(settings(), { https: 0, crl: 0 });
    for (let i = 0; i < 20; i += 1) await registerGateway(ctx, `gw-${i}`, 'x', by);
    await close();
    await expect(startServer(settings())).rejects.toMatchObject({ code: 'STORE_OLDER' });
  });

  it('is refused when it was changed by hand', async () => {
    const text = readFileSync(mark, 'utf8');
    for (const changed of [text.replace(/"position":\d+/, '"position":1'), 'not a mark']) {
      writeFileSync(mark, changed);
      await expect(startServer(settings())).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
    }
  });
});
