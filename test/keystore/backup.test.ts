import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { toHex, utf8 } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { type Backup, restoreBackup, writeBackup } from '../../src/keystore/backup.ts';
import { createBootKeys, newestBootKek } from '../../src/keystore/bootKeys.ts';
import { openCustody } from '../../src/keystore/custody.ts';
import { drillBackup, proveKeystore } from '../../src/keystore/drill.ts';
import { openSoftwareKeystore } from '../../src/keystore/software.ts';
import { covers } from '../support/covers.ts';
import { verifies } from './contract.ts';
import { forgeRows } from './forgedRows.ts';
import { cheapCost, passphrase } from './secrets.ts';
import { openKeystore, temporaryFolder } from './temporary.ts';

const message = utf8('bootloader');
const bootKeyCount = 1_100;
let folder: string;
let there: string;
const at = (name: string): string => join(folder, name);

beforeEach(() => {
  folder = temporaryFolder();
  there = temporaryFolder();
});

/** A keystore with pairs, an agreed key and boot keys of which one is destroyed, and its backup made while it is open. */
async function backUp(bootKeys = 20) {
  const keystore = await openKeystore(at('keyset'));
  await Promise.all([
    keystore.generate('root/1', 'P-384'),
    keystore.generate('ica/1', 'P-256'),
    keystore.generate('kek/boot/1', 'AES-256'),
  ]);
  await keystore.derive('ica/1', (await keystore.publicKey('ica/1')).subarray(-65), { salt: message, info: message }, 'agreed/1');
  const custody = openCustody(at('custody.db'));
  const boot = createBootKeys(keystore, custody, () => newestBootKek(keystore));
  const publicKeys = await Promise.all(Array.from({ length: bootKeys }, (_, index) => boot.ensure(`boot/${index}`)));
  await boot.destroy('boot/0');
  const backup = await writeBackup({
    keyset: at('keyset'),
    unlock: { passphrase },
    custody,
    file: at('backup'),
    threshold: 3,
    shares: 5,
  });
  const mac = toHex(await keystore.mac('agreed/1', message));
  const root = toHex(await keystore.publicKey('root/1'));
  await keystore.close();
  await custody.close();
  return { backup, publicKeys, mac, root };
}

/** As the caller of writeBackup has it; closed after the test. */
function opened() {
  const custody = openCustody(at('custody.db'));
  onTestFinished(custody.close);
  return custody;
}

const restoreTo = (backup: Backup, shareTexts: readonly string[], file = at('backup')) =>
  restoreBackup({
    file,
    shareTexts,
    keyset: join(there, 'keyset'),
    custody: join(there, 'custody.db'),
    newUnlock: { passphrase: 'the passphrase of the new machine' },
    argon2Cost: cheapCost,
  }).then(content => ({ ...content, backupIdHex: content.backupIdHex === backup.backupIdHex }));

describe('backup with Shamir shares (T17)', () => {
  it('brings every key back from three of five shares, on another machine with another passphrase', async () => {
    const { backup, publicKeys, mac, root } = await backUp(bootKeyCount);
    expect(backup).toMatchObject({ keys: 4, bootKeys: bootKeyCount });
    expect(backup.shareTexts).toHaveLength(5);
    expect(statSync(at('backup')).mode & 0o777).toBe(0o600);
    const shares = [4, 0, 2].map(index => backup.shareTexts[index] as string);
    expect(await restoreTo(backup, shares)).toMatchObject({ backupIdHex: true, keys: 4, bootKeys: bootKeyCount });

    const keystore = await openSoftwareKeystore({
      file: join(there, 'keyset'),
      unlock: { passphrase: 'the passphrase of the new machine' },
    });
    const custody = openCustody(join(there, 'custody.db'));
    try {
      expect([toHex(await keystore.mac('agreed/1', message)), toHex(await keystore.publicKey('root/1'))]).toEqual([mac, root]);
      const boot = createBootKeys(keystore, custody, () => newestBootKek(keystore));
      expect(verifies('sha256', publicKeys[700] as Uint8Array, await boot.sign('boot/700', sha256(message)), message)).toBe(true);
      await expect(boot.ensure('boot/0')).rejects.toMatchObject({ code: 'KEY_REFUSED' });
      expect(await proveKeystore(keystore, custody)).toEqual({ keys: 4, bootKeys: bootKeyCount - 1, destroyedBootKeys: 1 });
    } finally {
      await keystore.close();
      await custody.close();
    }
  });

  it('has no secret in the file and none in two shares', async () => {
    covers('T17');
    const { backup } = await backUp();
    const text = readFileSync(at('backup'), 'latin1');
    for (const word of ['root/1', 'boot/', 'secret', passphrase]) expect(text.includes(word), word).toBe(false);
    await expect(restoreTo(backup, backup.shareTexts.slice(0, 2))).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    const lowered = backup.shareTexts.slice(0, 2);
    await expect(restoreTo(backup, [...lowered, lowered[0] as string])).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    expect(readdirSync(there)).toEqual([]);
  });

  it('refuses shares of another backup, a mistyped one, and an existing keystore', async () => {
    const { backup } = await backUp();
    const other = await writeBackup({
      keyset: at('keyset'),
      unlock: { passphrase },
      custody: opened(),
      file: at('other'),
      threshold: 3,
      shares: 5,
    });
    const [a = '', b = '', c = ''] = backup.shareTexts;
    await expect(restoreTo(backup, [a, b, other.shareTexts[2] as string])).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(restoreTo(backup, [a, b, c.replace(/.$/, digit => (digit === '0' ? '1' : '0'))])).rejects.toMatchObject({
      code: 'BAD_REQUEST',
    });
    writeFileSync(join(there, 'keyset'), 'precious');
    await expect(restoreTo(backup, [a, b, c])).rejects.toMatchObject({ code: 'KEY_EXISTS' });
    expect(readFileSync(join(there, 'keyset'), 'utf8')).toBe('precious');
    await expect(
      writeBackup({ keyset: at('keyset'), unlock: { passphrase }, custody: opened(), file: at('backup'), threshold: 3, shares: 5 }),
    ).rejects.toMatchObject({ code: 'KEY_EXISTS' });
  });

  it('refuses every changed byte, every cut and anything added, and leaves no keystore', async () => {
    const { backup } = await backUp(2);
    const intact = readFileSync(at('backup'));
    const damaged = async (content: Buffer, what: string): Promise<void> => {
      writeFileSync(at('damaged'), content, { mode: 0o600 });
      await expect(restoreTo(backup, backup.shareTexts.slice(0, 3), at('damaged')), what).rejects.toMatchObject({
        code: expect.stringMatching(/^(KEYSTORE_DAMAGED|BAD_REQUEST)$/),
      });
      expect(existsSync(join(there, 'keyset')), what).toBe(false);
    };
    for (let index = 0; index < intact.length; index += index < 40 ? 1 : 37) {
      const changed = Buffer.from(intact);
      changed[index]! ^= 0x10;
      await damaged(changed, `byte ${index}`);
    }
    for (const length of [0, 3, 19, 20, 24, 200, intact.length - 1]) await damaged(intact.subarray(0, length), `cut to ${length}`);
    const firstFrame = 20 + 4 + intact.readUInt32BE(20);
    await damaged(intact.subarray(0, firstFrame), 'without its last frame');
    await damaged(Buffer.concat([intact.subarray(0, 20), intact.subarray(firstFrame)]), 'without its first frame');
    await damaged(Buffer.concat([intact, Buffer.alloc(1)]), 'with a byte added');
  });

  it('is drilled without touching anything: every key signs for its public key', async () => {
    const { backup } = await backUp();
    vi.stubEnv('TMPDIR', temporaryFolder());
    onTestFinished(() => void vi.unstubAllEnvs());
    const proof = await drillBackup(at('backup'), backup.shareTexts.slice(1, 4));
    expect(proof).toMatchObject({ keys: 4, bootKeys: 19, destroyedBootKeys: 1 });
    expect(readdirSync(tmpdir())).toEqual([]);
  });

  it('fails the drill when a boot key in the backup is not that of its public key', async () => {
    await backUp();
    const swap = `UPDATE custody_key SET public_key = (SELECT public_key FROM custody_key WHERE key_id = 'boot/1') WHERE key_id = 'boot/2'`;
    forgeRows(at('custody.db'), swap);
    const backup = await writeBackup({
      keyset: at('keyset'),
      unlock: { passphrase },
      custody: opened(),
      file: at('bad'),
      threshold: 2,
      shares: 2,
    });
    await expect(drillBackup(at('bad'), backup.shareTexts)).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED' });
  });
});
