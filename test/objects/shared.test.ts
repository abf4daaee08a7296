import { verify } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { sha256 } from '../../src/digest.ts';
import { importKey } from '../../src/ecKey.ts';
import { openBlobStore } from '../../src/eventstore/blobs.ts';
import { bootKekId, createBootKeys, newestBootKek } from '../../src/keystore/bootKeys.ts';
import { objectCustody } from '../../src/keystore/objectCustody.ts';
import { rotateBootKek, rotateKeyFile } from '../../src/keystore/rotation.ts';
import { sharedKeyset } from '../../src/keystore/sharedKeyset.ts';
import { openSoftwareKeystore } from '../../src/keystore/software.ts';
import { standingKey } from '../../src/keystore/standingKey.ts';
import type { ObjectStore } from '../../src/objects/port.ts';
import { openS3 } from '../../src/objects/s3.ts';
import { sharedSubjects } from '../../src/services/dataFolder/sharedSubjects.ts';
import { openSubjects } from '../../src/services/dataFolder/subjectKeys.ts';
import { temporaryFolder } from '../eventstore/support.ts';
import { covers } from '../support/covers.ts';
import { startS3Double } from './s3Double.ts';

/** What servers on several machines share in an object store: keyset, boot keys, people, blobs. Two folders stand for two machines. */

type Machine = { readonly file: string; readonly keyFile: string; readonly objects: ObjectStore };

async function machines() {
  const double = await startS3Double();
  onTestFinished(double.close);
  const secret = Buffer.alloc(32, 7);
  const machine = async (create = false) => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'blobs'));
    const objects = await openS3({ url: double.url('p'), credentials: double.credentials });
    onTestFinished(objects.close);
    const [file, keyFile] = [join(folder, 'keyset.bin'), join(folder, 'keystore.key')];
    writeFileSync(keyFile, secret, { mode: 0o600 });
    const keystore = await openSoftwareKeystore({ file, unlock: { keyFile }, create, shared: sharedKeyset(objects, file, { keyFile }) });
    onTestFinished(keystore.close);
    return { folder, objects, keystore, file, keyFile };
  };
  const one = await machine(true);
  await one.keystore.generate(bootKekId(1), 'AES-256');
  return { double, one, two: await machine(), machine };
}

const message = new TextEncoder().encode('message');

describe('the keyset of several machines', () => {
  it('has on each what any of them makes or destroys, and loses no change of another (T17)', async () => {
    covers('T17');
    const { one, two, double } = await machines();
    await one.keystore.generate('a', 'P-256');
    expect(await two.keystore.publicKey('a')).toEqual(await one.keystore.publicKey('a'));
    await expect(two.keystore.generate('a', 'P-256')).rejects.toMatchObject({ code: 'KEY_EXISTS' });
    const ids = Array.from({ length: 6 }, (_, i) => `k/${i}`);
    await Promise.all(ids.map((id, i) => (i % 2 === 0 ? one : two).keystore.generate(id, 'AES-256')));
    const listed = async (machine: typeof one) => (await machine.keystore.list()).map(({ id }) => id).toSorted();
    expect(await listed(one)).toEqual(['a', ...ids, bootKekId(1)].toSorted());
    expect(await listed(two)).toEqual(await listed(one));
    await two.keystore.destroy('a');
    await expect
      .poll(() =>
        one.keystore.sign('a', message).then(
          () => 'signed',
          error => error.code,
        ),
      )
      .toBe('KEY_NOT_FOUND');
    // No earlier version has the key that was destroyed.
    expect(double.versions('p/keyset')).toHaveLength(1);
    expect(readFileSync(one.file)).toEqual(readFileSync(two.file));
  });

  it('gives a standing secret that is known here while the object store is away', async () => {
    const { one, two, double } = await machines();
    const made = await standingKey(one.keystore, 'webhooks', message);
    expect(made.isNew).toBe(true);
    expect(await standingKey(two.keystore, 'webhooks', message)).toEqual({ ...made, isNew: false });
    double.down();
    expect(await standingKey(two.keystore, 'webhooks', message)).toEqual({ ...made, isNew: false });
  });

  it('is asked of an object store that is slow by all who wait together, not by one after the other', async () => {
    const { one } = await machines();
    const answering = Promise.withResolvers<void>();
    let looks = 0;
    const slow: ObjectStore = {
      ...one.objects,
      look: async key => {
        looks += 1;
        await answering.promise;
        return one.objects.look(key);
      },
    };
    const unlock = { keyFile: one.keyFile };
    const keystore = await openSoftwareKeystore({ file: one.file, unlock, shared: sharedKeyset(slow, one.file, unlock) });
    onTestFinished(keystore.close);
    const listed = Promise.all(Array.from({ length: 5 }, () => keystore.list()));
    await expect.poll(() => looks).toBe(1);
    answering.resolve();
    const ids = (await listed).map(keys => keys.map(({ id }) => id));
    expect(ids).toEqual(Array.from({ length: 5 }, () => [bootKekId(1)]));
    expect(looks).toBe(2);
  });

  it('of another project is refused, and so is a folder whose keyset is not shared yet', async () => {
    const { one } = await machines();
    const folder = temporaryFolder();
    const [file, keyFile] = [join(folder, 'keyset.bin'), join(folder, 'keystore.key')];
    const alone = await openSoftwareKeystore({ file, unlock: { keyFile }, create: true });
    await alone.generate('a', 'AES-256').finally(alone.close);
    const open = (shared: ReturnType<typeof sharedKeyset>) => openSoftwareKeystore({ file, unlock: { keyFile }, shared });
    await expect(open(sharedKeyset(one.objects, file, { keyFile }))).rejects.toMatchObject({
      code: 'KEYSTORE_WRONG_PASSPHRASE',
      message: expect.stringMatching(/another project's/),
    });
    // The same secret opens both: they have no key in common.
    const [twin, itsKey] = [join(folder, 'twin.bin'), one.keyFile];
    const other = await openSoftwareKeystore({ file: twin, unlock: { keyFile: itsKey }, create: true });
    await other.generate('a', 'AES-256').finally(other.close);
    const shared = sharedKeyset(one.objects, twin, { keyFile: itsKey });
    await expect(openSoftwareKeystore({ file: twin, unlock: { keyFile: itsKey }, shared })).rejects.toMatchObject({
      code: 'KEYSTORE_DAMAGED',
    });
    const empty = await startS3Double();
    onTestFinished(empty.close);
    const objects = await openS3({ url: empty.url('q'), credentials: empty.credentials });
    onTestFinished(objects.close);
    await expect(open(sharedKeyset(objects, file, { keyFile }))).rejects.toMatchObject({ code: 'STATE' });
  });
});

describe('rotating what opens the keyset of several machines', () => {
  const rotate = ({ file, keyFile, objects }: Machine) =>
    rotateKeyFile({ file, keyFile, sharedBy: unlock => sharedKeyset(objects, file, unlock) });
  const reopen = async ({ file, keyFile, objects }: Machine) => {
    const keystore = await openSoftwareKeystore({ file, unlock: { keyFile }, shared: sharedKeyset(objects, file, { keyFile }) });
    return (await keystore.list().finally(keystore.close)).map(({ id }) => id);
  };
  const stopped = async () => {
    const all = await machines();
    await all.one.keystore.generate('a', 'P-256');
    await Promise.all([all.one, all.two].map(({ keystore }) => keystore.close()));
    return { ...all, oldKey: readFileSync(all.one.keyFile), oldKeyset: readFileSync(all.one.file) };
  };

  it('gives it a new key file: a machine that has the old one says what is missing, and goes on when a person has brought the new one', async () => {
    const { one, two, double, oldKey } = await stopped();
    expect(await rotate(one)).toBe(2);
    expect(readFileSync(one.keyFile)).not.toEqual(oldKey);
    expect(double.versions('p/keyset')).toHaveLength(1);
    await expect(reopen(two)).rejects.toMatchObject({
      code: 'KEYSTORE_WRONG_PASSPHRASE',
      message: expect.stringMatching(/rotated on another/),
    });
    copyFileSync(one.keyFile, two.keyFile);
    expect(await reopen(two)).toEqual(await reopen(one));
    expect(await reopen(two)).toContain('a');
  });

  it('goes on where it was cut off: with the new content in the store alone, or here too', async () => {
    const { one, two, oldKey, oldKeyset } = await stopped();
    await rotate(one);
    renameSync(one.keyFile, `${one.keyFile}.next`);
    writeFileSync(one.keyFile, oldKey, { mode: 0o600 });
    writeFileSync(one.file, oldKeyset);
    expect(await rotate(one)).toBe(2);
    expect(await reopen(one)).toContain('a');
    copyFileSync(one.keyFile, two.keyFile);
    expect(await reopen(two)).toContain('a');
  });

  it('loses no key that another machine has made meanwhile: then it is run again', async () => {
    const { one, two } = await stopped();
    const shared = sharedKeyset(one.objects, one.file, one);
    const late = async () => {
      const { file, keyFile, objects } = two;
      const keystore = await openSoftwareKeystore({ file, unlock: { keyFile }, shared: sharedKeyset(objects, file, { keyFile }) });
      await keystore.generate('late', 'AES-256').finally(keystore.close);
    };
    const push = (content: Uint8Array) => late().then(() => shared.push(content));
    const { file, keyFile } = one;
    await expect(rotateKeyFile({ file, keyFile, sharedBy: () => ({ ...shared, push }) })).rejects.toMatchObject({ code: 'STATE' });
    expect(await reopen(one)).toContain('late');
    await rotate(one);
    expect(await reopen(one)).toContain('late');
  });
});

describe('boot keys of several machines', () => {
  it('are made once, sign on each machine, and leave nothing but a tombstone when destroyed (R89, I5)', async () => {
    covers('R89', 'I5');
    const { one, two, double } = await machines();
    const boots = [one, two].map(({ keystore, objects }) =>
      createBootKeys(keystore, objectCustody(objects, 'software'), () => newestBootKek(keystore)),
    );
    const [here, there] = boots as [(typeof boots)[0], (typeof boots)[0]];
    const [a, b] = await Promise.all(boots.map(boot => boot.ensure('boot/x')));
    expect(a).toEqual(b);
    const signs = async (boot: typeof here) =>
      verify('sha256', message, importKey(a as Uint8Array), await boot.sign('boot/x', sha256(message)));
    expect(await signs(here)).toBe(true);
    const custody = objectCustody(one.objects, 'software');
    expect([...(await custody.wrappedBy())]).toEqual([[bootKekId(1), 1]]);
    expect(await rotateBootKek(one.keystore, custody)).toMatchObject({ kekId: bootKekId(2), rewrapped: 1, retired: [bootKekId(1)] });
    expect(await signs(there)).toBe(true);
    await there.destroy('boot/x');
    await there.destroy('boot/x');
    await expect(signs(here)).rejects.toMatchObject({ code: 'KEY_REFUSED', message: 'key boot/x was destroyed' });
    const kept = double.versions('p/custody/boot/x').map(bytes => JSON.parse(bytes.toString()));
    expect(kept).toEqual([expect.not.objectContaining({ wrapped: expect.anything() })]);
    expect(kept[0].destroyedAt).toBeDefined();
    expect(await custody.count()).toBe(1);
  });
});

describe('people of several machines', () => {
  it('have one key each, whoever names them first, and are erased on every machine', async () => {
    const { one, two, double } = await machines();
    const open = async ({ folder, keystore, objects }: typeof one) => {
      const local = await openSubjects(join(folder, 'subjects.db'), keystore, () => new Date().toISOString());
      onTestFinished(local.close);
      return sharedSubjects(local, objects);
    };
    const [here, there] = [await open(one), await open(two)];
    await Promise.all([here.elsewhere?.make('operator', 'carol'), there.elsewhere?.make('operator', 'carol')]);
    const carol = here.of('operator', 'carol');
    expect(there.of('operator', 'carol').id).toBe(carol.id);
    await here.elsewhere?.make('operator', 'dave');
    const dave = here.of('operator', 'dave').id;
    expect(there.byId(dave)).toBeUndefined();
    await there.elsewhere?.learn([dave]);
    expect(there.byId(dave)?.name).toBe('dave');
    expect(await there.destroy(carol.id)).toBeDefined();
    await here.refresh();
    expect(here.byId(carol.id)).toBeUndefined();
    expect(double.keys().filter(key => key.startsWith('p/subjects/'))).toHaveLength(1);
  });

  it.each(['not JSON', '{"id":1}', 'null', '{}'])('whose object somebody has changed are refused by name: %s', async text => {
    const { one, two, double } = await machines();
    const open = async ({ folder, keystore, objects }: typeof one) => {
      const local = await openSubjects(join(folder, 'subjects.db'), keystore, () => new Date().toISOString());
      onTestFinished(local.close);
      return sharedSubjects(local, objects);
    };
    await (await open(one)).elsewhere?.make('operator', 'carol');
    const [object = ''] = double.keys().filter(key => key.startsWith('p/subjects/'));
    double.plant(object, new TextEncoder().encode(text));
    await expect(open(two)).rejects.toMatchObject({ code: 'KEYSTORE_DAMAGED', message: expect.stringContaining(object.slice(2)) });
  });
});

describe('blobs of several machines', () => {
  it('that are files here are there too; one that is damaged here is mended', async () => {
    const { one, two, double } = await machines();
    const open = ({ folder, objects }: typeof one) => openBlobStore(join(folder, 'blobs'), { shared: objects });
    const [here, there] = [open(one), open(two)];
    const bytes = new Uint8Array(100_000).fill(5);
    const name = await here.put(bytes);
    expect(await there.size(name)).toBe(bytes.length);
    expect(await there.get(name)).toEqual(bytes);
    writeFileSync(join(two.folder, 'blobs', name.slice(0, 2), name.slice(2)), 'damage');
    expect(await there.get(name)).toEqual(bytes);
    double.plant(`p/blobs/${name}`, new Uint8Array(3));
    expect(await here.get(name)).toEqual(bytes);
    expect(await here.delete(name)).toBe(true);
    await expect(open(await machineWithout(one)).get(name)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' });
  });
});

/** The same object store, and a folder that has nothing. */
const machineWithout = async (machine: Awaited<ReturnType<typeof machines>>['one']) => ({ ...machine, folder: temporaryFolder() });
