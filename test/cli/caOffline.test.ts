import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createHttpClient } from '../../gateway-device/link/httpClient.ts';
import { sha256Hex } from '../../src/digest.ts';
import { type RunningServer, startServer } from '../../src/main.ts';
import { toPem } from '../../src/pki/pem.ts';
import { initialiseProject } from '../../src/services/administration/initialise.ts';
import { makeRecoveryCodes } from '../../src/services/administration/recoveryCodes.ts';
import { authorityOf, rootDer } from '../../src/services/authority/authority.ts';
import { createAlarms } from '../../src/services/base/alarms.ts';
import { openContext } from '../../src/services/dataFolder/open.ts';
import { testSettings } from '../support/server.ts';

/** A server whose issuing CA has ended: nobody can connect to it, and two administrators at its machine bring it back. */

const dataDir = mkdtempSync(join(tmpdir(), 'nusec-ended-'));
const tokens: Record<string, string> = {};
let rootPem = '';
let server: RunningServer;

let codes: readonly string[] = [];

beforeAll(async () => {
  const opened = await openContext(testSettings(dataDir), { https: 0, crl: 0 }, true);
  const elevenYearsAgo = { ...opened.ctx, clock: () => new Date(Date.now() - 4100 * 86_400_000) };
  const project = await initialiseProject(elevenYearsAgo, { organization: 'Example OEM', administrators: ['alice', 'bob'] });
  codes = await makeRecoveryCodes({ ctx: elevenYearsAgo, alarms: createAlarms(elevenYearsAgo) }, false);
  for (const { name, token } of project.tokens) keep(name, token);
  rootPem = toPem('CERTIFICATE', rootDer(await authorityOf(opened.ctx)));
  await opened.close();
  server = await startServer(testSettings(dataDir));
});
afterAll(async () => {
  await server?.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const keep = (name: string, token: string): void => {
  tokens[name] = token;
  writeFileSync(join(dataDir, `${name}.token`), token, { mode: 0o600 });
};
const main = new URL('../../src/cli/main.ts', import.meta.url).pathname;
const nusec = (...args: readonly string[]) =>
  promisify(execFile)(process.execPath, [main, ...args, '--data', dataDir, '--json'], {
    env: { ...process.env, NUSEC_LOG_LEVEL: 'silent' },
  });
const roll = (first: string, second: string) => {
  const files = ['--token-file', join(dataDir, `${first}.token`), '--second-token-file', join(dataDir, `${second}.token`)];
  return nusec('ca', 'roll', 'server', '--offline', ...files);
};
const overview = async () => {
  const http = createHttpClient({ baseUrl: `https://localhost:${server.httpsPort}`, ca: rootPem, token: tokens.alice ?? '' });
  try {
    return await http.json<{ issuingCas: readonly { icaId: string; status: string }[] }>('GET', '/v1/authority');
  } finally {
    http.close();
  }
};

describe('a server whose issuing CA has ended', () => {
  it('starts and serves the lists that can be signed, without TLS', async () => {
    const get = (path: string) => fetch(`http://127.0.0.1:${server.crlPort}${path}`).then(({ status }) => status);
    expect([await get('/healthz'), await get('/crl/root.crl')]).toEqual([200, 200]);
    await expect(overview()).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE' });
  });

  it('is not rolled by tokens that have expired; two recovery codes bring those of two administrators back (I16)', async () => {
    const expired = { stderr: expect.stringContaining('TOKEN_EXPIRED') };
    await expect(roll('alice', 'bob')).rejects.toMatchObject(expired);
    const file = join(dataDir, 'codes');
    writeFileSync(file, `${codes.slice(1).join('\n')}\n`, { mode: 0o600 });
    const hash = (name: string) => sha256Hex(`${name}-next`);
    const use = ['operator', 'recover', 'use', 'alice', '--codes', file, '--token-sha256', hash('alice'), '--second', 'bob'];
    await expect(nusec(...use)).rejects.toMatchObject({ stderr: expect.stringContaining('BAD_REQUEST') });
    const { stdout } = await nusec(...use, '--second-token-sha256', hash('bob'));
    expect(JSON.parse(stdout)).toEqual({ name: 'alice', second: 'bob' });
    for (const name of ['alice', 'bob']) keep(name, `${name}-next`);
  });

  it('is rolled offline by two administrators, not by one, and then serves at once', async () => {
    await expect(roll('alice', 'alice')).rejects.toMatchObject({ stderr: expect.stringContaining('FOUR_EYES_REQUIRED') });
    const { stdout } = await roll('alice', 'bob');
    expect(JSON.parse(stdout)).toMatchObject([
      { status: 'DONE', action: { type: 'establishIssuingCa', icaId: 'server-2' } },
      {
        status: 'DONE',
        action: { type: 'activateIssuingCa', icaId: 'server-2' },
        proposedBy: 'operator:alice',
        approvedBy: 'operator:bob',
      },
    ]);
    await expect.poll(() => overview().catch(error => error.code)).toMatchObject({ project: 'nusec' });
    expect((await overview()).issuingCas).toContainEqual(expect.objectContaining({ icaId: 'server-2', status: 'ACTIVE' }));
  });
});
