import { Worker } from 'node:worker_threads';
import { moduleBeside } from '../../entry.ts';
import type { Damage, FolderParts } from './damage.ts';

/** Looks at everything in the data folder, again and again, slowly, in a thread of its own: what nobody reads may be damaged for years. */

export type ScrubPace = {
  /** Events that are looked at without a pause. */
  readonly atOnce: number;
  readonly pauseMs: number;
  readonly betweenRoundsMs: number;
};

/** About 4000 events per second, so that ten million take three quarters of an hour; then six hours of rest. */
const defaultPace: ScrubPace = { atOnce: 200, pauseMs: 50, betweenRoundsMs: 6 * 60 * 60_000 };

export type ScrubMessage = { readonly finding: Damage } | { readonly roundEnded: true };
export type ScrubData = { readonly places: FolderParts; readonly pace: ScrubPace };

/** @param found called for each damage, in every round again; the place may also be `event 17`
 *  @param roundEnded called when everything has been checked once */
export function startScrub(
  places: FolderParts,
  found: (finding: Damage) => void,
  roundEnded: () => void = () => {},
  pace: ScrubPace = defaultPace,
): { close(): Promise<void> } {
  const workerData: ScrubData = { places, pace };
  const worker = new Worker(moduleBeside(import.meta.url, 'scrubWorker'), { workerData });
  worker.unref();
  worker.on('message', (message: ScrubMessage) => {
    if ('finding' in message) found(message.finding);
    else roundEnded();
  });
  worker.on('error', error => found({ place: 'scrub', detail: `has stopped: ${error.message}` }));
  // It only reads, and may still be loading.
  return { close: async () => void (await worker.terminate()) };
}
