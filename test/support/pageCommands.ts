import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { processMs } from './limits.ts';

/** Runs what a page of the documentation asks its reader to type: the blocks marked `sh` in one shell, one after the other; those marked `sh terminal`
 *  in a shell of their own that goes on. A block marked `text` is what the block before it has to print: each of its lines is in the output. */

export type Block = {
  readonly heading: string;
  readonly commands: string;
  /** Goes on in a terminal of its own. */
  readonly stays: boolean;
  readonly expected: readonly string[];
};

export function blocksOf(page: URL): readonly Block[] {
  const blocks: Block[] = [];
  let heading = '';
  for (const [, title, kind, body = ''] of readFileSync(page, 'utf8').matchAll(/^#+ ([^\n]+)$|^```([^\n]*)\n(.*?)^```$/gms)) {
    if (title !== undefined) heading = title;
    else if (kind === 'text') blocks.push({ ...(blocks.pop() as Block), expected: body.trim().split('\n') });
    else if (kind === 'sh' || kind === 'sh terminal') blocks.push({ heading, commands: body, stays: kind !== 'sh', expected: [] });
  }
  return blocks;
}

export type Reader = {
  /** @throws Error with what was printed, when a command fails or the output is not what the page says */
  follow(block: Block): Promise<void>;
  close(): Promise<void>;
};

/** @param env of all terminals @param replace what stands for something else on this machine, such as ports */
export function readerIn(folder: string, env: NodeJS.ProcessEnv, replace: (text: string) => string): Reader {
  const opened: ChildProcess[] = [];
  const terminal = (...args: readonly string[]) => {
    const child = spawn('bash', args, { cwd: folder, env, detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
    opened.push(child);
    const printed = { text: '' };
    const print = (part: string): void => {
      printed.text += part;
    };
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', print);
    return { child, printed };
  };
  const main = terminal('-e');
  const until = async (child: ChildProcess, text: string, isDone: () => boolean, what: () => string): Promise<void> => {
    const endMs = performance.now() + processMs * text.trim().split('\n').length;
    while (!isDone()) {
      if (child.exitCode !== null || performance.now() > endMs) throw new Error(what());
      await sleep(20);
    }
  };
  let count = 0;
  return {
    async follow({ commands, stays, expected }) {
      const text = replace(commands);
      const lines = expected.map(replace);
      const { child, printed } = stays ? terminal('-ec', text) : main;
      const isPrinted = (): boolean => lines.every(line => printed.text.includes(line));
      const what = (): string => `${text}\nprinted:\n${printed.text}\nexpected: ${lines.join(' | ')}`;
      if (stays) return until(child, text, isPrinted, what);
      printed.text = '';
      count += 1;
      const end = `end of block ${count}`;
      main.child.stdin?.write(`${text}\necho "${end}"\n`);
      await until(child, text, () => printed.text.includes(end), what);
      if (!isPrinted()) throw new Error(what());
    },
    async close() {
      for (const child of opened.reverse()) {
        if (child.exitCode !== null || child.pid === undefined) continue;
        const ended = once(child, 'exit');
        process.kill(-child.pid, 'SIGTERM');
        await Promise.race([ended, sleep(processMs).then(() => process.kill(-(child.pid as number), 'SIGKILL'))]);
      }
    },
  };
}
