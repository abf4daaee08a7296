import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Lets a process of ours work until it has written so many lines to its standard output, then kills it: how much it had done does not depend on how
 *  busy the machine is. It may have written more by then.
 *  @param file of its program @returns all whole lines that it wrote
 *  @throws Error when it ended by itself before */
export async function killAfterLines(file: string, args: readonly string[], count: number): Promise<readonly string[]> {
  const running = spawn(process.execPath, [file, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  let lines = 0;
  running.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    lines += text.split('\n').length - 1;
    if (lines >= count) running.kill('SIGKILL');
  });
  const [status, signal] = await once(running, 'close');
  if (signal !== 'SIGKILL') throw new Error(`${file} ended by itself with ${status ?? signal}`);
  return output.split('\n').slice(0, -1);
}
