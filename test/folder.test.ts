import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder, narrowFolder, requireFolder } from '../src/folder.ts';

const parent = mkdtempSync(join(tmpdir(), 'nusec-folder-'));
const file = join(parent, 'file');
writeFileSync(file, '');
const refused = expect.objectContaining({ code: 'FOLDER_REFUSED', message: expect.stringContaining(file) });

it('makes a folder that only its owner enters, with those above it', () => {
  const folder = join(parent, 'a', 'b');
  makeFolder(folder);
  makeFolder(folder);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  requireFolder(folder);
});

it('says that a folder is missing, and what to do', () => {
  const missing = expect.objectContaining({ code: 'FOLDER_MISSING', message: expect.stringContaining('ask Rita') });
  expect(() => requireFolder(join(parent, 'none'), 'ask Rita')).toThrow(missing);
});

it('refuses a file in the place of a folder, also above it', () => {
  for (const place of [file, join(file, 'x')]) {
    expect(() => makeFolder(place)).toThrow(refused);
    expect(() => requireFolder(place)).toThrow(refused);
  }
});

it('a folder that others could enter is theirs no more, nor is what is in it; certificates stay as they are', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-open-'));
  mkdirSync(join(folder, 'blobs'));
  for (const name of ['events.db', 'events.db-wal', 'leader.lock', 'root.pem']) writeFileSync(join(folder, name), '');
  for (const name of ['', 'blobs']) chmodSync(join(folder, name), 0o755);
  for (const name of ['events.db', 'events.db-wal', 'leader.lock', 'root.pem']) chmodSync(join(folder, name), 0o644);
  const before = process.umask();
  narrowFolder(folder);
  writeFileSync(join(folder, 'views.db'), '');
  process.umask(before);
  const mode = (name: string) => (statSync(join(folder, name)).mode & 0o777).toString(8);
  expect(['', 'blobs', 'events.db', 'events.db-wal', 'leader.lock', 'root.pem', 'views.db'].map(mode)).toEqual([
    '700',
    '700',
    '600',
    '600',
    '600',
    '644',
    '600',
  ]);
  rmSync(folder, { recursive: true });
});
