import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { pollMs, testMs } from './test/support/limits.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // On two cores it would be one: many tests wait for other processes.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: testMs,
    hookTimeout: testMs,
    expect: { poll: { timeout: pollMs } },
    globalSetup: './test/support/stateFolder.ts',
    reporters: ['default', './test/closingLine.ts'],
  },
});
