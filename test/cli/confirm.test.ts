import { expect, it } from 'vitest';
import { programFor } from '../../src/cli/program.ts';
import { codeOf } from '../pki/support.ts';

/** What cannot be undone is asked for once more. Nobody can be asked here, and no server is there: whatever went on would fail otherwise. */

const id = '00112233445566778899aabbccddeeff';
const run = (line: string) =>
  codeOf(async () => {
    const program = await programFor(line.split(' ')[0] ?? '');
    await program.parseAsync([...line.split(' '), '--server', 'https://localhost:1'], { from: 'user' });
    return 'done';
  });

it.each([
  `device revoke ${id} --reason keyCompromise`,
  `device decommission ${id} --reason lost`,
  `job close ${id}`,
  `job close ${id} --without-receipt lost`,
  `release withdraw ${id} --reason bug`,
  `rollout abort ${id} --reason bug`,
  `programmer stolen ${id}`,
  'operator remove carol',
])('nusec %s does nothing unless a person confirms it', async line => {
  expect(await run(line)).toBe('BAD_REQUEST');
  // It asks the server, and nobody has signed in.
  expect(await run(`${line} --dry-run`)).toBe('UNAUTHENTICATED');
});
