import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { createBootKeys, newestBootKek } from '../../src/keystore/bootKeys.ts';
import { openCustody } from '../../src/keystore/custody.ts';
import { proveKeystore } from '../../src/keystore/drill.ts';
import { migrateToToken } from '../../src/keystore/migrate.ts';
import { verifies } from './contract.ts';
import { passphrase } from './secrets.ts';
import { label, makeToken, openToken, softHsm } from './softToken.ts';
import { openKeystore } from './temporary.ts';

const message = utf8('bootloader');

async function setUp() {
  const token = makeToken();
  const at = (name: string): string => join(token.folder, name);
  const keystore = await openKeystore(at('keyset'));
  await Promise.all([
    keystore.generate('root/1', 'P-384'),
    keystore.generate('ica/1', 'P-256'),
    keystore.generate('kek/boot/1', 'AES-256'),
  ]);
  await keystore.derive('ica/1', (await keystore.publicKey('ica/1')).subarray(-65), { salt: message, info: message }, 'programmer-kek/1');
  const custody = openCustody(at('custody.db'));
  const boot = createBootKeys(keystore, custody, () => newestBootKek(keystore));
  const publicKeys = await Promise.all(Array.from({ length: 30 }, (_, index) => boot.ensure(`boot/${index}`)));
  await boot.destroy('boot/0');
  await custody.close();
  const migrate = () =>
    migrateToToken({
      keyset: at('keyset'),
      unlock: { passphrase },
      custody: at('custody.db'),
      token: { module: softHsm, label, pinFile: token.pinFile, lock: at('token') },
      tokenCustody: at('custody-pkcs11.db'),
    });
  return { token, at, keystore, publicKeys, migrate };
}

describe('moving from the software keystore into a token', () => {
  it('brings pairs, agreed keys and boot keys along; key-encryption keys are born in the token', async () => {
    const { token, at, keystore, publicKeys, migrate } = await setUp();
    await expect(migrate()).rejects.toMatchObject({ code: 'KEYSTORE_LOCKED' });
    const [mac, before] = [toHex(await keystore.mac('programmer-kek/1', message)), await keystore.list()];
    await keystore.close();
    expect(await migrate()).toEqual({ keys: 3, newKeks: ['kek/boot/1'], bootKeys: 30 });

    const moved = await openToken(token);
    expect(new Map((await moved.list()).map(key => [key.id, key.publicKey]))).toEqual(new Map(before.map(key => [key.id, key.publicKey])));
    expect(toHex(await moved.mac('programmer-kek/1', message))).toBe(mac);
    const custody = openCustody(at('custody-pkcs11.db'));
    const boot = createBootKeys(moved, custody, () => newestBootKek(moved));
    expect(verifies('sha256', publicKeys[5] as Uint8Array, await boot.sign('boot/5', sha256(message)), message)).toBe(true);
    expect(await proveKeystore(moved, custody)).toEqual({ keys: 4, bootKeys: 29, destroyedBootKeys: 1 });
    await expect(moved.generateWrapped('programmer-kek/1', 'boot/x')).rejects.toMatchObject({ code: 'KEY_REFUSED' });
    await custody.close();
    await expect(migrate()).rejects.toMatchObject({ code: 'KEY_EXISTS' });
  });

  it('is run again after it was cut off, and refuses a token with another key of an id', async () => {
    const { token, at, keystore, migrate } = await setUp();
    await keystore.close();
    await migrate();
    const { rmSync } = await import('node:fs');
    rmSync(at('custody-pkcs11.db'));
    expect(await migrate()).toMatchObject({ bootKeys: 30 });
    rmSync(at('custody-pkcs11.db'));
    const opened = await openToken(token);
    await opened.destroy('ica/1');
    await opened.generate('ica/1', 'P-256');
    await opened.close();
    await expect(migrate()).rejects.toMatchObject({ code: 'KEY_EXISTS' });
    expect(existsSync(at('custody-pkcs11.db'))).toBe(false);
  });
});
