/** Time limits of tests. They end what hangs, and judge nothing: on a machine with eight times the work it can do, everything that is right
 *  still passes. Those for one test or hook, and for `expect.poll`, are in vitest.config.ts. */

/** From the start of a process of ours to its first line, or to its end when it has little to do. */
export const processMs = 30_000;

/** Of a test that starts so many processes, one after the other. */
export const limitOfProcesses = (count: number): number => 60_000 + count * processMs;
