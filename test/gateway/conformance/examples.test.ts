import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it, onTestFinished } from 'vitest';
import { openBench } from '../../../src/gateway/conformance/bench.ts';
import { runChecks } from '../../../src/gateway/conformance/checks.ts';
import { openCheckPki } from '../../../src/gateway/conformance/testPki.ts';
import { pythonWith } from '../../support/python.ts';

/** The example devices in other languages, built and run against the check: foreign libraries, and code that only read the contract. */

const run = promisify(execFile);
const example = (file: string): string => fileURLToPath(new URL(`../../../examples/device/${file}`, import.meta.url));
const uid = '00112233445566778899aabbccddeeff';
const times = { connectMs: 60_000, answerMs: 30_000, quietMs: 500 };

async function prepare() {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-example-'));
  const pki = await openCheckPki(join(folder, 'check'), uid, 'localhost');
  const bench = await openBench(pki, { host: '127.0.0.1', port: 0 });
  const running: ChildProcess[] = [];
  onTestFinished(async () => {
    for (const child of running) child.kill('SIGKILL');
    await bench.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const start = (program: string, ...args: readonly string[]): void => void running.push(spawn(program, args, { stdio: 'ignore' }));
  const failed = async () =>
    (await runChecks({ bench, pki, times, evidence: 'spdm' })).flatMap(({ name, verdict, detail }) =>
      verdict === 'passed' ? [] : [`${name}: ${detail}`],
    );
  return { folder, checkFolder: join(folder, 'check'), pki, bench, start, failed };
}

/** Whether a command ends well. */
const works = (program: string, ...args: readonly string[]): Promise<boolean> =>
  run(program, args).then(
    () => true,
    () => false,
  );

it('device.py passes every check: with paho, and an SPDM responder of its own', async ({ skip }) => {
  const python = pythonWith('paho.mqtt.client', 'cryptography');
  if (python === undefined)
    return skip('no Python here has paho and cryptography (Debian packages python3-paho-mqtt, python3-cryptography)');
  const { checkFolder, bench, start, failed } = await prepare();
  start(python, example('device.py'), checkFolder, 'localhost', String(bench.port));
  expect(await failed()).toEqual([]);
});

it('device.c passes every check: with libmosquitto, libcbor and OpenSSL, and an SPDM responder of its own', async ({ skip }) => {
  const libraries = ['libmosquitto', 'libcbor', 'libcrypto'];
  const isThere = (await works('gcc', '--version')) && (await works('pkg-config', '--exists', ...libraries));
  if (!isThere)
    return skip('gcc, pkg-config or a library is not there (Debian packages gcc, pkg-config, libmosquitto-dev, libcbor-dev, libssl-dev)');
  const { folder, checkFolder, pki, bench, start, failed } = await prepare();
  const { stdout: flags } = await run('pkg-config', ['--cflags', '--libs', ...libraries]);
  const program = join(folder, 'device');
  const sources = ['device.c', 'spdm.c'].map(example);
  await run('gcc', ['-std=c11', '-Wall', '-Wextra', '-Werror', '-O1', '-o', program, ...sources, ...flags.trim().split(/\s+/)]);
  start(program, checkFolder, uid, pki.objId, 'localhost', String(bench.port));
  expect(await failed()).toEqual([]);
});
