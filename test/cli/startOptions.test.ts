import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { missingStartOptions } from '../../src/cli/startOptions.ts';

describe('what a server adds to its own start', () => {
  const [young, helpers, openssl] = missingStartOptions([], {}, 2);

  it('is a smaller young generation, and one ticket for each handshake', () => {
    expect(young).toMatch(/^--max-semi-space-size=\d+$/);
    expect(readFileSync((openssl ?? '').replace('--openssl-config=', ''), 'utf8')).toMatch(/^NumTickets = 1$/m);
  });

  it('is as many helpers of V8 as there are processors beside that of the main thread, where Node would start more', () => {
    const of = (processors: number) => missingStartOptions([], {}, processors).filter(option => option.startsWith('--v8-pool-size='));
    expect([1, 2, 3, 4].map(of)).toEqual([['--v8-pool-size=1'], ['--v8-pool-size=1'], ['--v8-pool-size=2'], ['--v8-pool-size=3']]);
    expect(of(8)).toEqual([]);
  });

  it('is nothing when it has been added', () => {
    expect(missingStartOptions([young ?? '', helpers ?? '', openssl ?? ''], {}, 2)).toEqual([]);
  });

  it('leaves what the operator has chosen', () => {
    expect(missingStartOptions([], { NODE_OPTIONS: '--max-semi-space-size=64' }, 8)).toEqual([openssl]);
    expect(missingStartOptions(['--max_semi_space_size=64'], { OPENSSL_CONF: '/etc/fips.cnf' }, 8)).toEqual([]);
    expect(missingStartOptions(['--openssl-shared-config'], {}, 8)).toEqual([young]);
    expect(missingStartOptions(['--openssl-shared-config', '--v8-pool-size=0'], {}, 2)).toEqual([young]);
  });
});
