import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';

/** The address of another module beside the one that asks, for starting it as a process or worker: sources and compiled files differ in their ending.
 *  @param here `import.meta.url` of the one that asks @param name without ending */
export function moduleBeside(here: string, name: string): URL {
  return new URL(`./${name}${here.endsWith('.ts') ? '.ts' : '.js'}`, here);
}

/** Asks a worker to close, which it does behind what it was given before. @returns when it has ended */
export async function endWorker(worker: Worker): Promise<void> {
  const ended = once(worker, 'exit');
  worker.ref();
  worker.postMessage('close');
  await ended;
}
