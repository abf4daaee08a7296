import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestServer, type TestServer } from '../support/server.ts';

/** What the runbook has an operator do about a gateway, over HTTPS. */

const main = new URL('../../src/cli/main.ts', import.meta.url).pathname;
let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
  writeFileSync(join(server.dataDir, 'root.pem'), server.rootPem);
});
afterAll(() => server?.close());

const gateway = (...args: readonly string[]): Promise<{ status: number | null; text: string }> =>
  new Promise(resolve => {
    const env = { ...process.env, NUSEC_TOKEN: server.alice, NUSEC_CA: join(server.dataDir, 'root.pem'), NUSEC_SERVER: server.url };
    const child = spawn(process.execPath, [main, 'gateway', ...args], { env });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (text += chunk));
    child.on('close', status => resolve({ status, text }));
  });

it('a gateway is suspended, good again and revoked for good, the last only when that is confirmed', async () => {
  await gateway('register', '--id', 'hall-7', '--data', join(server.dataDir, 'hall-7'));
  expect((await gateway('suspend', 'hall-7', '--reason', 'looked at it')).text).toMatch(/status +SUSPENDED/);
  expect((await gateway('resume', 'hall-7')).text).toMatch(/status +ACTIVE/);
  expect((await gateway('revoke', 'hall-7', '--reason', 'stolen')).text).toContain('nothing was done yet');
  expect((await gateway('list')).text).toMatch(/hall-7 +hall-7 +ACTIVE/);
  expect((await gateway('revoke', 'hall-7', '--reason', 'stolen', '--yes')).text).toMatch(/status +REVOKED/);
});
