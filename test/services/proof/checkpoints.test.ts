import { appendFileSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fromBase64url } from '../../../src/bytes.ts';
import { readCheckpoint } from '../../../src/merkle/checkpoint.ts';
import { parseNote } from '../../../src/merkle/note.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import type { Context } from '../../../src/services/base/context.ts';
import { historyIn, putHistoryAside } from '../../../src/services/proof/checkpointHistory.ts';
import { type Checkpoints, keepCheckpoints } from '../../../src/services/proof/checkpoints.ts';
import { requireCheckpoints } from '../../../src/services/proof/knownCheckpoints.ts';
import { judgeLog } from '../../../src/services/proof/logVerdict.ts';
import { dayMs } from '../../../src/times.ts';
import { openProject, type Project } from '../project.ts';

let project: Project;
let file: string;
beforeEach(async () => {
  project = await openProject();
  file = join(project.dataDir, 'log.checkpoint');
});
afterEach(() => project.close());

const sizeIn = (path: string): number => readCheckpoint(parseNote(readFileSync(path, 'utf8')).text).size;
const append = (): Promise<unknown> => project.alarms.raise({ code: 'TEST', subject: `s-${Math.random()}`, detail: 'an event' });
/** The project's context with a log that pretends another root or head. */
const withLog = (change: { root?: string; head?: number }): Context => ({
  ...project.ctx,
  store: {
    ...project.ctx.store,
    head: async () => change.head ?? project.ctx.store.head(),
    tree: { ...project.ctx.store.tree, root: async size => change.root ?? project.ctx.store.tree.root(size) },
  },
});

async function keep(work: (checkpoints: Checkpoints) => Promise<void>): Promise<void> {
  const checkpoints = await keepCheckpoints(project, { file });
  await work(checkpoints);
  await checkpoints.close();
}

describe('checkpoints of the log (T18)', () => {
  it('cover on demand every event that was stored before', async () => {
    await keep(async checkpoints => {
      await append();
      const { size, root } = readCheckpoint(parseNote(await checkpoints.sign()).text);
      expect(size).toBe(await project.ctx.store.head());
      expect(root).toBe(await project.ctx.store.tree.root(size));
    });
  });

  it('come by themselves while there are events, and once more at the end', async () => {
    await keep(async () => {
      await append();
      const head = await project.ctx.store.head();
      await expect.poll(() => existsSync(file) && sizeIn(file)).toBe(head);
      await append();
    });
    expect(sizeIn(file)).toBe(await project.ctx.store.head());
  });

  it('are the same note as long as there is no event', async () => {
    await keep(async checkpoints => {
      const note = await checkpoints.sign();
      expect(await checkpoints.sign()).toBe(note);
      expect(readFileSync(file, 'utf8')).toBe(note);
    });
  });

  it('are all in the history, where a line that was cut off harms no other', async () => {
    const notes: string[] = [];
    await keep(async checkpoints => {
      for (let i = 0; i < 3; i++) {
        await append();
        notes.push(await checkpoints.sign());
      }
    });
    appendFileSync(join(project.dataDir, 'log.checkpoints'), '"cut');
    const kept = historyIn(project.dataDir).map(({ note }) => note);
    expect(kept).toEqual(expect.arrayContaining(notes));
    putHistoryAside(project.dataDir, 5);
    expect(historyIn(project.dataDir)).toEqual([]);
  });

  it('hold when the clock went back a day, before the certificate of their key', async () => {
    await keep(async checkpoints => {
      await append();
      await checkpoints.sign();
      project.moveClock(-dayMs);
      await append();
      await checkpoints.sign();
    });
    const { root } = await authorityOf(project.ctx);
    const places = { dataDir: project.dataDir, witnesses: [], roots: [fromBase64url(root.certificate)], witnessKeys: [] };
    expect(judgeLog(places)).toMatchObject({ ok: true, refused: [] });
  });

  it('are not signed over a log that is not what it was', async () => {
    await keep(async checkpoints => void (await checkpoints.sign()));
    await append();
    const forged = await keepCheckpoints({ ...project, ctx: withLog({ root: 'ab'.repeat(32) }) }, { file });
    const signed = readFileSync(file, 'utf8');
    await expect(forged.sign()).rejects.toMatchObject({ code: 'CHECKPOINT_REFUSED' });
    await forged.close();
    expect(readFileSync(file, 'utf8')).toBe(signed);
    expect((await project.eventsOf('AlarmRaised')).map(({ data }) => data.code)).toContain('CHECKPOINT_REFUSED');
  });
});

describe('a start', () => {
  beforeEach(() => keep(async () => {}));

  it('goes on when the store has what the newest checkpoint covers, and more', async () => {
    await requireCheckpoints(project, { file }, false);
    await append();
    await requireCheckpoints(project, { file }, false);
  });

  it('is refused for a store that ends before it: yesterday’s file, or a tail cut off (T34)', async () => {
    const older = { ...project, ctx: withLog({ head: sizeIn(file) - 1 }) };
    await expect(requireCheckpoints(older, { file }, false)).rejects.toMatchObject({ code: 'STORE_OLDER' });
  });

  it('is refused for a store whose events are others', async () => {
    const changed = { ...project, ctx: withLog({ root: 'ab'.repeat(32) }) };
    await expect(requireCheckpoints(changed, { file }, false)).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  });

  it('is refused beside a checkpoint that this project did not sign', async () => {
    const note = readFileSync(file, 'utf8');
    for (const forged of [note.replace(/\n\d+\n/, '\n3\n'), note.replace('nusec/log/', 'nusec/log/0'), 'no note']) {
      writeFileSync(file, forged);
      await expect(requireCheckpoints(project, { file }, false)).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
    }
  });

  it('with an older store that is meant puts the checkpoint aside, with an alarm', async () => {
    const size = sizeIn(file);
    const cosigned = join(project.dataDir, 'witnesses', '0a0b0c0d.checkpoint');
    mkdirSync(dirname(cosigned));
    copyFileSync(file, cosigned);
    const older = { ...project, ctx: withLog({ head: size - 1 }) };
    await requireCheckpoints(older, { file }, true);
    expect([existsSync(cosigned), existsSync(`${cosigned}-${size}`)]).toEqual([false, true]);
    expect([existsSync(file), existsSync(`${file}-${size}`)]).toEqual([false, true]);
    expect((await project.eventsOf('AlarmRaised')).map(({ data }) => data.code)).toContain('OLDER_STORE_ACCEPTED');
  });

  it('is held against the history of checkpoints when the newest one was taken away (T34)', async () => {
    const size = sizeIn(file);
    rmSync(file);
    await requireCheckpoints(project, { file }, false);
    const older = { ...project, ctx: withLog({ head: size - 1 }) };
    await expect(requireCheckpoints(older, { file }, false)).rejects.toMatchObject({ code: 'STORE_OLDER' });
    await requireCheckpoints(older, { file }, true);
    await requireCheckpoints(older, { file }, false);
  });

  it('is held against the copy on another disk too, when the whole data folder was put back (T34)', async () => {
    const witnessDir = mkdtempSync(join(tmpdir(), 'nusec-witness-'));
    const witnessFile = join(witnessDir, 'log.checkpoint');
    const checkpoints = await keepCheckpoints(project, { file, witnessDir });
    await append();
    const note = await checkpoints.sign();
    await checkpoints.close();
    expect(readFileSync(witnessFile, 'utf8')).toBe(note);
    const size = sizeIn(witnessFile);
    for (const known of [file, `${file}s`]) rmSync(known);
    const older = { ...project, ctx: withLog({ head: size - 1 }) };
    await requireCheckpoints(older, { file }, false);
    await expect(requireCheckpoints(older, { file, witnessDir }, false)).rejects.toMatchObject({ code: 'STORE_OLDER' });
  });

  it('is not hindered by a copy that cannot be written, which is an alarm', async () => {
    const checkpoints = await keepCheckpoints(project, { file, witnessDir: '/nowhere' });
    await append();
    expect(await checkpoints.sign()).toBe(readFileSync(file, 'utf8'));
    await checkpoints.close();
    expect((await project.eventsOf('AlarmRaised')).map(({ data }) => data.code)).toContain('WITNESS');
  });
});
