import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startCommand } from '../support/command.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** `nusec log park` as two people use it when a read model stands before an event that it cannot project. */

let server: TestServer;
let position = 0;
beforeAll(async () => {
  server = await startTestServer(async ({ store, newId, clock }) => {
    // An authority without its certificate: no version of the product has stored such a thing.
    const event = { id: newId(), type: 'IssuingCaEstablished', at: clock().toISOString(), by: 'system:test', data: { icaId: 'x' } };
    ({ position } = await store.append('elsewhere-x', 'none', [event]));
  });
  writeFileSync(join(server.dataDir, 'root.pem'), server.rootPem);
});
afterAll(() => server?.close());

const log = (token: string, ...args: readonly string[]) =>
  startCommand(['log', ...args, '--json'], {
    NUSEC_TOKEN: token,
    NUSEC_CA: join(server.dataDir, 'root.pem'),
    NUSEC_SERVER: server.url,
  }).ended();
const park = (token: string, where: number, follower: string) =>
  log(token, 'park', String(where), '--follower', follower, '--reason', 'written by a test');
const ready = () => exchange(`${server.url}/readyz`, { ca: server.rootPem });

it('nusec log park: one person proposes, another agrees, and the read model skips the event (I16)', async () => {
  covers('I16');
  const follower = 'read model certificates';
  expect((await ready()).text).toContain(`certificates: stopped before event ${position}`);
  expect(JSON.parse((await log(server.alice, 'followers')).out)).toContainEqual(
    expect.objectContaining({ name: follower, standsBefore: position, position: position - 1 }),
  );
  for (const [where, name, code] of [
    [position - 1, follower, 'STATE'],
    [position, 'OCSP', 'STATE'],
    [position, 'nobody', 'NOT_FOUND'],
  ] as const)
    expect((await park(server.alice, where, name)).err, name).toContain(code);

  expect(JSON.parse((await park(server.alice, position, follower)).out)).toMatchObject({ status: 'PROPOSED' });
  expect(JSON.parse((await park(server.alice, position, follower)).out)).toMatchObject({ status: 'PROPOSED' });
  expect((await ready()).status).toBe(503);
  expect(JSON.parse((await park(server.bob, position, follower)).out)).toMatchObject({
    status: 'PARKED',
    proposedBy: 'operator:alice',
    approvedBy: 'operator:bob',
  });
  await expect.poll(ready).toMatchObject({ status: 200 });
  expect(JSON.parse((await log(server.alice, 'parked')).out)).toMatchObject([
    { position, follower, status: 'PARKED', reason: 'written by a test' },
  ]);
  const headers = { Authorization: `Bearer ${server.alice}` };
  const { text } = await exchange(`${server.url}/v1/alarms?limit=500`, { ca: server.rootPem, headers });
  expect(text).toContain(`operator:bob: ${follower} skips event ${position}: written by a test`);
});
