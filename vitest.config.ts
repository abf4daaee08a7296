import { defineConfig } from 'vitest/config';
import { pollMs, testMs } from './test/support/limits.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    testTimeout: testMs,
    hookTimeout: testMs,
    expect: { poll: { timeout: pollMs } },
    globalSetup: './test/support/stateFolder.ts',
    reporters: ['default', './test/closingLine.ts'],
  },
});
