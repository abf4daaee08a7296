import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandAt, commandAt } from '../support/commandAt.ts';
import { covers } from '../support/covers.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** `nusec ca` as two administrators use it, over HTTPS. */

let server: TestServer;
let nusec: CommandAt;
beforeAll(async () => {
  server = await startTestServer();
  nusec = commandAt(server);
});
afterAll(() => server?.close());

describe('nusec ca', () => {
  it('rolls an issuing CA with two administrators and prints the record', async () => {
    covers('I16');
    const proposed = JSON.parse((await nusec(server.alice, 'ca', 'roll', 'gateway', '--json')).text);
    expect(proposed).toMatchObject({ status: 'PROPOSED', action: { icaId: 'gateway-2' } });
    const alone = await nusec(server.alice, 'ca', 'ceremony', 'approve', proposed.id);
    expect([alone.status, alone.text]).toEqual([1, expect.stringContaining('FOUR_EYES_REQUIRED')]);
    expect((await nusec(server.bob, 'ca', 'ceremony', 'approve', proposed.id)).text).toContain('DONE');
    const record = (await nusec(server.alice, 'ca', 'ceremony', 'record', proposed.id)).text;
    for (const text of ['KEY CEREMONY RECORD', 'operator:alice', 'operator:bob', 'gateway-2']) expect(record).toContain(text);
    expect((await nusec(server.alice, 'ca', 'ceremony', 'record', 'root')).text).toContain('establishRoot');
    expect((await nusec(server.alice, 'ca', 'list')).text).toMatch(/gateway-2 +gateway +– +P-256 +ESTABLISHED +root/);
    expect((await nusec(server.alice, 'ca', 'ceremony', 'list')).text).toContain(proposed.id);
  });

  it('goes on serving when its server CA is replaced and compromised, with a new certificate at once', async () => {
    const both = async (...args: readonly string[]) => {
      const { id } = JSON.parse((await nusec(server.alice, 'ca', ...args, '--json')).text);
      return JSON.parse((await nusec(server.bob, 'ca', 'ceremony', 'approve', id, '--json')).text);
    };
    await both('roll', 'server');
    await both('activate', 'server-2');
    expect(await both('compromise', 'server-1', '--reason', 'test')).toMatchObject({ status: 'DONE' });
    expect((await nusec(server.alice, 'ca', 'list', '--json')).status).toBe(0);
    expect(await both('roll-root', '--curve', 'P-384', '--ica-curve', 'P-384')).toMatchObject({
      action: { rootId: 'root-2', curve: 'P-384', icaCurve: 'P-384' },
    });
    await both('roll', 'server');
    await both('activate', 'server-3');
    expect(await both('roll', 'programmer', '--curve', 'P-256')).toMatchObject({ outcome: { curve: 'P-256' } });
    const { roots, issuingCas } = JSON.parse((await nusec(server.alice, 'ca', 'list', '--json')).text);
    expect(roots).toMatchObject([{ curve: 'P-256' }, { curve: 'P-384', icaCurve: 'P-384' }]);
    expect(issuingCas).toContainEqual(expect.objectContaining({ icaId: 'server-3', rootId: 'root-2', status: 'ACTIVE', curve: 'P-384' }));
    expect((await nusec(server.alice, 'ca', 'roll-root', '--curve', 'P-521')).text).toContain('Allowed choices are P-256, P-384');
  });
});
