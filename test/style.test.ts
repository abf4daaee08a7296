import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');
const files = globSync('{src,gateway-device,scripts,bench,test}/**/*.ts', { cwd: root }).filter(file => !file.startsWith('test/output'));

it('the head of a file follows its imports, so that every file begins in the same way', () => {
  const headFirst = /^(?:#!.*\n)?(?:\/\*\*[\s\S]*?\*\/|(?:\/\/.*\n?)+)\n+import\b/;
  expect(files.filter(file => headFirst.test(readFileSync(join(root, file), 'utf8')))).toEqual([]);
});
