import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** The demo's parts as processes of their own: each prints JSON lines, the first one says it is ready. */

const command = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
/** Time limits that end a process that hangs, also on a busy machine. */
const readyTimeoutMs = 180_000;
export const stopTimeoutMs = 90_000;
const commandTimeoutMs = 120_000;
const maxKeptLines = 2_000;

export type Line = Readonly<Record<string, unknown>>;

export type Running = {
  readonly name: string;
  /** The ready line. */
  readonly ready: Line;
  readonly lines: readonly Line[];
  readonly pid: number;
  /** The first line, past or to come, that fits. */
  until(fits: (line: Line) => boolean, what: string, timeoutMs: number): Promise<Line>;
  /** SIGTERM, or what is asked for; resolves when the process is gone. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  readonly errors: () => string;
};

/** Starts `nusec …`, or another program, and waits for its ready line. */
export async function start(name: string, args: readonly string[], env: NodeJS.ProcessEnv, program = command): Promise<Running> {
  const child = spawn(process.execPath, [program, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const lines: Line[] = [];
  const waiting = new Set<() => void>();
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-8192);
  });
  createInterface({ input: child.stdout }).on('line', text => {
    const line = parse(text);
    if (line === undefined) return;
    lines.push(line);
    if (lines.length > maxKeptLines) lines.shift();
    for (const wake of waiting) wake();
  });
  const exited = once(child, 'exit').then(() => {
    for (const wake of waiting) wake();
  });
  const until = async (fits: (line: Line) => boolean, what: string, timeoutMs: number): Promise<Line> => {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const found = lines.find(fits);
      if (found !== undefined) return found;
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`${name}: no ${what} within ${timeoutMs} ms${errors && `; it said:\n${errors}`}`);
      if (child.exitCode !== null) throw new Error(`${name} ended with ${child.exitCode} before ${what}:\n${errors}`);
      await wakeOrTimeout(waiting, left);
    }
  };
  const ready = await until(line => line.ready === true, 'ready line', readyTimeoutMs).catch(async error => {
    await stop(child, exited, 'SIGKILL');
    throw error;
  });
  return { name, ready, lines, pid: child.pid ?? 0, until, stop: signal => stop(child, exited, signal), errors: () => errors };
}

async function stop(child: ChildProcess, exited: Promise<unknown>, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  const hard = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
  await exited;
  clearTimeout(hard);
}

function wakeOrTimeout(waiting: Set<() => void>, ms: number): Promise<void> {
  return new Promise(resolve => {
    const wake = () => {
      clearTimeout(timer);
      waiting.delete(wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    waiting.add(wake);
  });
}

function parse(text: string): Line | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Line) : undefined;
  } catch {
    return undefined;
  }
}

export type Finished = { readonly status: number; readonly output: Line; readonly error: Line; readonly lines: readonly Line[] };

/** Runs one `nusec … --json` command to its end. `output` is its last JSON line, `error` the JSON line on standard error. */
export async function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Finished> {
  const child = spawn(process.execPath, [command, ...args, '--json'], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: commandTimeoutMs,
  });
  const text = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => {
    text.out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    text.err += chunk.toString();
  });
  const [status] = (await once(child, 'close')) as [number | null];
  const jsonLines = (all: string): readonly Line[] =>
    all
      .split('\n')
      .map(parse)
      .filter(line => line !== undefined);
  const lines = jsonLines(text.out);
  return { status: status ?? 1, output: lines.at(-1) ?? {}, error: jsonLines(text.err).at(-1) ?? { detail: text.err.trim() }, lines };
}
