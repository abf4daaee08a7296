import type { Reporter, TestModule } from 'vitest/node';

/** Prints one plain last line, `N passed, N failed, N skipped`, that any script can read. */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const count = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    for (const module of modules) for (const test of module.children.allTests()) count[test.result().state] += 1;
    const broken = modules.filter(module => module.state() === 'failed' && count.failed === 0).length;
    process.on('exit', () => console.log(`${count.passed} passed, ${count.failed + broken} failed, ${count.skipped} skipped`));
  }
}
