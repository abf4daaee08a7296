import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSettings, type Settings } from '../../src/config.ts';
import { type RunningServer, startServer } from '../../src/main.ts';
import { toPem } from '../../src/pki/pem.ts';
import { rootDer } from '../../src/services/authority.ts';
import { initialiseProject } from '../../src/services/ceremony.ts';
import type { Context } from '../../src/services/context.ts';
import { openContext } from '../../src/services/open.ts';

/** A real server on loopback with free ports and a data folder of its own. */
export type TestServer = RunningServer & {
  readonly url: string;
  readonly rootPem: string;
  /** Tokens of the two administrators. */
  readonly alice: string;
  readonly bob: string;
  readonly dataDir: string;
};

/** @param seed runs on the initialised project before the server starts */
export async function startTestServer(seed: (ctx: Context) => Promise<void> = async () => {}): Promise<TestServer> {
  const dataDir = mkdtempSync(join(tmpdir(), 'nusec-server-'));
  const settings = testSettings(dataDir);
  const opened = await openContext(settings, { https: 0, crl: 0 }, true);
  const { tokens } = await initialiseProject(opened.ctx, { organization: 'Example OEM', administrators: ['alice', 'bob'] });
  const rootPem = toPem('CERTIFICATE', await rootDer(opened.ctx));
  await seed(opened.ctx);
  await opened.close();
  const server = await startServer(settings);
  const [alice, bob] = tokens.map(({ token }) => token);
  return {
    ...server,
    url: `https://localhost:${server.httpsPort}`,
    rootPem,
    alice: alice ?? '',
    bob: bob ?? '',
    dataDir,
    async close() {
      await server.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

export function testSettings(dataDir: string): Settings {
  return readSettings(dataDir, { NUSEC_HTTPS_PORT: '0', NUSEC_MQTT_PORT: '0', NUSEC_CRL_PORT: '0', NUSEC_LOG_LEVEL: 'silent' });
}
