import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { label, makeToken, pin, softHsm } from '../keystore/softToken.ts';
import { temporaryFolder } from '../keystore/temporary.ts';
import { startCommand } from '../support/command.ts';

/** `nusec keystore` on the server's own machine, against a data folder that `nusec init` made. */

const nusec = async (args: readonly string[], env: NodeJS.ProcessEnv = {}) => {
  const { status, out, err } = await startCommand(args, { NUSEC_LOG_LEVEL: 'silent', ...env }).ended();
  return { status, text: out + err };
};

async function json(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Record<string, unknown>> {
  const { status, text } = await nusec([...args, '--json'], env);
  expect(status, text).toBe(0);
  return JSON.parse(text);
}

async function initialised(env: NodeJS.ProcessEnv = {}): Promise<{ data: string; folder: string }> {
  const folder = temporaryFolder();
  const data = join(folder, 'data');
  await json(['init', '--data', data], env);
  return { data, folder };
}

describe('nusec keystore', () => {
  it('says what there is, rotates, backs up in shares, drills and restores', async () => {
    const { data, folder } = await initialised();
    const at = ['--data', data];
    expect(await json(['keystore', 'status', ...at])).toMatchObject({ driver: 'software', bootKek: 'kek/boot/1', bootKeys: 0 });
    const before = readFileSync(join(data, 'keystore.key'));
    expect(await json(['keystore', 'rotate', ...at])).toMatchObject({ kekId: 'kek/boot/2', retired: ['kek/boot/1'], rewrapped: 0 });
    expect(readFileSync(join(data, 'keystore.key'))).not.toEqual(before);
    // Cut off before the new key file had its name.
    renameSync(join(data, 'keystore.key'), join(data, 'keystore.key.next'));
    writeFileSync(join(data, 'keystore.key'), before, { mode: 0o600 });
    expect(await json(['keystore', 'rotate', ...at])).toMatchObject({ kekId: 'kek/boot/3' });
    const status = await json(['keystore', 'status', ...at]);
    expect(status).toMatchObject({ bootKek: 'kek/boot/3' });

    const [file, shares] = [join(folder, 'backup.nkb'), join(folder, 'shares')];
    const backup = await json(['keystore', 'backup', ...at, '--file', file, '--shares-dir', shares]);
    expect(backup).toMatchObject({ recorded: true, keys: (status.keys as unknown[]).length });
    const names = readdirSync(shares).toSorted();
    expect(names).toHaveLength(5);
    for (const name of names) expect(statSync(join(shares, name)).mode & 0o777).toBe(0o600);
    const three = [4, 1, 2].map(index => join(shares, names[index] as string));
    expect(await json(['keystore', 'restore', '--drill', '--file', file, '--share', ...three])).toMatchObject({ keys: backup.keys });
    const two = await nusec(['keystore', 'restore', '--drill', '--file', file, '--share', ...three.slice(1)]);
    expect(two).toMatchObject({ status: 2, text: expect.stringContaining('2 shares given, 3 are needed') });

    expect((await nusec(['keystore', 'restore', ...at, '--file', file, '--share', ...three])).text).toContain('KEY_EXISTS');
    for (const name of ['keyset.bin', 'keystore.key', 'custody.db']) renameSync(join(data, name), join(folder, name));
    await json(['keystore', 'restore', ...at, '--file', file, '--share', ...three]);
    expect(await json(['keystore', 'status', ...at])).toEqual(status);
    expect(readFileSync(join(data, 'keystore.key'))).not.toEqual(readFileSync(join(folder, 'keystore.key')));
  });

  it('changes the passphrase of a keyset, and only there', async () => {
    const folder = temporaryFolder();
    const [first, second] = ['the first passphrase', 'the second passphrase'].map((passphrase, index) => {
      const file = join(folder, `passphrase${index}`);
      writeFileSync(file, passphrase, { mode: 0o600 });
      return file;
    }) as [string, string];
    const { data } = await initialised({ NUSEC_PASSPHRASE_FILE: first });
    const rotate = ['keystore', 'rotate', '--data', data, '--new-passphrase-file', second];
    expect(await json(rotate, { NUSEC_PASSPHRASE_FILE: first })).toMatchObject({ kekId: 'kek/boot/2' });
    const status = ['keystore', 'status', '--data', data];
    expect((await nusec(status, { NUSEC_PASSPHRASE_FILE: first })).text).toContain('KEYSTORE_WRONG_PASSPHRASE');
    expect(await json(status, { NUSEC_PASSPHRASE_FILE: second })).toMatchObject({ bootKek: 'kek/boot/2' });
    expect((await nusec(rotate)).text).toContain('BAD_REQUEST');
  });

  it('moves into a SoftHSM token, on which the server then starts; one owner at a time', async () => {
    const { folder, pinFile } = makeToken();
    const token = { NUSEC_PKCS11_MODULE: softHsm, NUSEC_PKCS11_TOKEN: label, NUSEC_PKCS11_PIN_FILE: pinFile };
    const { data } = await initialised();
    const software = await json(['keystore', 'status', '--data', data]);
    expect((await nusec(['keystore', 'migrate', '--data', data])).text).toContain('pkcs11Module');
    expect(await json(['keystore', 'migrate', '--data', data], token)).toMatchObject({ newKeks: ['kek/boot/1'] });
    const env = { ...token, NUSEC_KEYSTORE: 'pkcs11' };
    rmSync(join(data, 'keyset.bin'));
    expect(await json(['keystore', 'status', '--data', data], env)).toMatchObject({ ...software, driver: 'pkcs11' });
    expect(await json(['keystore', 'rotate', '--data', data], env)).toMatchObject({ kekId: 'kek/boot/2' });
    expect((await nusec(['keystore', 'backup', '--data', data, '--file', join(folder, 'b'), '--shares-dir', folder], env)).text).toContain(
      'KEY_REFUSED',
    );

    const server = startCommand(['server', '--data', data, '--https-port', '0', '--mqtt-port', '0', '--crl-port', '0', '--json'], env);
    expect(await server.ready).toMatchObject({ ready: true });
    expect((await nusec(['keystore', 'rotate', '--data', data], env)).text).toContain('KEYSTORE_LOCKED');
    expect(await json(['keystore', 'status', '--data', data], env)).toMatchObject({ bootKek: 'kek/boot/2' });
    server.kill('SIGTERM');
    expect((await server.ended()).status).toBe(0);

    writeFileSync(pinFile, `${pin}0`);
    expect((await nusec(['keystore', 'status', '--data', data], env)).text).toContain('KEYSTORE_WRONG_PASSPHRASE');
    chmodSync(pinFile, 0o640);
    expect((await nusec(['keystore', 'status', '--data', data], env)).text).toContain('KEYSTORE_PERMISSIONS');
    expect(existsSync(join(data, 'custody-pkcs11.db'))).toBe(true);
  });
});
