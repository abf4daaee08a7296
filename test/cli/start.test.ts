import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { verifyStore } from '../../src/eventstore/verify.ts';
import { lockFile } from '../../src/fileLock.ts';
import { type End, startCommand } from '../support/command.ts';
import { limitOfProcesses, processMs } from '../support/limits.ts';
import { makeProject } from '../support/server.ts';

/** How the commands that run until they are stopped begin and end, as processes: a start that cannot be says why and ends, and a signal ends it at
 *  any moment. */

const anyPort = { NUSEC_HTTPS_PORT: '0', NUSEC_MQTT_PORT: '0', NUSEC_CRL_PORT: '0' };
let project: Awaited<ReturnType<typeof makeProject>>;
const folder = mkdtempSync(join(tmpdir(), 'nusec-start-'));
beforeAll(async () => {
  project = await makeProject();
});
afterAll(() => {
  project.remove();
  rmSync(folder, { recursive: true });
});

const server = (env: NodeJS.ProcessEnv = {}, dataDir = project.dataDir) =>
  startCommand(['server', '--data', dataDir, '--json'], { ...anyPort, ...env });

/** Somebody else listens there until the test ends. */
async function takenPort(): Promise<number> {
  const other = createServer().listen(0, '127.0.0.1');
  await new Promise(resolve => other.once('listening', resolve));
  onTestFinished(() => new Promise<void>(resolve => other.close(() => resolve())));
  return (other.address() as AddressInfo).port;
}

function expectRefusal({ status, err }: End, code: string, ...words: readonly string[]): void {
  expect({ status, err }).toEqual({ status: code === 'BAD_REQUEST' ? 2 : 1, err: expect.stringContaining(code) });
  const { error, detail } = JSON.parse(err) as { error: string; detail: string };
  expect(error).toBe(code);
  for (const word of words) expect(detail).toContain(word);
}

describe('a server that cannot start says why, ends, and leaves the folder free', () => {
  const nowhere = join(folder, 'nowhere');
  const port = { https: 'NUSEC_HTTPS_PORT', mqtt: 'NUSEC_MQTT_PORT', crl: 'NUSEC_CRL_PORT' } as const;

  it.each(['https', 'mqtt', 'crl'] as const)('%s port taken', async name => {
    const taken = await takenPort();
    const end = await server({ [port[name]]: String(taken) }).ended();
    expectRefusal(end, 'PORT_TAKEN', String(taken), `--${name}-port`, port[name]);
    lockFile(join(project.dataDir, 'keyset.bin'), 'alone').release();
  });

  it.each([
    ['a port that is none', { NUSEC_HTTPS_PORT: '171019' }, 'BAD_REQUEST', 'httpsPort'],
    ['an address of another machine', { NUSEC_HOST: '192.0.2.1' }, 'LISTEN_FAILED', '192.0.2.1'],
    ['no passphrase file', { NUSEC_PASSPHRASE_FILE: nowhere }, 'KEYSTORE_MISSING', nowhere],
    ['no folder for the revocation mark', { NUSEC_MARK_FILE: join(nowhere, 'mark') }, 'FOLDER_MISSING', nowhere],
  ])('%s', async (_, env, code, word) => {
    expectRefusal(await server(env).ended(), code, word);
  });

  it('no key file', async () => {
    const keyFile = join(project.dataDir, 'keystore.key');
    renameSync(keyFile, join(folder, 'key'));
    onTestFinished(() => renameSync(join(folder, 'key'), keyFile));
    expectRefusal(await server().ended(), 'KEYSTORE_MISSING', keyFile);
  });

  it('no folder, a file in its place, a folder without a project', async () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    expectRefusal(await server({}, nowhere).ended(), 'FOLDER_MISSING', nowhere, 'nusec init');
    expectRefusal(await server({}, file).ended(), 'FOLDER_REFUSED', file);
    expectRefusal(await server({}, folder).ended(), 'KEYSTORE_MISSING', folder);
  });

  it('a folder that another process works with alone', async () => {
    const lock = lockFile(join(project.dataDir, 'keyset.bin'), 'alone');
    onTestFinished(lock.release);
    expectRefusal(await server().ended(), 'KEYSTORE_LOCKED', project.dataDir);
  });

  const isRoot = process.getuid?.() === 0;
  const mayMount = spawnSync('unshare', ['--mount', 'true']).status === 0;
  it.skipIf(isRoot && !mayMount)('a folder that is read-only', async () => {
    const dataDir = join(folder, 'read-only');
    cpSync(project.dataDir, dataDir, { recursive: true });
    // Root may write whatever the mode: for it the folder is mounted read-only.
    const mount = `mount --bind "${dataDir}" "${dataDir}" && mount -o remount,bind,ro "${dataDir}" && exec "$@"`;
    if (!isRoot) chmodSync(dataDir, 0o500);
    onTestFinished(() => chmodSync(dataDir, 0o700));
    const wrapper = isRoot ? ['unshare', '--mount', 'sh', '-c', mount, 'sh'] : [];
    const end = await startCommand(['server', '--data', dataDir, '--json'], anyPort, wrapper).ended();
    expectRefusal(end, 'FOLDER_REFUSED', dataDir);
  });
});

describe('a virtual board that cannot start says why and ends; the corrected command works', () => {
  it.each(['mcu', 'programmer'])('%s run', { timeout: limitOfProcesses(6) }, async name => {
    const data = join(folder, name);
    const board = (...options: readonly string[]) =>
      startCommand([name, 'run', '--data', data, '--uid', '4e4c3300000000000000000000000001', '--json', ...options]);
    const taken = await takenPort();
    const free = ['--serial-port', '0'];
    expectRefusal(await board(...free, '--debug-port', String(taken)).ended(), 'PORT_TAKEN', String(taken), '--debug-port');
    expectRefusal(await board('--serial-port', String(taken)).ended(), 'PORT_TAKEN', String(taken), '--serial-port');
    expectRefusal(await board('--serial-device', join(folder, 'nothing')).ended(), 'LINK_FAILED');
    expectRefusal(await board(...free, '--debug-port', '171019').ended(), 'BAD_REQUEST', '--debug-port', '171019');
    const running = board(...free);
    expect(await running.ready).toMatchObject({ ready: true });
    expectRefusal(await board(...free).ended(), 'FOLDER_IN_USE', data);
    running.kill('SIGTERM');
    expect(await running.ended()).toMatchObject({ status: 0 });
  });

  it('in a folder that cannot be used', async () => {
    const file = join(folder, 'a file');
    writeFileSync(file, '');
    expectRefusal(await startCommand(['mcu', 'run', '--data', file, '--json']).ended(), 'FOLDER_REFUSED', file);
  });
});

describe('systemd', () => {
  const socket = { NOTIFY_SOCKET: '/run/systemd/notify' };

  it('is told when a server is ready, by its own tool', async () => {
    const [tools, told] = [mkdtempSync(join(folder, 'tools-')), join(folder, 'told')];
    writeFileSync(join(tools, 'systemd-notify'), `#!/bin/sh\necho "$NOTIFY_SOCKET $*" > ${told}.new; exec /bin/mv ${told}.new ${told}\n`, {
      mode: 0o755,
    });
    const running = server({ ...socket, PATH: tools });
    await running.ready;
    await expect.poll(() => existsSync(told) && readFileSync(told, 'utf8'), { timeout: processMs }).toBe('/run/systemd/notify --ready\n');
    running.kill('SIGTERM');
    expect(await running.ended()).toMatchObject({ status: 0, err: '' });
  });

  it('without its tool: the server says so, and serves', async () => {
    const running = server({ ...socket, PATH: join(folder, 'nothing') });
    await running.ready;
    running.kill('SIGTERM');
    expect(await running.ended()).toMatchObject({ status: 0, err: expect.stringContaining('systemd-notify') });
  });
});

describe('a signal', () => {
  const stopped = ({ status, signal }: End): boolean => status === 0 || signal === 'SIGTERM';

  it('ends a server at any moment of its start; the folder is whole and free', { timeout: limitOfProcesses(16) }, async () => {
    const before = Date.now();
    const whole = server();
    await whole.ready;
    const startMs = Date.now() - before;
    whole.kill('SIGTERM');
    expect(await whole.ended()).toMatchObject({ status: 0, signal: null });
    const moments = Array.from({ length: 12 }, (_, index) => (startMs * index) / 10);
    for (const moment of moments) {
      const starting = server();
      await sleep(moment);
      starting.kill('SIGTERM');
      const end = await starting.ended();
      expect(stopped(end), `after ${moment} ms: ${JSON.stringify(end)}`).toBe(true);
      expect(end.err).toBe('');
      lockFile(join(project.dataDir, 'keyset.bin'), 'alone').release();
    }
    expect(verifyStore(join(project.dataDir, 'events.db'))).toMatchObject({ ok: true });
    const again = server();
    await again.ready;
    again.kill('SIGINT');
    expect(await again.ended()).toMatchObject({ status: 0 });
    expect(readdirSync(join(project.dataDir, 'peers'))).toEqual([]);
  });

  it('ends a server that is closing, whichever signal it is', { timeout: limitOfProcesses(8) }, async () => {
    for (const [moment, signal] of [0, 5, 20, 60].flatMap(ms => [[ms, 'SIGTERM'] as const, [ms, 'SIGINT'] as const])) {
      const running = server();
      await running.ready;
      running.kill('SIGTERM');
      await sleep(moment);
      running.kill(signal);
      const end = await running.ended();
      expect(end.status === 0 || end.signal === signal, JSON.stringify(end)).toBe(true);
    }
    expect(verifyStore(join(project.dataDir, 'events.db'))).toMatchObject({ ok: true });
  });

  it('ends a board and a gateway agent at any moment', { timeout: limitOfProcesses(12) }, async () => {
    const agent = ['gateway', 'run', '--data', join(folder, 'agent'), '--id', 'hall-7', '--mqtt', 'localhost:1'];
    const unreachable = ['--server', 'https://localhost:1', '--ca', join(folder, 'root.pem'), '--json'];
    writeFileSync(join(folder, 'root.pem'), project.rootPem);
    const commands = [
      ['mcu', 'run', '--data', join(folder, 'chip')],
      ['programmer', 'run', '--data', join(folder, 'nulink'), '--uid', '4e4c3300000000000000000000000002'],
      [...agent, ...unreachable],
    ];
    for (const command of commands) {
      for (const moment of [0, 200, 400, 800]) {
        const starting = startCommand(command, { NUSEC_TOKEN: 'token' });
        await sleep(moment);
        starting.kill('SIGTERM');
        const end = await starting.ended();
        expect(stopped(end), `${command[0]} after ${moment} ms: ${JSON.stringify(end)}`).toBe(true);
      }
    }
  });

  const mayBeFirst = spawnSync('unshare', ['--pid', '--fork', 'true']).status === 0;
  const inContainer = () => startCommand(['server', '--data', project.dataDir, '--json'], anyPort, ['unshare', '--pid', '--fork']);
  it.skipIf(!mayBeFirst)('ends the first process of a container, which the kernel protects', { timeout: limitOfProcesses(2) }, async () => {
    const starting = inContainer();
    // What comes before the first line of ours is lost.
    const again = setInterval(() => signalChildOf(starting.pid), 20);
    onTestFinished(() => clearInterval(again));
    // By its own handler, or by the signal itself when that comes in the first moments.
    const end = await starting.ended();
    expect(end.out).toBe('');
    expect(end.status === 143 || end.signal === 'SIGTERM', JSON.stringify(end)).toBe(true);

    const running = inContainer();
    await running.ready;
    signalChildOf(running.pid);
    expect(await running.ended()).toMatchObject({ status: 0 });
  });
});

function signalChildOf(pid: number): void {
  const file = `/proc/${pid}/task/${pid}/children`;
  const child = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
  try {
    if (child > 0) process.kill(child, 'SIGTERM');
  } catch {
    // It has just ended.
  }
}
