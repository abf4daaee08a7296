import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { allKeys, type ObjectStore } from '../../src/objects/port.ts';
import { openS3 } from '../../src/objects/s3.ts';
import { temporaryFolder } from '../eventstore/support.ts';
import { type S3Double, type S3DoubleOptions, startS3Double } from './s3Double.ts';

/** The driver for object stores, on the double. With NUSEC_TEST_OBJECT_STORE and NUSEC_TEST_OBJECT_STORE_KEYS (ACCESS-KEY:SECRET) on a real one too. */

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

async function onDouble(options?: S3DoubleOptions): Promise<{ double: S3Double; objects: ObjectStore }> {
  const double = await startS3Double(options);
  onTestFinished(double.close);
  const objects = await openS3({ url: double.url('p'), credentials: double.credentials });
  onTestFinished(objects.close);
  return { double, objects };
}

const real = process.env.NUSEC_TEST_OBJECT_STORE;
const openReal = async (): Promise<ObjectStore> => {
  const objects = await openS3({
    url: `${real}`.replace('?', `/t${randomBytes(4).toString('hex')}?`),
    credentials: process.env.NUSEC_TEST_OBJECT_STORE_KEYS,
  });
  onTestFinished(objects.close);
  return objects;
};

describe.each([
  ['the double', async () => (await onDouble()).objects],
  ['the double without versions', async () => (await onDouble({ versioned: false })).objects],
  ['the double that compares tags as Ceph 16', async () => (await onDouble({ versioned: false, comparesUnquoted: true })).objects],
  ...(real === undefined ? [] : [['a server', openReal] as const]),
] as const)('an object store: %s', (_name, open) => {
  it('has what was put, and nothing else', async () => {
    const objects = await open();
    expect(await objects.get('a/b')).toBeUndefined();
    const tag = await objects.put('a/b', bytes('one'), 'none');
    expect(await objects.get('a/b')).toEqual({ bytes: bytes('one'), tag });
    expect(await objects.look('a/b')).toEqual({ bytes: 3, tag });
    expect(await objects.delete('a/b')).toBe(true);
    expect(await objects.delete('a/b')).toBe(false);
    expect(await objects.look('a/b')).toBeUndefined();
  });

  it('stores only where what was expected is there', async () => {
    const objects = await open();
    const one = (await objects.put('k', bytes('one'), 'none')) ?? '';
    expect(await objects.put('k', bytes('two'), 'none')).toBeUndefined();
    const two = await objects.put('k', bytes('two'), { tag: one });
    expect(two).not.toBeUndefined();
    expect(await objects.put('k', bytes('three'), { tag: one })).toBeUndefined();
    expect((await objects.get('k'))?.bytes).toEqual(bytes('two'));
  });

  it('gives one of several writers the word', async () => {
    const objects = await open();
    const results = await Promise.all(Array.from({ length: 8 }, (_, i) => objects.put('race', bytes(`writer ${i}`), 'none')));
    expect(results.filter(tag => tag !== undefined)).toHaveLength(1);
  });

  it('lists in order, takes files, and forgets what was overwritten', async () => {
    const objects = await open();
    const file = join(temporaryFolder(), 'f');
    const content = randomBytes(300_000);
    writeFileSync(file, content);
    await objects.putFile('x/2', file);
    await objects.put('x/1', bytes('1'), 'any');
    await objects.put('y', bytes('y'), 'any');
    expect((await objects.list('x/', '')).map(({ key }) => key)).toEqual(['x/1', 'x/2']);
    expect(await objects.list('x/', 'x/1')).toEqual([{ key: 'x/2', storedMs: expect.any(Number) }]);
    const all: string[] = [];
    for await (const key of allKeys(objects, '')) if (key !== 'probe') all.push(key);
    expect(all).toEqual(['x/1', 'x/2', 'y']);
    expect(Buffer.from((await objects.get('x/2'))?.bytes ?? [])).toEqual(content);
    await objects.put('x/1', bytes('2'), 'any');
    await objects.forgetOlder('x/1');
    expect((await objects.get('x/1'))?.bytes).toEqual(bytes('2'));
  });
});

describe('an object store that is not as it should be', () => {
  it('is refused when it ignores conditions: two servers would overwrite each other', async () => {
    const double = await startS3Double({ ignoresConditions: true });
    onTestFinished(double.close);
    await expect(openS3({ url: double.url('p'), credentials: double.credentials })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(openS3({ url: double.url('p'), credentials: 'stranger:secret' })).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.not.stringContaining('secret'),
    });
  });

  it('forgets older versions while another machine stores newer ones', async () => {
    const { double, objects } = await onDouble();
    for (const content of ['1', '2']) await objects.put('k', bytes(content), 'any');
    double.plantAfterDelete('p/k', bytes('3'));
    await objects.forgetOlder('k');
    expect(double.versions('p/k').map(String)).toEqual(['2', '3']);
  });

  it('that breaks off before its answer has stored it once; that is away says so', async () => {
    const { double, objects } = await onDouble();
    double.loseNextAnswer('/k');
    expect(await objects.put('k', bytes('one'), 'none')).toBeDefined();
    expect(double.versions('p/k')).toHaveLength(1);
    double.down();
    await expect(objects.get('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    double.up();
    expect((await objects.get('k'))?.bytes).toEqual(bytes('one'));
  });

  it.each(['answers', 'objects'] as const)('that is there, but gives no %s, is not waited for', async how => {
    const { double, objects } = await onDouble();
    await objects.put('k', bytes('one'), 'none');
    double.silence(how);
    await expect(objects.get('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    const asked = double.requests();
    await expect(objects.get('k')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(double.requests()).toBe(asked);
    double.silence(undefined);
    await expect.poll(async () => (await objects.get('k').catch(() => undefined))?.bytes).toEqual(bytes('one'));
  });

  it('is asked again when it is in trouble for a moment, also with a file', async () => {
    const { double, objects } = await onDouble();
    const file = join(temporaryFolder(), 'f');
    writeFileSync(file, 'content');
    double.failNext(2);
    await objects.putFile('x', file);
    expect((await objects.get('x'))?.bytes).toEqual(bytes('content'));
    double.failNext(3);
    await expect(objects.get('x')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringContaining('503') });
  });

  it('deletes an object that has more versions than one listing shows', async () => {
    const { double, objects } = await onDouble();
    for (let n = 0; n < 1003; n += 1) double.plant('p/k', bytes(`${n}`));
    double.plant('p/k2', bytes('another'));
    await objects.forgetOlder('k');
    expect(double.versions('p/k').map(String)).toEqual(['1002']);
    expect(double.versions('p/k2')).toHaveLength(1);
  });

  it.each([
    'http://example.com/x',
    's3://B',
    's3://bucket/p?endpoint=http://192.0.2.1',
    's3://bucket?key=secret',
    's3://bucket?endpoint=https://u:p@h',
  ])('is not reached at %s', async url => {
    await expect(openS3({ url })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });
});
