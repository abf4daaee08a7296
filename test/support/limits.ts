/** Time limits of tests, in one place. They end tests that hang and measure nothing: a correct test also passes on a machine that has eight times the
 *  work it can do. Times are measured by the benches alone. */

/** Of a test or hook that says nothing else (vitest.config.ts): it starts a handful of processes at most. */
export const testMs = 180_000;

/** Until something comes true that does not depend on a clock (vitest.config.ts for `expect.poll`). */
export const pollMs = 60_000;

/** From the start of a process of ours to its first line, or to its end when it has little to do. */
export const processMs = 60_000;

/** Of one step in a browser: of its start, of a page until it shows what is waited for. */
export const browserMs = 120_000;

/** Of a test that starts so many processes, one after the other: what one takes on such a machine, each time. */
export const limitOfProcesses = (count: number): number => testMs + count * 20_000;
