import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

it('nusec ends quietly when the reader of its pipe has enough', () => {
  const command = `"${process.execPath}" "${main}" rollout --help | true; echo "\${PIPESTATUS[0]}"`;
  expect(spawnSync('bash', ['-c', command], { encoding: 'utf8' })).toMatchObject({ stdout: '0\n', stderr: '' });
});
