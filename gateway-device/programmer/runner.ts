import { NusecError } from '../../src/errors.ts';
import type { BoardEvent } from '../chip/board.ts';
import type { Core } from './core.ts';
import { deliverOutstanding, hasOutstanding } from './outstanding.ts';
import { type Patience, patientUntil } from './patience.ts';
import type { Report } from './produce.ts';
import { maxProgressEntries, type ProgrammerResponse, type ProgressEntry } from './protocol.ts';

/** What a run ends with: the line for the operator's terminal. */
export type Finished = BoardEvent & { readonly uid: string; readonly remaining?: number };

/** @param patience how long it waits for the server */
type Work = (report: Report, patience: Patience) => Promise<Finished>;

/** The work in the background: one run at a time with its progress, and the delivery of reports that the server could not receive before. */
export type Runner = {
  /** @returns the id of the run */
  readonly start: (work: Work) => number;
  readonly isRunning: () => boolean;
  /** Ends a run that only waits for the server; nothing else. */
  readonly endWaiting: () => Promise<void>;
  /** @param since entries seen so far */
  readonly progress: (since: number) => ProgrammerResponse<'progress'>;
  readonly deliverSoon: () => void;
  /** Resolves when nothing runs any more. */
  readonly stop: () => Promise<void>;
};

const deliveryIntervalMs = 15_000;
const maxTextChars = 256;

type Run = { readonly entries: ProgressEntry[]; outcome?: string; remaining?: number };

export function createRunner(core: Core): Runner {
  let runId = 0;
  let run: Run | undefined;
  let work: Promise<void> | undefined;
  let delivery: Promise<void> | undefined;
  let isWaiting = false;
  let ending = new AbortController();

  const deliverSoon = (): void => {
    if (work || delivery || !hasOutstanding(core.nvm.state())) return;
    delivery = deliverOutstanding(core)
      .catch(expected(core))
      .finally(() => {
        delivery = undefined;
      });
  };
  const timer = setInterval(deliverSoon, deliveryIntervalMs).unref();
  deliverSoon();

  const carryOut = async (mine: Run, given: Work): Promise<void> => {
    await delivery;
    try {
      const report: Report = (k, name, state, text = '') => {
        isWaiting = state === 'waiting';
        mine.entries.push({ k, name, state, text: text.slice(0, maxTextChars) });
        if (isWaiting) core.tell({ event: 'waiting', step: k, text });
      };
      const finished = await given(report, patientUntil(ending.signal));
      if (finished.remaining !== undefined) mine.remaining = finished.remaining;
      mine.outcome = 'OK';
      core.tell(finished);
    } catch (error) {
      mine.outcome = error instanceof NusecError ? error.code : 'INTERNAL';
      core.tell({ event: 'unit-failed', code: mine.outcome });
      if (!(error instanceof NusecError)) throw error;
    }
  };
  return {
    start: given => {
      runId += 1;
      const mine: Run = { entries: [] };
      run = mine;
      ending = new AbortController();
      work = carryOut(mine, given)
        .catch(() => undefined)
        .finally(() => {
          work = undefined;
          isWaiting = false;
        });
      return runId;
    },
    isRunning: () => work !== undefined,
    endWaiting: async () => {
      if (!isWaiting) return;
      ending.abort();
      await work;
    },
    progress: since => {
      if (!run) return { next: 0, entries: [], done: true };
      const entries = run.entries.slice(since, since + maxProgressEntries);
      const next = since + entries.length;
      const isDone = run.outcome !== undefined && next >= run.entries.length;
      const { outcome, remaining } = run;
      return {
        next,
        entries,
        done: isDone,
        ...(isDone && outcome && { outcome }),
        ...(isDone && remaining !== undefined && { remaining }),
      };
    },
    deliverSoon,
    stop: async () => {
      clearInterval(timer);
      ending.abort();
      await work;
      await delivery;
    },
  };
}

/** The server is away or will not have it now: later. */
const expected =
  (core: Core) =>
  (error: unknown): void => {
    core.tell({ event: 'delivery-failed', code: error instanceof NusecError ? error.code : 'INTERNAL' });
  };
