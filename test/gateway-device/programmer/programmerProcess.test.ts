import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectProgrammer, sendPackage } from '../../../gateway-device/programmer/client.ts';
import { toHex } from '../../../src/bytes.ts';
import { covers } from '../../support/covers.ts';
import { type OemServer, startOemServer } from './oemServer.ts';
import { authKeyIn, freshId, newFolder, removeFolders, startTarget } from './programmerFixture.ts';

/** The programmer as a process of its own, the tools as the contract manufacturer runs them, and kill -9 in between. */

const main = join(import.meta.dirname, '../../../src/cli/main.ts');
type Ready = { readonly serialPort: number; readonly debugPort: number; readonly uid: string; readonly stage: string };
type Running = { readonly child: ChildProcess; readonly ready: Ready; readonly lines: string[] };

let server: OemServer;
let running: Running;
const folder = newFolder();
const uid = toHex(freshId());
const toolFolder = newFolder();

beforeAll(async () => {
  server = await startOemServer();
  server.proxy.know(uid, () => authKeyIn(folder));
  running = await start(['--uid', uid]);
});
afterAll(async () => {
  running?.child.kill('SIGTERM');
  await server.close();
  removeFolders();
});

async function start(options: readonly string[] = []): Promise<Running> {
  const child = spawn(process.execPath, [main, 'programmer', 'run', '--data', folder, ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const first = Promise.withResolvers<Ready>();
  createInterface({ input: child.stdout! }).on('line', line => {
    if (lines.push(line) === 1) first.resolve(JSON.parse(line) as Ready);
  });
  child.once('exit', code => first.reject(new Error(`the programmer ended with ${code}`)));
  return { child, lines, ready: await first.promise };
}

async function killAndRestart(): Promise<void> {
  const gone = new Promise(resolve => running.child.once('exit', resolve));
  running.child.kill('SIGKILL');
  await gone;
  running = await start();
}

/** Runs the command line tool in a folder of its own. */
function nusec(...args: string[]): Promise<{ readonly status: number; readonly out: string; readonly err: string }> {
  const trust = { NUSEC_TOKEN: server.plant.tokenOf('olga'), NUSEC_CA: join(toolFolder, 'root.pem'), NUSEC_SERVER: server.url };
  const env = { ...process.env, ...trust, NO_COLOR: '1' };
  return new Promise(resolve => {
    execFile(process.execPath, [main, ...args], { cwd: toolFolder, env }, (error, out, err) =>
      resolve({ status: typeof error?.code === 'number' ? error.code : error ? -1 : 0, out, err }),
    );
  });
}

const serial = (): string => `127.0.0.1:${running.ready.serialPort}`;

describe('nusec programmer, package and produce', () => {
  let jobId: string;

  it('prepare makes a shipped programmer of a bare board, and may be run again (R104)', async () => {
    covers('R104');
    writeFileSync(join(toolFolder, 'root.pem'), server.rootPem);
    expect(running.ready.stage).toBe('none');
    const wires = ['--uid', uid, '--serial', serial(), '--debug', `127.0.0.1:${running.ready.debugPort}`];
    const prepared = await nusec('programmer', 'prepare', ...wires, '--json');
    expect(prepared, prepared.err).toMatchObject({ status: 0 });
    expect(JSON.parse(prepared.out)).toEqual({ uid, status: 'SHIPPED', kekEpoch: 1 });
    await killAndRestart();
    expect(running.ready.stage).toBe('programmer');
    const again = ['--uid', uid, '--serial', serial(), '--debug', `127.0.0.1:${running.ready.debugPort}`];
    expect(JSON.parse((await nusec('programmer', 'prepare', ...again, '--json')).out)).toEqual({ uid, status: 'SHIPPED', kekEpoch: 1 });
  });

  it('package import tells the count, and one constant code for every refusal (R62, R108)', async () => {
    covers('R62', 'R108');
    const file = join(toolFolder, 'job.njp');
    const job = await server.newJob(uid, { count: 2 });
    jobId = job.jobId;
    writeFileSync(file, job.file);
    const imported = await nusec('package', 'import', file, '--programmer', serial(), '--json');
    expect(imported, imported.err).toMatchObject({ status: 0 });
    expect(JSON.parse(imported.out)).toMatchObject({ jobId, count: 2 });
    const replayed = await nusec('package', 'import', file, '--programmer', serial(), '--json');
    expect(replayed.status).toBe(1);
    writeFileSync(join(toolFolder, 'damaged.njp'), readFileSync(file).fill(0, 100, 101));
    const damaged = await nusec('package', 'import', join(toolFolder, 'damaged.njp'), '--programmer', serial(), '--json');
    expect(JSON.parse(replayed.err)).toEqual(JSON.parse(damaged.err));
    expect(JSON.parse(damaged.err)).toMatchObject({
      error: 'PACKAGE_REFUSED',
      detail: expect.stringContaining('ask the OEM for the newest'),
    });
    const unknown = toHex(freshId());
    for (const command of ['end', 'give-up']) {
      const said = await nusec('package', command, unknown, '--yes', '--programmer', serial(), '--json');
      expect(JSON.parse(said.err), command).toMatchObject({ error: 'NOT_FOUND', detail: expect.stringContaining(unknown) });
    }
    const inspected = await nusec('package', 'inspect', file, '--json');
    expect(JSON.parse(inspected.out)).toMatchObject({ packageId: JSON.parse(imported.out).packageId, kekEpoch: 1, bytes: job.file.length });
  });

  it('produce shows every step, and a kill -9 in the middle does not cost the unit (R70, T33)', async () => {
    covers('R70', 'T33');
    const target = await startTarget();
    const wires = ['--target-serial', target.addresses.serial, '--target-debug', target.addresses.debug, '--json'];
    const reached = Promise.withResolvers<void>();
    server.proxy.fail(({ name }) => {
      if (name !== 'application') return undefined;
      reached.resolve();
      return 'lost';
    });
    const cut = nusec('produce', '--programmer', serial(), ...wires);
    await reached.promise;
    await killAndRestart();
    expect((await cut).status).toBe(1);
    server.proxy.heal();
    const newer = join(toolFolder, 'newer.njp');
    writeFileSync(newer, await server.exportPackage(jobId, uid, true));
    for (const command of [
      ['import', newer],
      ['end', jobId, '--yes'],
    ]) {
      const early = await nusec('package', ...command, '--programmer', serial(), '--json');
      expect(JSON.parse(early.err)).toMatchObject({ error: 'STATE', detail: expect.stringContaining('a unit of this job is under way') });
    }
    const done = await nusec('produce', '--programmer', serial(), ...wires);
    expect(done, done.err).toMatchObject({ status: 0 });
    const lines = done.out
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as { step?: number; state?: string; outcome?: string });
    expect(lines.at(-1)).toEqual({ outcome: 'OK', remaining: 1 });
    expect(lines.filter(line => line.state === 'done').map(line => line.step)).toEqual([1, 13, 14, 15, 16]);
    expect((await server.units(jobId, uid)).map(unit => unit.outcome)).toEqual(['committed']);
    await target.stop();
  });

  it('ends with COUNT_EXHAUSTED and status 1 when the count is used up (RULE-4)', async () => {
    covers('RULE-4');
    const [second, third] = [await startTarget(), await startTarget()];
    const wires = (target: typeof second) => [
      '--target-serial',
      target.addresses.serial,
      '--target-debug',
      target.addresses.debug,
      '--json',
    ];
    expect((await nusec('produce', '--programmer', serial(), ...wires(second))).status).toBe(0);
    const refused = await nusec('produce', '--programmer', serial(), ...wires(third));
    expect(refused.status).toBe(1);
    expect(JSON.parse(refused.err)).toMatchObject({ error: 'COUNT_EXHAUSTED' });
    expect(await server.allotment(jobId, uid)).toMatchObject({ status: 'CLOSED', zeroised: true });
    await Promise.all([second.stop(), third.stop()]);
  });

  it('produce goes on to the next chip by itself, on several targets, and says where each chip goes', async () => {
    const file = join(toolFolder, 'more.njp');
    const more = await server.newJob(uid, { count: 3 });
    writeFileSync(file, more.file);
    expect((await nusec('package', 'import', file, '--programmer', serial())).status).toBe(0);
    const [left, right] = [await startTarget(), await startTarget()];
    const wires = [left, right].map(({ addresses: { serial: at, debug } }) => `${at},${debug}`);
    const done = await nusec('produce', '--programmer', serial(), '--targets', ...wires, '--count', '2', '--json');
    expect(done, done.err).toMatchObject({ status: 0 });
    const results = done.out
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as { outcome?: string })
      .filter(({ outcome }) => outcome !== undefined);
    expect(results).toMatchObject([
      { outcome: 'OK', bin: 'pass', built: 1 },
      { outcome: 'OK', bin: 'pass', built: 2, yield: 1 },
    ]);
    const station = join(toolFolder, 'station.json');
    const targets = [{ name: 'left', serial: left.addresses.serial, debug: left.addresses.debug }];
    writeFileSync(station, JSON.stringify({ programmer: serial(), targets, count: 1, webhook: 'http://127.0.0.1:9/nobody' }));
    const taken = left.stop();
    const attended = nusec('produce', '--station', station, '--json');
    await taken;
    const [, port] = left.addresses.serial.split(':');
    const [, debugPort] = left.addresses.debug.split(':');
    const next = await startTarget(undefined, undefined, { ports: { serialPort: Number(port), debugPort: Number(debugPort) } });
    const built = await attended;
    expect(built, built.err).toMatchObject({ status: 0 });
    expect(built.err).toContain('the webhook did not take a result');
    expect((await server.units(more.jobId, uid)).map(unit => unit.outcome)).toEqual(['committed', 'committed', 'committed']);
    await Promise.all([next.stop(), right.stop()]);
  });

  it('leaves no key material with the tool, and none in what the programmer tells (T16, R106, R109, RULE-2)', async () => {
    covers('T16', 'R106', 'R109', 'RULE-2');
    const secrets = secretsIn(['keystore.json', 'kek.json']);
    expect(secrets.length).toBeGreaterThanOrEqual(2);
    const tool = readdirSync(toolFolder).map(name => readFileSync(join(toolFolder, name), 'latin1'));
    for (const secret of secrets) expect([...tool, ...running.lines].some(text => text.includes(secret))).toBe(false);
    for (const name of readdirSync(folder)) {
      if (name === 'images') continue;
      expect(statSync(join(folder, name)).mode & 0o077, name).toBe(0);
      const isKeyStore = name === 'keystore.json' || name === 'kek.json';
      if (!isKeyStore) for (const secret of secrets) expect(readFileSync(join(folder, name), 'latin1').includes(secret), name).toBe(false);
    }
  });

  it('keeps a signed ledger of every unit (RULE-20, R82)', async () => {
    covers('RULE-20', 'R82');
    const kept = readFileSync(join(folder, `ledger-${jobId}.log`), 'utf8')
      .trim()
      .split('\n');
    expect(new Set(kept).size).toBe((await server.ledger(jobId, uid)).length);
  });
});

describe('group 65 on the serial link', () => {
  it('refuses what does not follow, and answers everything else (R108, T27)', async () => {
    covers('R108', 'T27');
    const client = await connectProgrammer(serial());
    const refused = (work: Promise<unknown>) =>
      work.then(
        () => 'ok',
        (error: { reason?: string }) => error.reason,
      );
    expect(await refused(client.request('packagePut', { offset: 5, totalBytes: 10, data: freshId() }))).toBe('bad-arg');
    expect(await refused(client.request('packageImport', {}))).toBe('bad-state');
    expect(await refused(client.request('zeroise', { jobId: freshId() }))).toBe('bad-arg');
    expect(await refused(client.request('giveUp', { uid: freshId() }))).toBe('bad-arg');
    expect(await refused(client.request('agreeKek', { serverUrl: 'not a url' }))).toBe('policy');
    expect(await refused(sendPackage(client, freshId()))).toBe('policy');
    const status = await client.request('status', {});
    expect(status).toMatchObject({ stage: 'programmer', kekEpoch: 1 });
    await client.close();
  });
});

function secretsIn(names: readonly string[]): string[] {
  return names.flatMap(name => {
    const { keys } = JSON.parse(readFileSync(join(folder, name), 'utf8')) as { keys: Record<string, string> };
    return Object.values(keys);
  });
}
