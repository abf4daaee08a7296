import { setTimeout as sleep } from 'node:timers/promises';
import { connectProgrammer, type ProgrammerClient } from '../../gateway-device/programmer/client.ts';
import type { ProgressEntry } from '../../gateway-device/programmer/protocol.ts';
import { fromHex, toHex } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { DevAuthError } from '../production/devauth/error.ts';
import { stopsLine } from './produceAdvice.ts';
import { followRun, type RunEnd } from './programmerRun.ts';
import type { Station, StationTarget } from './station.ts';

/** The targets of a station, each continues with its next chip by itself, until the count is built. */

/** A chip is there when two looks after each other have found it: its contacts bounce. */
const looks = 2;
const lookIntervalMs = 250;

export type StationEvent =
  | { readonly type: 'waitingForChip'; readonly target: string }
  | { readonly type: 'step'; readonly target: string; readonly entry: ProgressEntry }
  | { readonly type: 'result'; readonly target: string; readonly end: RunEnd; readonly tookMs: number };

export type StationRun = {
  readonly tell: (event: StationEvent) => void;
  /** Resolves when a unit may begin at this target. Default: when a chip is there. */
  readonly started?: ((target: string, signal: AbortSignal) => Promise<void>) | undefined;
  readonly signal: AbortSignal;
};

export type StationEnd = { readonly built: number; readonly failed: number; readonly stoppedBy?: RunEnd };

/** @throws NusecError LINK_FAILED when the programmer cannot be reached */
export async function runStation(station: Station, { tell, started, signal }: StationRun): Promise<StationEnd> {
  const stop = new AbortController();
  const ended = AbortSignal.any([signal, stop.signal]);
  const wanted = station.count ?? Number.POSITIVE_INFINITY;
  /** Units that no target has begun; one that failed comes back. */
  let left = wanted;
  let [built, failed] = [0, 0];
  let stoppedBy: RunEnd | undefined;

  const serve = async (target: StationTarget, client: ProgrammerClient): Promise<void> => {
    let last: string | undefined;
    while (!ended.aborted) {
      tell({ type: 'waitingForChip', target: target.name });
      if (started) await started(target.name, ended);
      else await nextChip(client, target, last, ended);
      while (left === 0 && !ended.aborted) await sleep(lookIntervalMs);
      if (ended.aborted) return;
      left -= 1;
      const begin = performance.now();
      const end = await produceOn(client, target, station.job, entry => tell({ type: 'step', target: target.name, entry }));
      tell({ type: 'result', target: target.name, end, tookMs: performance.now() - begin });
      last = end.uid;
      if (end.outcome === 'OK') built += 1;
      else {
        failed += 1;
        left += 1;
      }
      if (stopsLine(end.outcome)) stoppedBy ??= end;
      if (stoppedBy || built === wanted) stop.abort();
    }
  };
  const clients = await connectAll(station);
  try {
    await Promise.all(station.targets.map((target, index) => serve(target, clients[index % clients.length] as ProgrammerClient)));
  } finally {
    await Promise.all(clients.map(client => client.close()));
  }
  return { built, failed, ...(stoppedBy && { stoppedBy }) };
}

/** A connection for each target, so that a chip that does not answer holds up nobody; a UART has one for all. */
const connectAll = ({ programmer, targets }: Station): Promise<readonly ProgrammerClient[]> =>
  Promise.all((/^[^/]+:\d+$/.test(programmer) ? targets : targets.slice(0, 1)).map(() => connectProgrammer(programmer)));

/** Starts a unit and follows it. What the programmer refuses is an end too. */
export async function produceOn(
  client: ProgrammerClient,
  { serial, debug }: Pick<StationTarget, 'serial' | 'debug'>,
  job: string | undefined,
  show: (entry: ProgressEntry) => void,
): Promise<RunEnd> {
  const wish = { serialAddress: serial, debugAddress: debug, ...(job !== undefined && { jobId: fromHex(job) }) };
  const { runId } = await client.request('produce', wish).catch((error: unknown) => {
    if (error instanceof DevAuthError && error.reason === 'busy')
      throw new NusecError('STATE', 'the programmer is busy with this target, or with another command');
    throw error;
  });
  return followRun(client, runId, show);
}

/** Waits until a chip is there that was not there before: another one, or the same after it was taken off.
 *  @param last UID of the chip that was built last */
async function nextChip(client: ProgrammerClient, target: StationTarget, last: string | undefined, ended: AbortSignal): Promise<void> {
  let present = last;
  for (let seen: string | undefined, times = 0; !ended.aborted; await sleep(lookIntervalMs)) {
    const uid = await uidOn(client, target);
    times = uid === seen ? times + 1 : 1;
    seen = uid;
    if (times < looks) continue;
    if (uid !== undefined && uid !== present) return;
    present = uid;
  }
}

async function uidOn(client: ProgrammerClient, { serial, debug }: StationTarget): Promise<string | undefined> {
  const { uid } = await client.request('probe', { serialAddress: serial, debugAddress: debug }).catch((error: unknown) => {
    // Somebody else works on this chip.
    if (error instanceof DevAuthError && error.reason === 'busy') return { uid: undefined };
    throw error;
  });
  return uid && toHex(uid);
}
