import { spawnSync } from 'node:child_process';

/** A Python that has these modules, and undefined where none has. Debian's own comes first: what its packages can do is what the documents promise. */
export const pythonWith = (...modules: readonly string[]): string | undefined =>
  ['/usr/bin/python3', 'python3'].find(python => spawnSync(python, ['-c', `import ${modules.join(', ')}`]).status === 0);
