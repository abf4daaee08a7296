import { chmodSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, describe, expect, it } from 'vitest';
import { type Custody, openCustody } from '../../src/keystore/custody.ts';
import { covers } from '../support/covers.ts';
import { temporaryFolder } from './temporary.ts';

const at = '2026-01-02T03:04:05.000Z';
const custodies: Custody[] = [];
afterEach(() => Promise.all(custodies.splice(0).map(custody => custody.close())));

function open(file: string): Custody {
  const custody = openCustody(file);
  custodies.push(custody);
  return custody;
}

const key = (keyId: string, fill = 1) => ({
  keyId,
  kekId: 'kek/1',
  publicKey: new Uint8Array(91).fill(fill),
  wrapped: new Uint8Array(152).fill(fill),
  createdAt: at,
});

describe('custody of wrapped boot keys (R89)', () => {
  it('keeps what was put, over a restart', async () => {
    covers('R89');
    const file = join(temporaryFolder(), 'custody.db');
    const first = open(file);
    expect(await first.put(key('boot/a'))).toEqual(key('boot/a'));
    await first.close();
    const second = open(file);
    expect(await second.get('boot/a')).toEqual(key('boot/a'));
    expect(await second.get('boot/b')).toBeUndefined();
  });

  it('gives the first key to every later put of its id, in one process and over two (I5)', async () => {
    covers('I5');
    const file = join(temporaryFolder(), 'custody.db');
    const [here, there] = [open(file), open(file)];
    const stored = await Promise.all([here.put(key('boot/a', 1)), here.put(key('boot/a', 2)), there.put(key('boot/a', 3))]);
    for (const each of stored) expect(each).toEqual(stored[0]);
    expect(await here.count()).toBe(1);
    expect(await there.get('boot/a')).toEqual(stored[0]);
  });

  it('erases a destroyed key from every file and keeps its public half and its place (I5, R89)', async () => {
    covers('I5', 'R89');
    const folder = temporaryFolder();
    const custody = open(join(folder, 'custody.db'));
    const secret = Buffer.from('wrapped key that must go away '.repeat(5));
    const inFiles = () => readdirSync(folder).some(name => readFileSync(join(folder, name)).includes(secret.subarray(0, 60)));
    await Promise.all(Array.from({ length: 30 }, (_, index) => custody.put({ ...key(`boot/${index}`), wrapped: secret })));
    expect(inFiles()).toBe(true);

    await Promise.all(Array.from({ length: 30 }, (_, index) => custody.destroy(`boot/${index}`, at)));
    expect(inFiles()).toBe(false);
    const { wrapped, ...publicPart } = key('boot/0');
    expect(await custody.get('boot/0')).toEqual({ ...publicPart, destroyedAt: at });
    expect(await custody.put(key('boot/0', 9))).toEqual({ ...publicPart, destroyedAt: at });
    await custody.destroy('boot/0', '2027-01-01T00:00:00.000Z');
    expect((await custody.get('boot/0'))?.destroyedAt).toBe(at);
    expect(wrapped).toHaveLength(152);
    await expect(custody.destroy('boot/none', at)).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
  });

  it('gives no key that was destroyed or re-wrapped since it was read, here or by another process (R89)', async () => {
    covers('R89');
    const file = join(temporaryFolder(), 'custody.db');
    const [here, there] = [open(file), open(file)];
    for (const id of ['a', 'b', 'c', 'd']) await here.put(key(id));
    for (const id of ['a', 'b', 'c', 'd'])
      for (const custody of [here, there]) expect((await custody.get(id))?.wrapped).toEqual(key(id).wrapped);
    await there.destroy('a', at);
    expect((await here.get('a'))?.wrapped).toBeUndefined();
    await here.destroy('b', at);
    expect((await here.get('b'))?.wrapped).toBeUndefined();
    const wrapped = new Uint8Array(152).fill(7);
    await there.replaceWrapping({ keyId: 'c', kekId: 'kek/2', wrapped }, 'kek/1');
    expect(await here.get('c')).toEqual({ ...key('c'), kekId: 'kek/2', wrapped });
    await here.replaceWrapping({ keyId: 'd', kekId: 'kek/2', wrapped }, 'kek/1');
    expect(await here.get('d')).toEqual({ ...key('d'), kekId: 'kek/2', wrapped });
  });

  it('lists in pages and counts', async () => {
    const custody = open(join(temporaryFolder(), 'custody.db'));
    await Promise.all(['c', 'a', 'b'].map(id => custody.put(key(id))));
    expect((await custody.list('', 2)).map(each => each.keyId)).toEqual(['a', 'b']);
    expect((await custody.list('b', 2)).map(each => each.keyId)).toEqual(['c']);
    expect(await custody.count()).toBe(3);
  });

  it('is for its owner only, and refuses what is no custody database (T16)', async () => {
    covers('T16');
    const folder = temporaryFolder();
    const file = join(folder, 'custody.db');
    const custody = open(file);
    await custody.put(key('a'));
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o777, name).toBe(0o600);
    await custody.close();
    chmodSync(file, 0o640);
    expect(() => openCustody(file)).toThrow(expect.objectContaining({ code: 'KEYSTORE_PERMISSIONS' }));

    const other = join(folder, 'other.db');
    writeFileSync(other, 'not a database '.repeat(100), { mode: 0o600 });
    expect(() => openCustody(other)).toThrow(expect.objectContaining({ code: 'KEYSTORE_DAMAGED' }));
  });
});

describe('a custody database that a disk has changed', () => {
  const change = (file: string, sql: string): void => {
    const database = new Database(file);
    database.exec(sql);
    database.close();
  };
  const filled = async () => {
    const file = join(temporaryFolder(), 'custody.db');
    const custody = open(file);
    for (const id of ['boot/a', 'boot/b', 'boot/c']) await custody.put(key(id));
    return { file, custody };
  };
  const damaged = (what: string) => ({
    code: 'STORE_DAMAGED',
    message: expect.stringMatching(`${what}.*put the boot keys back from a backup`),
  });

  it.each([
    ["public_key = CAST(x'00' || substr(public_key, 2) AS BLOB)"],
    ["wrapped = CAST(x'00' || substr(wrapped, 2) AS BLOB)"],
    ['wrapped = NULL'],
    ["kek_id = 'kek/0'"],
    ["created_at = '1'"],
    ["destroyed_at = '1'"],
    ['crc = NULL'],
  ])('serves nothing of a key whose row has another value (%s), and the others as before (I5)', async what => {
    covers('I5');
    const { file, custody } = await filled();
    change(file, `UPDATE custody_key SET ${what} WHERE key_id = 'boot/b'`);
    const refusal = damaged('custody.db: the key boot/b is not what was stored');
    await expect(custody.get('boot/b')).rejects.toMatchObject(refusal);
    await expect(custody.list('', 10)).rejects.toMatchObject(refusal);
    const changes = await Promise.allSettled([
      custody.put(key('boot/b', 2)),
      custody.destroy('boot/b', at),
      custody.replaceWrapping({ keyId: 'boot/b', kekId: 'kek/2', wrapped: new Uint8Array(152) }, 'kek/1'),
      custody.put(key('boot/aa')),
    ]);
    expect(changes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected', 'rejected']);
    await custody.put(key('boot/0'));
    expect(await custody.get('boot/a')).toEqual(key('boot/a'));
  });

  it('never makes a second key for an id whose row has another id now (I5)', async () => {
    covers('I5');
    for (const other of ['boot/`', 'boot/d', 'aoot/b', 'zoot/b']) {
      const { file, custody } = await filled();
      await custody.close();
      const bytes = readFileSync(file);
      // Where the row is stays as it was.
      bytes.set(Buffer.from(other), bytes.lastIndexOf('boot/b'));
      writeFileSync(file, bytes);
      const again = open(file);
      await expect(again.put(key('boot/b', 2)), other).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
      expect(await again.count()).toBe(3);
    }
  });

  it('is named wherever a bit flips: each key is what was stored, or the damage is named', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'custody.db');
    const ids = Array.from({ length: 40 }, (_, n) => `boot/${String(n).padStart(4, '0')}`);
    const custody = open(file);
    await Promise.all(ids.map((id, n) => custody.put(key(id, n))));
    await custody.close();
    const bytes = readFileSync(file);
    const outcomes = { same: 0, damaged: 0 };
    for (let place = 37; place < bytes.length; place += 101) {
      const harmed = join(folder, 'harmed.db');
      const copy = Buffer.from(bytes);
      copy[place]! ^= 1 << (place % 8);
      writeFileSync(harmed, copy, { mode: 0o600 });
      let opened: Custody | undefined;
      try {
        opened = openCustody(harmed);
        for (const [n, id] of ids.entries()) expect(await opened.put(key(id, 255)), `${place}`).toEqual(key(id, n));
        outcomes.same += 1;
      } catch (error) {
        expect(error, `byte ${place}`).toMatchObject({ code: expect.stringMatching(/^(STORE|KEYSTORE)_DAMAGED$/) });
        outcomes.damaged += 1;
      }
      await opened?.close();
      for (const suffix of ['', '-wal', '-shm']) rmSync(harmed + suffix, { force: true });
    }
    expect(outcomes.damaged).toBeGreaterThan(outcomes.same / 2);
  });

  it('of an earlier version gets its checksums when it is opened', async () => {
    const { file, custody } = await filled();
    await custody.close();
    change(file, 'ALTER TABLE custody_key DROP COLUMN crc');
    const again = open(file);
    expect(await again.get('boot/b')).toEqual(key('boot/b'));
    change(file, "UPDATE custody_key SET kek_id = 'kek/0' WHERE key_id = 'boot/b'");
    await expect(again.get('boot/b')).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  });
});
