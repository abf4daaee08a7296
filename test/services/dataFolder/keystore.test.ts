import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readSettings, type Settings } from '../../../src/config.ts';
import { NusecError } from '../../../src/errors.ts';
import { initialiseProject } from '../../../src/services/administration/initialise.ts';
import { openContext } from '../../../src/services/dataFolder/open.ts';
import { label, makeToken, softHsm } from '../../keystore/softToken.ts';
import { temporaryFolder } from '../../keystore/temporary.ts';
import { covers } from '../../support/covers.ts';

const ports = { https: 0, crl: 0 };
const quiet = { NUSEC_LOG_LEVEL: 'silent' };
const ceremony = { organization: 'Example', administrators: ['alice', 'bob'] } as const;

async function withContext(settings: Settings, work: (opened: Awaited<ReturnType<typeof openContext>>) => Promise<void>): Promise<void> {
  const opened = await openContext(settings, ports, true);
  try {
    await work(opened);
  } finally {
    await opened.close();
  }
}

describe('the keystore of a server', () => {
  it('raises one alarm for a key that signs more often than its limit', async () => {
    covers('T17');
    const data = temporaryFolder();
    writeFileSync(join(data, 'nusec.json'), JSON.stringify({ signingLimits: { 'package/': 3 } }));
    await withContext(readSettings(data, quiet), async ({ ctx }) => {
      await initialiseProject(ctx, ceremony);
      for (let index = 0; index < 10; index += 1) await ctx.keystore.sign('package/1', new Uint8Array(1));
      await expect.poll(() => ctx.store.readStream('alarm-key-package/1')).toMatchObject([{ data: { code: 'SIGNING_RATE' } }]);
    });
  });

  it('holds the whole project in a SoftHSM token, and raises an alarm when it is taken away', async () => {
    covers('R1');
    const { folder, tokens, pinFile } = makeToken();
    const token = { NUSEC_KEYSTORE: 'pkcs11', NUSEC_PKCS11_MODULE: softHsm, NUSEC_PKCS11_TOKEN: label, NUSEC_PKCS11_PIN_FILE: pinFile };
    await withContext(readSettings(join(folder, 'data'), { ...quiet, ...token }), async ({ ctx }) => {
      await initialiseProject(ctx, ceremony);
      expect((await ctx.keystore.list()).map(key => key.id)).toEqual(
        expect.arrayContaining([
          'root/1',
          'ica/server-1',
          'ica/programmer-1',
          'kek/boot/1',
          'package/1',
          'grant/1',
          'order/1',
          'ota-job/1',
          'report/1',
        ]),
      );
      expect(await ctx.bootKeys.ensure('boot/a')).toHaveLength(91);
      rmSync(tokens, { recursive: true });
      await expect(ctx.bootKeys.sign('boot/a', new Uint8Array(32))).rejects.toMatchObject({ code: 'KEYSTORE_UNAVAILABLE' });
      await expect.poll(() => ctx.store.readStream('alarm-keystore')).toMatchObject([{ data: { code: 'KEYSTORE_LOST' } }]);
    });
  });

  it('asks for module, token and PIN file by name', async () => {
    const settings = readSettings(temporaryFolder(), { ...quiet, NUSEC_KEYSTORE: 'pkcs11' });
    await expect(openContext(settings, ports)).rejects.toThrow(NusecError);
    await expect(openContext(settings, ports)).rejects.toMatchObject({
      code: 'BAD_REQUEST',
      message: expect.stringContaining('pkcs11Module'),
    });
    expect(() => readSettings(temporaryFolder(), { NUSEC_KEYSTORE: 'paper' })).toThrow(/keystore/);
  });
});
