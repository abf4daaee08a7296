// Compiles the sources to JavaScript under dist/, for `npm pack`: Node does not strip types from what is installed under node_modules.
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');
rmSync(dist, { recursive: true, force: true });
const { status } = spawnSync(join(root, 'node_modules', '.bin', 'tsc'), ['-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' });
if (status !== 0) process.exit(status ?? 1);
cpSync(join(root, 'web'), join(dist, 'web'), { recursive: true });
cpSync(join(root, 'src', 'cli', 'openssl.cnf'), join(dist, 'src', 'cli', 'openssl.cnf'));
