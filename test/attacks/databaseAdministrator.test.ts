import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { programFor } from '../../src/cli/program.ts';
import { readSettings } from '../../src/config.ts';
import { startServer } from '../../src/main.ts';
import { createAlarms } from '../../src/services/base/alarms.ts';
import type { Context } from '../../src/services/base/context.ts';
import { checkpointFile } from '../../src/services/proof/checkpointFiles.ts';
import { keepCheckpoints } from '../../src/services/proof/checkpoints.ts';
import { eventsOf, type Found, kinds, rewrite, streams, total } from '../eventstore/tampering.ts';
import { covers } from '../support/covers.ts';
import { makeProject } from '../support/server.ts';

/** The 16 kinds of tampering on the data folder of a project: found by `nusec log verify`, which has no keystore, and when a server starts. */

let project: Awaited<ReturnType<typeof makeProject>>;
let kept: string;
/** Events of a new project, known before the tests are named. */
const counted = await (async () => {
  let events = { before: 0, operators: 0 };
  const file = join(tmpdir(), `nusec-counted-${process.pid}`);
  const empty = await makeProject(async ctx => {
    await (await keepCheckpoints({ ctx, alarms: createAlarms(ctx) }, { file })).close();
    events = { before: await ctx.store.head(), operators: (await ctx.store.readStream('operators')).length };
  });
  empty.remove();
  rmSync(file);
  return events;
})();
const held = counted.before + 48;
const table = kinds(counted.before, counted.operators, held);

beforeAll(async () => {
  kept = mkdtempSync(join(tmpdir(), 'nusec-witness-'));
  const newest = join(kept, 'newest');
  project = await makeProject(async ctx => {
    const alarms = createAlarms(ctx);
    // So that the witness keeps the checkpoint before as the last one of its day.
    const later = { ...ctx, clock: () => new Date(Date.now() + 2 * 86_400_000) };
    const sign = async (at: Context): Promise<void> =>
      (await keepCheckpoints({ ctx: at, alarms }, { file: newest, witnessDir: kept })).close();
    await sign(ctx);
    for (let i = 0; i < total; i += 4) {
      if (i === 48) await sign(ctx);
      for (const stream of streams) await ctx.store.append(stream, 'any', eventsOf(stream, i));
    }
    await sign(later);
  });
  renameSync(newest, checkpointFile(project.dataDir));
  writeFileSync(join(project.dataDir, 'root.pem'), project.rootPem);
});
afterAll(() => {
  project.remove();
  rmSync(kept, { recursive: true });
});

let data: string;
let witness: string;
beforeEach(() => {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-tampered-'));
  [data, witness] = [join(folder, 'data'), join(folder, 'witness')];
  cpSync(project.dataDir, data, { recursive: true });
  cpSync(kept, witness, { recursive: true });
});
afterEach(() => rmSync(dirname(data), { recursive: true }));

const settings = () =>
  readSettings(data, {
    NUSEC_LOG_LEVEL: 'silent',
    NUSEC_HTTPS_PORT: '0',
    NUSEC_MQTT_PORT: '0',
    NUSEC_CRL_PORT: '0',
    NUSEC_WITNESS_DIR: witness,
  });

/** `nusec log verify`: what it prints, and the error it ends with. */
async function verify(...options: readonly string[]): Promise<{ verdict: Record<string, unknown>; error?: unknown }> {
  let out = '';
  const spy = vi.spyOn(process.stdout, 'write').mockImplementation(text => {
    out += text;
    return true;
  });
  try {
    await (await programFor('log')).parseAsync(['log', 'verify', '--data', data, '--json', ...options], { from: 'user' });
    return { verdict: JSON.parse(out) };
  } catch (error) {
    return { verdict: JSON.parse(out), error };
  } finally {
    spy.mockRestore();
  }
}

const named = ({ stream, revision, position }: Found): string =>
  stream === undefined ? `${position}` : `position ${position}, stream ${stream}, revision ${revision}`;

describe('a data folder that nobody touched', () => {
  it('is whole, held against the checkpoints of the folder and of the witness, and a server starts on it (T18)', async () => {
    covers('T18');
    const { verdict, error } = await verify('--witness', witness);
    expect(error).toBeUndefined();
    const sizes = [counted.before, held, counted.before + total];
    expect(verdict).toMatchObject({ ok: true, events: counted.before + total, refused: [] });
    expect(new Set((verdict.checkpoints as { size: number }[]).map(({ size }) => size))).toEqual(new Set(sizes));
    const server = await startServer(settings());
    // Beside the running server too.
    expect((await verify('--witness', witness)).verdict).toMatchObject({ ok: true });
    await server.close();
  });
});

describe('a witness that is named', () => {
  it.each(['empty', 'missing'])('has to have a checkpoint: an %s folder is refused, as nothing was held against it (T18)', async kind => {
    const folder = join(dirname(data), kind);
    if (kind === 'empty') mkdirSync(folder);
    const { verdict, error } = await verify('--witness', witness, folder);
    expect(verdict).toMatchObject({ ok: false, refused: [{ file: folder }] });
    expect(error).toMatchObject({ code: 'CHECKPOINT_REFUSED', message: expect.stringContaining(folder) });
  });
});

describe('16 kinds of tampering, each with fresh hashes (T18, T34)', () => {
  it.each(table)('%s: `nusec log verify` names the first event that does not hold', async (_, change, found) => {
    covers('T18');
    rewrite(join(data, 'events.db'), change);
    const { verdict, error } = await verify('--witness', witness);
    expect(verdict).toMatchObject({ ok: false, ...found });
    expect(error).toMatchObject({ code: 'STORE_DAMAGED', message: expect.stringContaining(named(found)) });
  });

  it.each(table)('%s: with the tree made to fit, `nusec log verify` says between which checkpoints', async (_, change, found) => {
    rewrite(join(data, 'events.db'), change, 'made to fit');
    const { verdict, error } = await verify('--witness', witness);
    expect(error).toMatchObject({ code: 'STORE_DAMAGED' });
    // The older checkpoint holds up to where the change begins, whenever that is behind it.
    const from = found.position > held ? held + 1 : counted.before + 1;
    if (verdict.reason !== 'missing') expect(verdict).toMatchObject({ reason: 'checkpoint', from });
  });

  it.each(table)('%s: a server does not start, and names the first event', async (_, change, found) => {
    covers('T18', 'T34');
    rewrite(join(data, 'events.db'), change);
    await expect(startServer(settings())).rejects.toMatchObject({
      code: expect.stringMatching(/^STORE_(DAMAGED|OLDER)$/),
      message: expect.stringContaining(named(found)),
    });
  });

  it.each(table)('%s: with the tree made to fit, a server does not start', async (_, change) => {
    covers('T18', 'T34');
    rewrite(join(data, 'events.db'), change, 'made to fit');
    await expect(startServer(settings())).rejects.toMatchObject({ code: expect.stringMatching(/^STORE_(DAMAGED|OLDER)$/) });
  });
});
