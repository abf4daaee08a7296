import { setTimeout as sleep } from 'node:timers/promises';
import type { Parts } from '../base/alarms.ts';
import { createWitness, type Witness, type WitnessFailure, type WitnessSettings } from './witness.ts';
import { createEndpoint } from './witnessHttp.ts';

/** Offers each new checkpoint to every witness, beside the work: one that is away, slow or of another opinion holds nothing up. */

export type WitnessPace = {
  /** Between two checkpoints for one witness. */
  readonly pauseMs: number;
  /** After a failure it is doubled, up to here. */
  readonly maxPauseMs: number;
  /** While a failure lasts, the alarm comes again so often. */
  readonly alarmEveryMs: number;
};
const defaultPace: WitnessPace = { pauseMs: 5_000, maxPauseMs: 300_000, alarmEveryMs: 3_600_000 };
/** For the last checkpoint, when the process stops. */
const closingMs = 2_000;

export type Witnesses = {
  /** Only the newest checkpoint waits for a witness: it covers those before. */
  offer(note: string): void;
  close(): Promise<void>;
};

/** @throws NusecError BAD_REQUEST (the key or address of one is not right) */
export function startWitnesses(parts: Parts, settings: readonly WitnessSettings[], dataDir: string, pace = defaultPace): Witnesses {
  const started = settings.map(each => {
    const endpoint = createEndpoint(each.caFile);
    const courier = startCourier(parts, createWitness(parts.ctx, endpoint, each, dataDir), pace);
    return { offer: courier.offer, close: () => courier.close().finally(endpoint.close) };
  });
  return {
    offer(note) {
      for (const each of started) each.offer(note);
    },
    close: async () => void (await Promise.all(started.map(each => each.close()))),
  };
}

/** Brings checkpoints to one witness, one after the other. */
function startCourier({ ctx, alarms }: Parts, witness: Witness, pace: WitnessPace): Witnesses {
  const subject = `witness-${witness.name.replaceAll(/[^A-Za-z0-9.-]/g, '-')}`;
  const stopping = new AbortController();
  let waiting: string | undefined;
  let running: Promise<void> | undefined;
  let failures = 0;
  let alarmedMs = Number.NEGATIVE_INFINITY;

  const tell = async ({ isUnlike, detail }: WitnessFailure): Promise<void> => {
    const now = performance.now();
    if (failures > 1 && now - alarmedMs < pace.alarmEveryMs) return;
    alarmedMs = now;
    await alarms.raise({ code: isUnlike ? 'WITNESS_CONFLICT' : 'WITNESS', subject, detail });
  };
  const bring = async (note: string): Promise<void> => {
    const failure = await witness.offer(note).catch((error: Error) => ({ isUnlike: false, detail: `${witness.name}: ${error.message}` }));
    failures = failure === undefined ? 0 : failures + 1;
    if (failure === undefined) return alarms.ended({ code: 'WITNESS', subject }, 'it has witnessed the newest checkpoint');
    waiting ??= note;
    await tell(failure).catch(error => ctx.log.error({ error: String(error) }, 'the alarm about a witness was not recorded'));
  };
  const run = async (): Promise<void> => {
    while (waiting !== undefined && !stopping.signal.aborted) {
      const note = waiting;
      waiting = undefined;
      await bring(note);
      const pauseMs = Math.min(pace.maxPauseMs, pace.pauseMs * 2 ** Math.min(failures, 16));
      await sleep(pauseMs, undefined, { signal: stopping.signal, ref: false }).catch(() => undefined);
    }
  };
  return {
    offer(note) {
      waiting = note;
      running ??= run().finally(() => {
        running = undefined;
      });
    },
    async close() {
      stopping.abort();
      await Promise.race([running, sleep(closingMs, undefined, { ref: false })]);
      // The last checkpoint, once: who is away gets it after the next start.
      if (waiting !== undefined && failures === 0) await Promise.race([bring(waiting), sleep(closingMs, undefined, { ref: false })]);
    },
  };
}
