import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { holdAlone } from '../../src/fileLock.ts';
import { startCommand } from '../support/command.ts';
import { makeProject } from '../support/server.ts';

/** A data folder on a machine with other users. It takes root to be two users: elsewhere these tests are skipped. */

const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
const database = createRequire(import.meta.url).resolve('better-sqlite3');
const script = (body: string) => [process.execPath, '-e', `const Database = require(${JSON.stringify(database)}); ${body}`];
const asNobody = (body: string) => spawnSync(nobody[0] ?? '', [...nobody.slice(1), ...script(body)], { encoding: 'utf8' });
const mayBeTwo = process.getuid?.() === 0 && asNobody('console.log(process.getuid())').stdout.trim() === '65534';

const anyPort = { NUSEC_HTTPS_PORT: '0', NUSEC_MQTT_PORT: '0', NUSEC_CRL_PORT: '0', NUSEC_LOG_LEVEL: 'silent' };
let project: Awaited<ReturnType<typeof makeProject>>;
let folder: string;
beforeAll(async () => {
  project = await makeProject(async ctx => void (await ctx.blobs.put(new Uint8Array(100_000))));
  folder = mkdtempSync(join(tmpdir(), 'nusec-users-'));
  chmodSync(folder, 0o755);
});
afterAll(() => {
  project.remove();
  rmSync(folder, { recursive: true });
});

/** As an older version, or a careless copy, left it. */
function openCopy(name: string, mode: number): string {
  const dataDir = join(folder, name);
  cpSync(project.dataDir, dataDir, { recursive: true });
  for (const entry of readdirSync(dataDir, { recursive: true, encoding: 'utf8' })) {
    const path = join(dataDir, entry);
    if (/keystore\.key|keyset\.bin$/.test(entry)) continue;
    chmodSync(path, statSync(path).isDirectory() ? mode : mode & 0o666);
  }
  chmodSync(dataDir, mode);
  return dataDir;
}

const server = (dataDir: string, wrapper: readonly string[] = []) =>
  startCommand(['server', '--data', dataDir, '--json'], { ...anyPort, NUSEC_STATE_DIR: join(folder, 'state') }, wrapper);

describe.skipIf(!mayBeTwo)('a file in a folder that this user may not enter', () => {
  it('is not said to be missing', async () => {
    const file = join(mkdtempSync(join(folder, 'closed-')), 'root.pem');
    const { err } = await startCommand(['device', 'list', '--ca', file], { NUSEC_TOKEN: 'a' }, nobody).ended();
    expect(err).toContain(`error FORBIDDEN: ${file} may not be opened by this user`);
  });
});

describe.skipIf(!mayBeTwo)('a service whose home is its data folder, in a folder of root', () => {
  it('restores a backup there, beside its keystore and what the launcher keeps in a home', async () => {
    const [backup, dataDir, state] = ['backup', 'home', 'home-state'].map(name => join(folder, name)) as [string, string, string];
    await startCommand(['backup', backup, '--data', project.dataDir], anyPort).ended();
    for (const made of [dataDir, join(dataDir, '.cache'), state]) mkdirSync(made, { mode: 0o700 });
    for (const file of ['keyset.bin', 'keystore.key']) cpSync(join(project.dataDir, file), join(dataDir, file));
    for (const top of [backup, dataDir, state])
      for (const entry of ['.', ...readdirSync(top, { recursive: true, encoding: 'utf8' })]) chownSync(join(top, entry), 65534, 65534);
    const restored = startCommand(['restore', backup, '--data', dataDir], { NUSEC_STATE_DIR: state, NUSEC_LOG_LEVEL: 'silent' }, nobody);
    expect(await restored.ended()).toMatchObject({ status: 0, err: '' });
    expect(readdirSync(dataDir)).toContain('events.db');
    expect(readdirSync(dataDir).filter(name => name.startsWith('.'))).toEqual(['.cache']);
  });
});

describe.skipIf(!mayBeTwo)('root, in the folder of a service', () => {
  it('rotates the keystore, and its user can read all of it afterwards', async () => {
    const dataDir = join(folder, 'of-a-service');
    cpSync(project.dataDir, dataDir, { recursive: true });
    for (const entry of ['.', ...readdirSync(dataDir, { recursive: true, encoding: 'utf8' })])
      chownSync(join(dataDir, entry), 65534, 65534);
    const state = { NUSEC_STATE_DIR: join(folder, 'root-state'), NUSEC_LOG_LEVEL: 'silent' };
    expect(await startCommand(['keystore', 'rotate', '--data', dataDir], state).ended()).toMatchObject({ status: 0 });
    const ofRoot = readdirSync(dataDir, { recursive: true, encoding: 'utf8' }).filter(name => statSync(join(dataDir, name)).uid === 0);
    expect(ofRoot).toEqual([]);
  });
});

describe.skipIf(!mayBeTwo)('a data folder that other users can enter', () => {
  it('is refused when it is not ours to change', async () => {
    const dataDir = openCopy('foreign', 0o777);
    const { status, err } = await server(dataDir, nobody).ended();
    expect(status).toBe(1);
    expect(JSON.parse(err.trim().split('\n').at(-1) ?? '')).toMatchObject({
      error: 'FOLDER_REFUSED',
      detail: expect.stringContaining('chmod 700'),
    });
  });

  it('is theirs no more when its owner has opened it, and a lock that one of them holds from before keeps nobody from leading', async () => {
    const dataDir = openCopy('ours', 0o755);
    const files = ['events.db', 'views.db', 'leader.lock', 'views.db.lock'].map(name => join(dataDir, name));
    const [events = '', , leader = ''] = files;
    const read = (file: string): string =>
      asNobody(`require('node:fs').readFileSync(${JSON.stringify(file)}); console.log('read')`).stdout.trim();
    await (await running(dataDir)).stop();
    chmodSync(dataDir, 0o755);
    for (const file of files) chmodSync(file, 0o644);
    expect(read(events)).toBe('read');
    const hold = `const db = new Database(${JSON.stringify(leader)}); db.exec('BEGIN'); db.prepare('SELECT * FROM sqlite_master').all(); console.log('held'); setInterval(() => {}, 1000)`;
    const holder = spawn(nobody[0] ?? '', [...nobody.slice(1), ...script(hold)], { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => void holder.kill('SIGKILL'));
    await once(holder.stdout, 'data');
    expect(holdAlone(join(dataDir, 'leader'))).toBeUndefined();
    rmSync(join(dataDir, 'log.checkpoint'), { force: true });
    const { stop } = await running(dataDir);
    for (const file of files) expect(read(file), file).toBe('');
    expect(statSync(dataDir).mode & 0o777).toBe(0o700);
    // The leader signs checkpoints.
    await expect.poll(() => existsSync(join(dataDir, 'log.checkpoint'))).toBe(true);
    await stop();
  });
});

async function running(dataDir: string): Promise<{ stop(): Promise<void> }> {
  const command = server(dataDir);
  await command.ready;
  return {
    async stop() {
      command.kill('SIGTERM');
      expect((await command.ended()).status).toBe(0);
    },
  };
}
