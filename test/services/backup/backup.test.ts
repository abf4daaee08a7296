import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { toHex } from '../../../src/bytes.ts';
import { readSettings } from '../../../src/config.ts';
import { sha256Hex } from '../../../src/digest.ts';
import { openCustody } from '../../../src/keystore/custody.ts';
import { startServer } from '../../../src/main.ts';
import { backUpToFolder, backUpToStream } from '../../../src/services/backup/makeBackup.ts';
import { restoreBackup } from '../../../src/services/backup/restoreBackup.ts';
import { takeUp } from '../../../src/services/backup/takeUp.ts';
import { type AttestationLog, openAttestationLog } from '../../../src/services/base/attestationLog.ts';
import type { Context } from '../../../src/services/base/context.ts';
import { attestationsFile, openContext } from '../../../src/services/dataFolder/open.ts';
import { registerGateway } from '../../../src/services/field/gateways.ts';
import { canMount, smallDisk } from '../../eventstore/smallDisk.ts';
import { covers } from '../../support/covers.ts';
import { makeProject, testSettings } from '../../support/server.ts';

/** Copies of a data folder, and what becomes of them. */

const quiet = () => {};
const by = 'operator:alice';
let folder: string;
let project: Awaited<ReturnType<typeof makeProject>>;
const place = (name: string): string => join(folder, name);
/** More than a row of the log takes: a file. */
const largeBlob = new Uint8Array(100_000).fill(7);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nusec-backup-test-'));
  project = await makeProject(async ctx => {
    await ctx.blobs.put(largeBlob);
    await ctx.bootKeys.ensure('boot/a');
  });
  withAttestations(project.dataDir, log => log.add(attestation));
});
afterAll(() => {
  project.remove();
  rmSync(folder, { recursive: true });
});

const evidence = new Uint8Array(300).fill(9);
const attestation = {
  uid: '01'.repeat(16),
  line: 'meter',
  atMs: 5,
  via: 'mqtt',
  nonceHex: '02'.repeat(32),
  result: 'passed',
  evidence,
} as const;
function withAttestations<Result>(dataDir: string, use: (log: AttestationLog) => Result): Result {
  const log = openAttestationLog(attestationsFile(dataDir));
  try {
    return use(log);
  } finally {
    log.close();
  }
}

const backUp = (name: string) => backUpToFolder(testSettings(project.dataDir), place(name), quiet);
/** A folder with the keystore of the project, and nothing else. */
function withKeys(name: string, from = project.dataDir): string {
  mkdirSync(place(name));
  for (const file of ['keyset.bin', 'keystore.key']) copyFileSync(join(from, file), join(place(name), file));
  return place(name);
}
const filesOf = (of: string): readonly string[] =>
  readdirSync(of, { recursive: true, encoding: 'utf8' }).filter(name => statSync(join(of, name)).isFile());
async function inProject<Result>(dataDir: string, work: (ctx: Context) => Promise<Result>): Promise<Result> {
  const opened = await openContext(testSettings(dataDir), { https: 0, crl: 0 });
  try {
    return await work(opened.ctx);
  } finally {
    await opened.close();
  }
}

describe('a backup', () => {
  it('is as of one moment while events are written, and has no key', async () => {
    covers('I19');
    const written: number[] = [];
    const manifest = await inProject(project.dataDir, async ctx => {
      let isDone = false;
      const writing = (async () => {
        for (let i = 0; !isDone; i += 1) {
          await registerGateway(ctx, `gw-${i}`, 'x', by);
          written.push(await ctx.store.head());
        }
      })();
      await expect.poll(() => written.length).toBeGreaterThan(20);
      const made = await backUp('busy');
      isDone = true;
      await writing;
      return made;
    });
    expect(manifest.events).toBeGreaterThanOrEqual(20);
    expect(manifest.events).toBeLessThan(written.at(-1) ?? 0);
    const names = filesOf(place('busy'));
    expect(names.toSorted()).toEqual(['backup.json', ...manifest.files.map(({ path }) => path)].toSorted());
    expect(names).toEqual(expect.arrayContaining(['attestations.db', 'custody.db', 'events.db']));
    expect(names.filter(name => name.startsWith('blobs/'))).toHaveLength(1);
    const secrets = [readFileSync(join(project.dataDir, 'keystore.key')), Buffer.from(project.alice), Buffer.from(project.bob)];
    for (const name of names) {
      expect(statSync(join(place('busy'), name)).mode & 0o777, name).toBe(0o600);
      const content = readFileSync(join(place('busy'), name));
      for (const secret of secrets) expect(content.includes(secret), name).toBe(false);
    }
    const restored = await restoreBackup(place('busy'), withKeys('busy-restored'), []);
    expect(restored).toMatchObject({ events: manifest.events, at: manifest.at });
    const [kept] = withAttestations(place('busy-restored'), log => log.page(attestation.uid, { limit: 2 }));
    expect(kept?.evidenceSha256).toBe(sha256Hex(evidence));
    await inProject(place('busy-restored'), async ctx => {
      expect(await ctx.store.head()).toBe(manifest.events);
      expect(
        await ctx.blobs.get(
          manifest.files
            .find(({ path }) => path.startsWith('blobs/'))
            ?.path.slice(6)
            .replace('/', '') ?? '',
        ),
      ).toEqual(largeBlob);
      await ctx.bootKeys.sign('boot/a', new Uint8Array(32));
    });
  });

  it('is an archive that tar reads, and comes back from it', async () => {
    const output = new PassThrough();
    const [manifest, bytes] = await Promise.all([
      backUpToStream(testSettings(project.dataDir), output, quiet).finally(() => output.end()),
      buffer(output),
    ]);
    writeFileSync(place('a.tar'), bytes);
    mkdirSync(place('untarred'));
    execFileSync('tar', ['-xf', place('a.tar'), '-C', place('untarred')]);
    expect(filesOf(place('untarred')).toSorted()).toEqual(['backup.json', ...manifest.files.map(({ path }) => path)].toSorted());
    expect((await restoreBackup(place('untarred'), withKeys('from-folder'), [])).events).toBe(manifest.events);
    expect((await restoreBackup(place('a.tar'), withKeys('from-file'), [])).events).toBe(manifest.events);
    expect((await restoreBackup(createReadStream(place('a.tar')), withKeys('from-stream'), [])).events).toBe(manifest.events);
    const own = execFileSync('tar', ['-cf', '-', '--format=ustar', '-C', place('untarred'), ...filesOf(place('untarred'))], {
      maxBuffer: 100_000_000,
    });
    expect((await restoreBackup(Readable.from([own]), withKeys('from-tar'), [])).events).toBe(manifest.events);
  });

  it('is refused in the data folder and over anything that is there', async () => {
    const keysAlone = testSettings(withKeys('without-log'));
    await expect(backUpToFolder(keysAlone, place('of-nothing'), quiet)).rejects.toMatchObject({ code: 'STATE' });
    await expect(backUpToStream(keysAlone, new PassThrough(), quiet)).rejects.toMatchObject({ code: 'STATE' });
    await expect(backUpToFolder(testSettings(project.dataDir), join(project.dataDir, 'b'), quiet)).rejects.toMatchObject({
      code: 'BAD_REQUEST',
    });
    await backUp('once');
    await expect(backUp('once')).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  it('leaves nothing half done on a disk that is full', async test => {
    if (!canMount()) return test.skip('no right to mount a disk');
    const disk = smallDisk();
    writeFileSync(join(disk, 'ballast'), Buffer.alloc(6_100_000));
    const [settings, target] = [testSettings(project.dataDir), join(disk, 'backup')];
    await expect(backUpToFolder(settings, target, quiet)).rejects.toMatchObject({ code: 'STORE_FULL' });
    expect(readdirSync(disk)).toEqual(['ballast']);
    await backUp('for-full');
    mkdirSync(join(disk, 'data'));
    for (const file of ['keyset.bin', 'keystore.key']) copyFileSync(join(project.dataDir, file), join(disk, 'data', file));
    await expect(restoreBackup(place('for-full'), join(disk, 'data'), [])).rejects.toMatchObject({ code: 'STORE_FULL' });
    expect(readdirSync(disk).toSorted()).toEqual(['ballast', 'data']);
    expect(
      readdirSync(join(disk, 'data'))
        .filter(name => !name.endsWith('.lock'))
        .toSorted(),
    ).toEqual(['keyset.bin', 'keystore.key']);
    rmSync(join(disk, 'ballast'));
    await backUpToFolder(settings, target, quiet);
  });

  it('of a damaged store is refused and says what is damaged', async () => {
    const damaged = await makeProject(async ctx => void (await ctx.blobs.put(largeBlob)));
    onTestFinished(damaged.remove);
    const [blob = ''] = filesOf(join(damaged.dataDir, 'blobs'));
    appendFileSync(join(damaged.dataDir, 'blobs', blob), 'x');
    const refusal = { code: 'BACKUP_DAMAGED', message: expect.stringContaining(blob.replace('/', '')) };
    await expect(backUpToFolder(testSettings(damaged.dataDir), place('never'), quiet)).rejects.toMatchObject(refusal);
    expect(existsSync(place('never'))).toBe(false);
  });

  it('of a custody with a boot key that is not what was stored is refused: it would take the place of a good one', async () => {
    const damaged = await makeProject(async ctx => void (await ctx.blobs.put(largeBlob)));
    onTestFinished(damaged.remove);
    const custody = openCustody(join(damaged.dataDir, 'custody.db'));
    await custody.put({
      keyId: 'boot/a',
      kekId: 'kek/1',
      publicKey: new Uint8Array(91),
      wrapped: new Uint8Array(152),
      createdAt: '2026-01-02',
    });
    await custody.close();
    const db = new Database(join(damaged.dataDir, 'custody.db'));
    db.exec("UPDATE custody_key SET kek_id = 'kek/2'");
    db.close();
    const refusal = { code: 'BACKUP_DAMAGED', message: expect.stringContaining('custody.db, key boot/a') };
    await expect(backUpToFolder(testSettings(damaged.dataDir), place('never'), quiet)).rejects.toMatchObject(refusal);
  });
});

describe('a restore', () => {
  const nothingBut = (target: string) =>
    expect(
      readdirSync(target)
        .filter(name => !name.endsWith('.lock'))
        .toSorted(),
    ).toEqual(['keyset.bin', 'keystore.key']);

  it('refuses whatever is not as it was backed up, and leaves the folder as it was', async () => {
    const { files } = await backUp('good');
    const target = withKeys('refusing');
    const change: Readonly<Record<string, (backup: string) => void>> = {
      'a byte of the log': backup => flip(join(backup, 'events.db'), 30_000),
      'a blob': backup => flip(join(backup, files.find(({ path }) => path.startsWith('blobs/'))?.path ?? ''), 10),
      'a file is missing': backup => rmSync(join(backup, 'custody.db')),
      'a file more': backup => copyFileSync(join(backup, 'custody.db'), join(backup, 'custody-pkcs11.db')),
      'no manifest': backup => rmSync(join(backup, 'backup.json')),
      'not a manifest': backup => writeFileSync(join(backup, 'backup.json'), '{}'),
    };
    for (const [what, changed] of Object.entries(change)) {
      const copy = place(`bad-${what.replaceAll(' ', '-')}`);
      execFileSync('cp', ['-a', place('good'), copy]);
      changed(copy);
      await expect(restoreBackup(copy, target, []), what).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
    }
    nothingBut(target);
    expect(readdirSync(folder).filter(name => name.includes('restoring'))).toEqual([]);
  });

  it('refuses a log with other events whose manifest was made to fit', async () => {
    covers('T18');
    const manifest = await backUp('forged');
    const file = join(place('forged'), 'events.db');
    const log = new Database(file);
    expect(log.prepare(`UPDATE events SET body = replace(body, '"x"', '"y"') WHERE stream = 'gateway-gw-1'`).run().changes).toBe(1);
    log.close();
    const sha256 = toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', new Uint8Array(readFileSync(file)))));
    const files = manifest.files.map(each => (each.path === 'events.db' ? { ...each, sha256 } : each));
    writeFileSync(join(place('forged'), 'backup.json'), JSON.stringify({ ...manifest, files }));
    await expect(restoreBackup(place('forged'), withKeys('forged-target'), [])).rejects.toMatchObject({
      code: expect.stringMatching(/DAMAGED/),
    });
    nothingBut(place('forged-target'));
  });

  it('refuses archives that are cut off or hold other names', async () => {
    const target = withKeys('archives');
    const output = new PassThrough();
    const [, bytes] = await Promise.all([
      backUpToStream(testSettings(project.dataDir), output, quiet).finally(() => output.end()),
      buffer(output),
    ]);
    for (const cut of [100, 512, bytes.length - 2000])
      await expect(restoreBackup(Readable.from([bytes.subarray(0, cut)]), target, [])).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
    writeFileSync(place('evil'), 'x');
    const evil = execFileSync('tar', ['-cPf', '-', '--format=ustar', place('evil')]);
    await expect(restoreBackup(Readable.from([evil]), target, [])).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
    nothingBut(target);
  });

  it('never goes over a folder with anything but its keystore', async () => {
    await backUp('over');
    await expect(restoreBackup(place('over'), project.dataDir, [])).rejects.toMatchObject({ code: 'CONFLICT' });
    writeFileSync(join(withKeys('used'), 'events.db'), '');
    await expect(restoreBackup(place('over'), place('used'), [])).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  it('needs the keystore that the backup belongs to', async () => {
    await backUp('keyless');
    await expect(restoreBackup(place('keyless'), place('no-keys'), [])).rejects.toMatchObject({ code: 'KEYSTORE_MISSING' });
    expect(existsSync(place('no-keys'))).toBe(false);
    const other = await makeProject();
    onTestFinished(other.remove);
    await expect(restoreBackup(place('keyless'), withKeys('foreign', other.dataDir), [])).rejects.toMatchObject({ code: 'KEY_REFUSED' });
    nothingBut(place('foreign'));
  });

  it('comes first: a folder with its keys alone is neither served nor taken up, and stays free for the backup', async () => {
    await backUp('waiting');
    const keysAlone = withKeys('keys-alone');
    const refusal = { code: 'STATE', message: expect.stringContaining(`nusec restore BACKUP --data ${keysAlone}`) };
    await expect(startServer(testSettings(keysAlone))).rejects.toMatchObject(refusal);
    await expect(takeUp(testSettings(keysAlone), [project.alice, project.bob])).rejects.toMatchObject(refusal);
    expect(await restoreBackup(place('waiting'), keysAlone, [])).toMatchObject({ by: [] });
  });

  it('of a backup that lacks what this machine has known needs two people (T34)', async () => {
    covers('T34', 'I16');
    const start = async (dataDir: string) => (await startServer(testSettings(dataDir))).close();
    await start(project.dataDir);
    await backUp('old');
    await inProject(project.dataDir, async ctx => void (await registerGateway(ctx, 'late', 'x', by)));
    await start(project.dataDir);
    await expect(restoreBackup(place('old'), withKeys('older'), [])).rejects.toMatchObject({ code: 'STORE_OLDER' });
    nothingBut(place('older'));
    await expect(restoreBackup(place('old'), place('older'), [project.alice, project.alice])).rejects.toMatchObject({
      code: 'FOUR_EYES_REQUIRED',
    });
    expect(await restoreBackup(place('old'), place('older'), [project.alice, project.bob])).toMatchObject({ by: ['alice', 'bob'] });
    await start(place('older'));
  });
});

it('a log of another project beside a keystore is refused', async () => {
  const other = await makeProject();
  onTestFinished(other.remove);
  await backUpToFolder(testSettings(other.dataDir), place('other'), quiet);
  const mixed = withKeys('mixed');
  copyFileSync(join(place('other'), 'events.db'), join(mixed, 'events.db'));
  await expect(startServer(readSettings(mixed, { NUSEC_LOG_LEVEL: 'silent' }))).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
});

function flip(file: string, offset: number): void {
  const bytes = readFileSync(file);
  bytes[offset] = (bytes[offset] ?? 0) ^ 1;
  writeFileSync(file, bytes);
}
