#!/usr/bin/env node
// Starts `nusec` with a Node that runs it: this one if it is 24 or newer, else the one that npm installed.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module, { createRequire } from 'node:module';
import { constants, homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const leastMajor = 24;

/** The compiled program of an installed package; in a checkout the sources themselves. */
const program = [join(root, 'dist', 'src', 'cli', 'main.js'), join(root, 'src', 'cli', 'main.ts')].find(file => existsSync(file));

function installedNode() {
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
  try {
    const folder = dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
    return [join(folder, 'bin', 'node'), join(folder, 'bin', 'node.exe')].find(file => existsSync(file));
  } catch {
    return undefined;
  }
}

/** Compiled code is kept for this user: every start after the first is faster. Without a home nothing is kept. */
function keepCompiled() {
  try {
    // A server starts itself again with more options, and finds it here.
    process.env.NODE_COMPILE_CACHE ??= join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'nusec');
    module.enableCompileCache();
  } catch {
    // It works without.
  }
}

function fail(text) {
  console.error(`nusec: ${text}`);
  process.exit(1);
}

if (!existsSync(join(root, 'node_modules')) && program?.endsWith('.ts'))
  fail(`the packages are missing: run \`node ${join(root, 'scripts', 'setup.mjs')} demo\` once`);

if (Number(process.versions.node.split('.')[0]) >= leastMajor) {
  keepCompiled();
  process.argv[1] = program;
  await import(program);
} else {
  const node =
    installedNode() ??
    fail(`needs Node ${leastMajor}; this is ${process.version} and npm installed none for ${process.platform}-${process.arch}`);
  const child = spawn(node, [program, ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal ?? 'SIGKILL'] ?? 9)));
}
