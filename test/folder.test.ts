import { mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder, requireFolder } from '../src/folder.ts';

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
