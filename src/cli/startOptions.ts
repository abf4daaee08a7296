import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

/** Starts a server with what Node and OpenSSL take at the start of a process alone: a connected device then needs a third less memory (docs/decisions/140),
 *  and nobody waits for helpers of V8 that have no processor (docs/decisions/170). */

/** MiB of each half of the young generation of the heap, by default 32; three of them stay in memory. */
const youngGeneration = '--max-semi-space-size';
const youngGenerationMiB = 8;
const configuration = '--openssl-config';
/** Threads that help V8 to collect garbage and to compile, by default 4, on however few processors. */
const helpers = '--v8-pool-size';
const mostHelpers = 4;

/** What to add to the options of this process; nothing that the operator has chosen.
 *  @param given options that Node was started with  @param env NODE_OPTIONS and OPENSSL_CONF are looked at */
export function missingStartOptions(
  given: readonly string[],
  env: NodeJS.ProcessEnv,
  processors: number = availableParallelism(),
): readonly string[] {
  const all = [...given, env.NODE_OPTIONS ?? ''].join(' ').replaceAll('_', '-');
  const isConfigured = env.OPENSSL_CONF !== undefined || /--openssl-(shared-)?config/.test(all);
  return [
    ...(all.includes(youngGeneration) ? [] : [`${youngGeneration}=${youngGenerationMiB}`]),
    // One processor is the main thread's own.
    ...(all.includes(helpers) || processors > mostHelpers ? [] : [`${helpers}=${Math.max(1, processors - 1)}`]),
    ...(isConfigured ? [] : [`${configuration}=${fileURLToPath(new URL('./openssl.cnf', import.meta.url))}`]),
  ];
}

/** Becomes the same program with these options, in the same process. Where the system cannot do that (Windows), it goes on without. */
export function addStartOptions(): void {
  const missing = missingStartOptions(process.execArgv, process.env);
  if (missing.length === 0 || process.platform === 'win32') return;
  process.execve?.(process.execPath, [process.execPath, ...process.execArgv, ...missing, ...process.argv.slice(1)], process.env);
}
