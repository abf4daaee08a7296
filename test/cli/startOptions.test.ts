import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { missingStartOptions } from '../../src/cli/startOptions.ts';

describe('what a server adds to its own start', () => {
  const [young, openssl] = missingStartOptions([], {});

  it('is a smaller young generation, and one ticket for each handshake', () => {
    expect(young).toMatch(/^--max-semi-space-size=\d+$/);
    expect(readFileSync((openssl ?? '').replace('--openssl-config=', ''), 'utf8')).toMatch(/^NumTickets = 1$/m);
  });

  it('is nothing when it has been added', () => {
    expect(missingStartOptions([young ?? '', openssl ?? ''], {})).toEqual([]);
  });

  it('leaves what the operator has chosen', () => {
    expect(missingStartOptions([], { NODE_OPTIONS: '--max-semi-space-size=64' })).toEqual([openssl]);
    expect(missingStartOptions(['--max_semi_space_size=64'], { OPENSSL_CONF: '/etc/fips.cnf' })).toEqual([]);
    expect(missingStartOptions(['--openssl-shared-config'], {})).toEqual([young]);
  });
});
