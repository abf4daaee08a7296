import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
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
