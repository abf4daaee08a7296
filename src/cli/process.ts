import { NusecError } from '../errors.ts';
import { within } from '../within.ts';

/** What the commands share that run until they are stopped: a chip, a programmer, a gateway, a server. */

/** @throws NusecError BAD_REQUEST when the text is not host:port */
export function hostPort(text: string): { readonly host: string; readonly port: number } {
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  if (!host || !port) throw new NusecError('BAD_REQUEST', `${text} is not host:port`);
  return { host, port: Number(port) };
}

/** `name=value name=value`: an event for people. */
export const fieldsText = (fields: object): string =>
  Object.entries(fields)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');

/** Signals that stop a command, with their numbers. */
const stopSignals = { SIGINT: 2, SIGTERM: 15 } as const;
type StopSignal = keyof typeof stopSignals;
const eachStopSignal = Object.keys(stopSignals) as StopSignal[];
/** Closing takes longer than this: the process ends as it is. Container engines kill after ten seconds. */
const stopLimitMs = 9_000;
/** What still runs when a command is over is nobody's. */
const lingerMs = 1_000;

/** A signal ends the process where it is, until `runUntilStopped` takes it over: what is on disk bears that. The kernel does this by itself,
 *  except for the first process of a container. */
export function endOnSignal(): void {
  if (process.pid !== 1) return;
  for (const signal of eachStopSignal) process.on(signal, () => process.exit(128 + stopSignals[signal]));
}

/** Runs what a command opens until SIGINT or SIGTERM, then closes it. A signal before or a second one ends the process immediately.
 *  @param ready called when it is open: from then on a signal closes it
 *  @throws what opening and closing throw; NusecError CLOSE_TIMEOUT */
export async function runUntilStopped<Opened extends { close(): Promise<void> }>(
  open: () => Promise<Opened>,
  ready: (opened: Opened) => void,
): Promise<void> {
  const opened = await open();
  const stopped = untilStopped();
  ready(opened);
  await stopped;
  const closed = opened.close().then(() => true);
  if ((await within(closed, stopLimitMs)) === undefined) throw new NusecError('CLOSE_TIMEOUT', `not closed within ${stopLimitMs} ms`);
}

function untilStopped(): Promise<void> {
  return new Promise(resolve => {
    const stop = (): void => {
      for (const signal of eachStopSignal) process.removeAllListeners(signal);
      endOnSignal();
      resolve();
    };
    for (const signal of eachStopSignal) process.removeAllListeners(signal).once(signal, stop);
  });
}

/** The process ends soon, also when something keeps it. */
export function endSoon(): void {
  setTimeout(() => process.exit(), lingerMs).unref();
}
