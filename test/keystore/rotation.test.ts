import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { createBootKeys, newestBootKek } from '../../src/keystore/bootKeys.ts';
import { type Custody, openCustody } from '../../src/keystore/custody.ts';
import type { Keystore } from '../../src/keystore/port.ts';
import { rekeyKeyset, rotateBootKek, rotateKeyFile } from '../../src/keystore/rotation.ts';
import { openSoftwareKeystore } from '../../src/keystore/software.ts';
import { verifies } from './contract.ts';
import { cheapCost, passphrase } from './secrets.ts';
import { makeToken, openToken } from './softToken.ts';
import { openKeystore, temporaryFolder } from './temporary.ts';

const message = utf8('bootloader');
let folder: string;
let custody: Custody;
beforeEach(() => {
  folder = temporaryFolder();
  custody = openCustody(join(folder, 'custody.db'));
});
afterEach(() => custody.close());

const drivers: readonly [string, () => Promise<Keystore>][] = [
  ['software', () => openKeystore(join(folder, 'keyset'))],
  ['PKCS#11', () => openToken(makeToken(folder))],
];

describe.each(drivers)('rotating the key-encryption key of boot keys, %s', (_, open) => {
  async function setUp(count: number) {
    const keystore = await open();
    await keystore.generate('kek/boot/1', 'AES-256');
    const bootKeys = createBootKeys(keystore, custody, () => newestBootKek(keystore));
    const ids = Array.from({ length: count }, (_, index) => `boot/${index}`);
    const publicKeys = await Promise.all(ids.map(id => bootKeys.ensure(id)));
    const expectAllSign = async (): Promise<void> => {
      for (const [index, id] of ids.entries())
        expect(verifies('sha256', publicKeys[index] as Uint8Array, await bootKeys.sign(id, sha256(message)), message)).toBe(true);
    };
    return { keystore, bootKeys, expectAllSign };
  }

  it('wraps every boot key anew, erases the old wrapping and destroys the old key', async () => {
    const { keystore, bootKeys, expectAllSign } = await setUp(30);
    await bootKeys.destroy('boot/7').then(() => bootKeys.ensure('boot/x'));
    const old = Buffer.from((await custody.get('boot/3'))?.wrapped as Uint8Array);
    expect(await rotateBootKek(keystore, custody)).toEqual({ kekId: 'kek/boot/2', rewrapped: 30, retired: ['kek/boot/1'] });
    expect([...(await custody.wrappedBy())]).toEqual([['kek/boot/2', 30]]);
    expect((await keystore.list()).map(key => key.id)).toEqual(['kek/boot/2']);
    for (const name of readdirSync(folder).filter(file => file.startsWith('custody')))
      expect(readFileSync(join(folder, name)).includes(old), name).toBe(false);
    await expect(bootKeys.sign('boot/7', sha256(message))).rejects.toMatchObject({ code: 'KEY_REFUSED' });
    await bootKeys.ensure('boot/new');
    expect((await custody.get('boot/new'))?.kekId).toBe('kek/boot/2');
    await expect(expectAllSign()).rejects.toMatchObject({ code: 'KEY_REFUSED' });
  });

  it('goes on where it was cut off', async () => {
    const { keystore, expectAllSign } = await setUp(12);
    let left = 5;
    const failing: Keystore = {
      ...keystore,
      rewrap: (...args) => (left-- > 0 ? keystore.rewrap(...args) : Promise.reject(new Error('cut off'))),
    };
    await expect(rotateBootKek(failing, custody)).rejects.toThrow('cut off');
    await expectAllSign();
    expect((await keystore.list()).map(key => key.id).toSorted()).toEqual(['kek/boot/1', 'kek/boot/2']);
    const rest = await rotateBootKek(keystore, custody);
    expect(rest).toMatchObject({ kekId: 'kek/boot/2', retired: ['kek/boot/1'] });
    expect([...(await custody.wrappedBy())]).toEqual([['kek/boot/2', 12]]);
    await expectAllSign();
  });

  it('names a boot key that does not open, and keeps the old key', async () => {
    const { keystore } = await setUp(3);
    const { wrapped: _, ...row } = (await custody.get('boot/0'))!;
    await custody.takeOver([{ ...row, keyId: 'boot/forged', wrapped: new Uint8Array(80) }]);
    await expect(rotateBootKek(keystore, custody)).rejects.toMatchObject({
      code: 'KEY_REFUSED',
      message: expect.stringContaining('boot/forged'),
    });
    expect((await keystore.list()).map(key => key.id)).toContain('kek/boot/1');
  });
});

describe('rotating what opens the software keyset', () => {
  const file = () => join(folder, 'keyset');
  const keyFile = () => join(folder, 'keystore.key');

  async function makeKeyset(unlock: { passphrase: string } | { keyFile: string }): Promise<string> {
    const keystore = await openKeystore(file(), { unlock });
    await Promise.all([keystore.generate('root/1', 'P-384'), keystore.generate('kek/boot/1', 'AES-256')]);
    const list = await describeKeys(keystore);
    await keystore.close();
    return list;
  }
  const describeKeys = async (keystore: Keystore): Promise<string> =>
    JSON.stringify([
      (await keystore.list()).map(key => key.id),
      toHex(await keystore.publicKey('root/1')),
      toHex(await keystore.mac('kek/boot/1', message)),
    ]);
  const reopen = async (unlock: Parameters<typeof openSoftwareKeystore>[0]['unlock']): Promise<string> => {
    const keystore = await openSoftwareKeystore({ file: file(), unlock });
    try {
      return await describeKeys(keystore);
    } finally {
      await keystore.close();
    }
  };

  it('changes the passphrase: the old one opens nothing, all keys are there', async () => {
    const before = await makeKeyset({ passphrase });
    const newUnlock = { passphrase: 'quite another passphrase' };
    expect(await rekeyKeyset({ file: file(), unlock: { passphrase }, newUnlock, argon2Cost: cheapCost })).toBe(2);
    expect(await reopen(newUnlock)).toBe(before);
    await expect(reopen({ passphrase })).rejects.toMatchObject({ code: 'KEYSTORE_WRONG_PASSPHRASE' });
  });

  it('changes a key file to a new one, and goes on after being cut off at any step', async () => {
    const before = await makeKeyset({ keyFile: keyFile() });
    const [oldKeyset, oldKey] = [readFileSync(file()), readFileSync(keyFile())];
    expect(await rotateKeyFile({ file: file(), keyFile: keyFile() })).toBe(2);
    expect(await reopen({ keyFile: keyFile() })).toBe(before);
    expect(readFileSync(keyFile())).not.toEqual(oldKey);
    expect(existsSync(`${keyFile()}.next`)).toBe(false);

    // Cut off after the keyset was replaced: the next rotation only puts the key file in its place.
    renameSync(keyFile(), `${keyFile()}.next`);
    writeFileSync(keyFile(), oldKey, { mode: 0o600 });
    expect(await rotateKeyFile({ file: file(), keyFile: keyFile() })).toBe(2);
    expect(await reopen({ keyFile: keyFile() })).toBe(before);

    // Cut off before it: the new key file is there and opens nothing yet.
    writeFileSync(file(), oldKeyset);
    writeFileSync(keyFile(), oldKey);
    writeFileSync(`${keyFile()}.next`, Buffer.alloc(32, 9), { mode: 0o600 });
    expect(await rotateKeyFile({ file: file(), keyFile: keyFile() })).toBe(2);
    expect(await reopen({ keyFile: keyFile() })).toBe(before);
  });

  it('refuses while the keystore is open, with a wrong or a short passphrase, and changes nothing', async () => {
    const before = await makeKeyset({ passphrase });
    const options = { file: file(), unlock: { passphrase }, newUnlock: { passphrase: 'quite another passphrase' }, argon2Cost: cheapCost };
    await expect(rekeyKeyset({ ...options, unlock: { passphrase: 'not the passphrase' } })).rejects.toMatchObject({
      code: 'KEYSTORE_WRONG_PASSPHRASE',
    });
    await expect(rekeyKeyset({ ...options, newUnlock: { passphrase: 'short' } })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    chmodSync(file(), 0o644);
    await expect(rekeyKeyset(options)).rejects.toMatchObject({ code: 'KEYSTORE_PERMISSIONS' });
    chmodSync(file(), 0o600);
    const open = await openSoftwareKeystore({ file: file(), unlock: { passphrase } });
    await expect(rekeyKeyset(options)).rejects.toMatchObject({ code: 'KEYSTORE_LOCKED' });
    await open.close();
    expect(await reopen({ passphrase })).toBe(before);
    rmSync(file());
    await expect(rekeyKeyset(options)).rejects.toMatchObject({ code: 'KEYSTORE_MISSING' });
  });
});
