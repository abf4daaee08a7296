import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { within } from '../../src/within.ts';
import { processMs } from './limits.ts';

/** `nusec` as a process of its own, from its start to its end. */

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export type End = {
  /** Exit status; null when a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
};

export type Command = {
  readonly pid: number;
  /** Its first line, as JSON. Rejects when it ends before. */
  readonly ready: Promise<Readonly<Record<string, unknown>>>;
  kill(signal: NodeJS.Signals): void;
  /** @throws Error when it has not ended in time; it is killed then */
  ended(): Promise<End>;
};

/** @param wrapper a command that runs it */
export function startCommand(args: readonly string[], env: NodeJS.ProcessEnv = {}, wrapper: readonly string[] = []): Command {
  const [program = '', ...rest] = [...wrapper, process.execPath, main, ...args];
  const child = spawn(program, rest, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const text = { out: '', err: '' };
  const firstLine = Promise.withResolvers<Readonly<Record<string, unknown>>>();
  firstLine.promise.catch(() => undefined);
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text.out += chunk;
    const end = text.out.indexOf('\n');
    if (end >= 0 && text.out.startsWith('{')) firstLine.resolve(JSON.parse(text.out.slice(0, end)));
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text.err += chunk;
  });
  const end = once(child, 'close').then(([status, signal]): End => ({ status, signal, ...text }));
  void end.then(({ err }) => firstLine.reject(new Error(`ended before its first line: ${err}`)));
  return {
    pid: child.pid ?? 0,
    ready: firstLine.promise,
    kill: signal => void child.kill(signal),
    async ended() {
      const ended = await within(end, processMs);
      if (ended !== undefined) return ended;
      child.kill('SIGKILL');
      throw new Error(`${args.join(' ')} has not ended: ${text.out}${text.err}`);
    },
  };
}
