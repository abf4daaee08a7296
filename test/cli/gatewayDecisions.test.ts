import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type CommandAt, commandAt } from '../support/commandAt.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** What the runbook has an operator do about a gateway, over HTTPS. */

let server: TestServer;
let gateway: (...args: readonly string[]) => ReturnType<CommandAt>;
beforeAll(async () => {
  server = await startTestServer();
  const nusec = commandAt(server);
  gateway = (...args) => nusec(server.alice, 'gateway', ...args);
});
afterAll(() => server?.close());

it('a gateway is suspended, good again and revoked for good, the last only when that is confirmed', async () => {
  await gateway('register', '--id', 'hall-7', '--data', join(server.dataDir, 'hall-7'));
  expect((await gateway('suspend', 'hall-7', '--reason', 'looked at it')).text).toMatch(/status +SUSPENDED/);
  expect((await gateway('resume', 'hall-7')).text).toMatch(/status +ACTIVE/);
  expect((await gateway('revoke', 'hall-7', '--reason', 'stolen')).text).toContain('nothing was done yet');
  expect((await gateway('list')).text).toMatch(/hall-7 +hall-7 +ACTIVE/);
  expect((await gateway('revoke', 'hall-7', '--reason', 'stolen', '--yes')).text).toMatch(/status +REVOKED/);
});
