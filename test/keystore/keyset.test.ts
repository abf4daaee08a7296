import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { openSoftwareKeystore } from '../../src/keystore/software.ts';
import { readPassphrase } from '../../src/keystore/unlock.ts';
import { covers } from '../support/covers.ts';
import { cheapCost, passphrase } from './secrets.ts';
import { openKeystore, temporaryFolder } from './temporary.ts';

let folder: string;
let file: string;
let keyFile: string;

beforeEach(() => {
  folder = temporaryFolder();
  file = join(folder, 'keyset');
  keyFile = join(folder, 'keystore.key');
});

async function makeKeyset(options: Parameters<typeof openKeystore>[1] = {}): Promise<Buffer> {
  const keystore = await openKeystore(file, options);
  await Promise.all([keystore.generate('root/1', 'P-384'), keystore.generate('kek/1', 'AES-256')]);
  await keystore.close();
  return readFileSync(file);
}

/** Every opening that must fail also proves that the failed ones let go of the file. */
const opening = (unlock: Parameters<typeof openSoftwareKeystore>[0]['unlock'] = { passphrase }) => openSoftwareKeystore({ file, unlock });

describe('the keyset file at rest (T16)', () => {
  it.each(['passphrase', 'key file'])('refuses every changed byte under a %s, and loads nothing of it', async kind => {
    const unlock = kind === 'passphrase' ? { passphrase } : { keyFile };
    const intact = await makeKeyset({ unlock });
    for (let at = 0; at < intact.length; at += 1) {
      const changed = Buffer.from(intact);
      changed[at]! ^= 1 << (at % 8);
      writeFileSync(file, changed);
      await expect(opening(unlock), `byte ${at}`).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED' });
    }
    writeFileSync(file, intact);
    await (await opening(unlock)).close();
  });

  it('refuses a file cut at any length, or with bytes added', async () => {
    const intact = await makeKeyset();
    for (let length = 0; length < intact.length; length += 1) {
      writeFileSync(file, intact.subarray(0, length));
      await expect(opening(), `${length} bytes`).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED' });
    }
    writeFileSync(file, Buffer.concat([intact, Buffer.alloc(1)]));
    await expect(opening()).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED' });
  });

  it('refuses the body of another keyset under the same passphrase', async () => {
    const one = await makeKeyset();
    file = join(folder, 'other');
    const other = await makeKeyset();
    writeFileSync(file, Buffer.concat([other.subarray(0, 125), one.subarray(125)]));
    await expect(opening()).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED' });
  });

  it('tells a wrong passphrase, another key file and the other kind of secret from damage', async () => {
    await makeKeyset();
    const wrong = { code: 'KEYSTORE_WRONG_PASSPHRASE' };
    await expect(opening({ passphrase: `${passphrase} ` })).rejects.toMatchObject(wrong);
    writeFileSync(keyFile, Buffer.alloc(32, 5), { mode: 0o600 });
    await expect(opening({ keyFile })).rejects.toMatchObject(wrong);

    file = join(folder, 'by-key-file');
    await makeKeyset({ unlock: { keyFile } });
    await expect(opening()).rejects.toMatchObject(wrong);
    writeFileSync(keyFile, Buffer.alloc(32, 6));
    await expect(opening({ keyFile })).rejects.toMatchObject(wrong);
  });

  it('refuses a forged head that asks for all memory of the machine', async () => {
    const forged = Buffer.from(await makeKeyset());
    forged.writeUInt32BE(0xffff_ffff, 5);
    createHash('sha256').update(forged.subarray(0, 93)).digest().copy(forged, 93);
    writeFileSync(file, forged);
    await expect(opening()).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED' });
  });

  it('makes new keysets with argon2id at 64 MiB and three passes, and carries the cost in the file', async () => {
    const keystore = await openSoftwareKeystore({ file, unlock: { passphrase }, create: true });
    await keystore.close();
    const head = readFileSync(file);
    expect([head.toString('latin1', 0, 4), head[4], head.readUInt32BE(5), head.readUInt32BE(9), head.readUInt32BE(13)]).toEqual([
      'NKS1',
      1,
      65_536,
      3,
      1,
    ]);
    await (await opening()).close();
  });

  it('takes one passphrase typed in two Unicode forms as the same', async () => {
    await makeKeyset({ unlock: { passphrase: 'Schlüsselbund' } });
    await (await opening({ passphrase: 'Schlu\u0308sselbund' })).close();
  });
});

describe('who may read the files (T16)', () => {
  it('writes keyset and key file for their owner only', async () => {
    covers('T16');
    await makeKeyset({ unlock: { keyFile } });
    for (const each of [file, keyFile]) expect(statSync(each).mode & 0o777).toBe(0o600);
    expect(readFileSync(keyFile)).toHaveLength(32);
  });

  it.each([0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o610])('refuses a key file or keyset of mode %o', async mode => {
    covers('T16');
    await makeKeyset({ unlock: { keyFile } });
    for (const each of [keyFile, file]) {
      chmodSync(each, mode);
      await expect(opening({ keyFile })).rejects.toMatchObject({ code: 'KEYSTORE_PERMISSIONS' });
      chmodSync(each, 0o600);
    }
    await (await opening({ keyFile })).close();
  });

  it('judges the file behind a link, and refuses a folder and a key file of another length', async () => {
    await makeKeyset({ unlock: { keyFile } });
    const link = join(folder, 'link');
    symlinkSync(keyFile, link);
    await (await opening({ keyFile: link })).close();
    chmodSync(keyFile, 0o644);
    const refused = { code: 'KEYSTORE_PERMISSIONS' };
    await expect(opening({ keyFile: link })).rejects.toMatchObject(refused);
    mkdirSync(join(folder, 'folder'), { mode: 0o700 });
    await expect(opening({ keyFile: join(folder, 'folder') })).rejects.toMatchObject(refused);
    for (const length of [0, 31, 33]) {
      writeFileSync(join(folder, `${length}`), Buffer.alloc(length), { mode: 0o600 });
      await expect(opening({ keyFile: join(folder, `${length}`) })).rejects.toMatchObject(refused);
    }
  });

  it('reads a passphrase from a file of mode 600, without its line end', () => {
    const path = join(folder, 'passphrase');
    writeFileSync(path, `${passphrase} \n`, { mode: 0o600 });
    expect(readPassphrase(path)).toBe(`${passphrase} `);
    chmodSync(path, 0o644);
    expect(() => readPassphrase(path)).toThrow(expect.objectContaining({ code: 'KEYSTORE_PERMISSIONS' }));
    expect(() => readPassphrase(join(folder, 'none'))).toThrow(expect.objectContaining({ code: 'KEYSTORE_MISSING' }));
  });
});

describe('making and holding a keyset', () => {
  it('makes nothing unless told to: a missing file is no empty keystore', async () => {
    await expect(opening()).rejects.toMatchObject({ code: 'KEYSTORE_MISSING' });
    await makeKeyset({ unlock: { keyFile } });
    await expect(opening({ keyFile: join(folder, 'none') })).rejects.toMatchObject({ code: 'KEYSTORE_MISSING' });
    const withAnother = openSoftwareKeystore({ file, unlock: { keyFile: join(folder, 'none') }, create: true });
    await expect(withAnother).rejects.toMatchObject({ code: 'KEYSTORE_MISSING' });
  });

  it('refuses a short passphrase and a senseless cost for a new keyset', async () => {
    const refused = { code: 'BAD_REQUEST' };
    await expect(openSoftwareKeystore({ file, unlock: { passphrase: 'elevenchars' }, create: true })).rejects.toMatchObject(refused);
    for (const argon2Cost of [
      { ...cheapCost, lanes: 0 },
      { ...cheapCost, passes: 0.5 },
      { ...cheapCost, memoryKiB: 7 },
    ]) {
      await expect(openSoftwareKeystore({ file, unlock: { passphrase }, create: true, argon2Cost })).rejects.toMatchObject(refused);
    }
  });

  it('is not shared with somebody who must be alone with it', async () => {
    const keystore = await openKeystore(file);
    const alone = { file, unlock: { passphrase }, alone: true };
    await expect(openSoftwareKeystore(alone)).rejects.toMatchObject({ code: 'KEYSTORE_LOCKED' });
    await keystore.close();
    const lonely = await openSoftwareKeystore(alone);
    await expect(opening()).rejects.toMatchObject({ code: 'KEYSTORE_LOCKED' });
    await lonely.close();
    await (await opening()).close();
  });
});
