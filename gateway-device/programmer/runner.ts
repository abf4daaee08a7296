import { fromHex } from '../../src/bytes.ts';
import { type ErrorCode, NusecError } from '../../src/errors.ts';
import type { ReportedValue } from '../../src/production/unitData.ts';
import type { BoardEvent } from '../chip/board.ts';
import type { Core } from './core.ts';
import { deliverOutstanding, hasOutstanding } from './outstanding.ts';
import { type Patience, patientUntil } from './patience.ts';
import { type Report, UnitVoided } from './produce.ts';
import { type Bin, maxNameChars, maxProgressEntries, maxTextChars, type ProgrammerResponse, type ProgressEntry } from './protocol.ts';

/** What a run ends with: the line for the operator's terminal. */
export type Finished = BoardEvent & { readonly uid: string; readonly remaining?: number };

/** @param patience how long it waits for the server @param label keeps the unit data of the unit that was built */
type Work = (report: Report, patience: Patience, label: (values: readonly ReportedValue[]) => void) => Promise<Finished>;

/** The work in the background: a run for each target with its progress, and the delivery of reports that the server could not receive before. */
export type Runner = {
  /** @param place the wires that it works on: one run for each @returns the id of the run, undefined while all places are taken */
  readonly start: (place: string, work: Work) => number | undefined;
  /** @param place default: all */
  readonly isRunning: (place?: string) => boolean;
  /** Whether a run does more than wait for the server. */
  readonly isAtWork: () => boolean;
  /** Ends runs that only wait for the server; nothing else. @param place default: all */
  readonly endWaiting: (place?: string) => Promise<void>;
  /** @param since entries seen so far @param runId default: the newest run */
  readonly progress: (since: number, runId?: number) => ProgrammerResponse<'progress'>;
  readonly deliverSoon: () => void;
  /** Resolves when nothing runs any more. */
  readonly stop: () => Promise<void>;
};

/** Targets at the same time: the sockets of a gang programmer. */
const maxRuns = 16;
/** Runs that have ended and can still be asked for. */
const maxEndedRuns = 32;
const deliveryIntervalMs = 15_000;

type Run = {
  readonly id: number;
  readonly place: string;
  readonly entries: ProgressEntry[];
  readonly ending: AbortController;
  isWaiting: boolean;
  work?: Promise<void> | undefined;
  outcome?: string;
  detail?: string;
  bin?: Bin;
  remaining?: number;
  values?: readonly ReportedValue[];
};

export function createRunner(core: Core): Runner {
  const runs = new Map<number, Run>();
  let newest = 0;
  let delivery: Promise<void> | undefined;

  const active = (place?: string): readonly Run[] =>
    [...runs.values()].filter(run => run.work !== undefined && (place === undefined || run.place === place));
  const deliverSoon = (): void => {
    if (active().length > 0 || delivery || !hasOutstanding(core.nvm.state())) return;
    delivery = deliverOutstanding(core)
      .catch(expected(core))
      .finally(() => {
        delivery = undefined;
      });
  };
  const timer = setInterval(deliverSoon, deliveryIntervalMs).unref();
  deliverSoon();

  const carryOut = async (run: Run, given: Work): Promise<void> => {
    await delivery;
    try {
      const report: Report = (k, name, state, text = '') => {
        run.isWaiting = state === 'waiting';
        run.entries.push({ k, name: name.slice(0, maxNameChars), state, text: text.slice(0, maxTextChars) });
        if (run.isWaiting) core.tell({ event: 'waiting', step: k, text });
      };
      const label = (values: readonly ReportedValue[]): void => {
        run.values = values;
      };
      const { remaining, ...finished } = await given(report, patientUntil(run.ending.signal), label);
      if (remaining !== undefined) run.remaining = remaining;
      run.outcome = 'OK';
      run.bin = 'pass';
      core.tell({ ...finished, ...(remaining !== undefined && { remaining }) });
    } catch (error) {
      run.outcome = error instanceof NusecError ? error.code : 'INTERNAL';
      if (error instanceof NusecError) run.detail = error.message.slice(0, maxTextChars);
      run.bin = binAfter(core, error, chipOf(run));
      core.tell({ event: 'unit-failed', code: run.outcome });
      if (!(error instanceof NusecError)) throw error;
    }
  };
  const forgetOld = (): void => {
    const ended = [...runs.values()].filter(run => run.work === undefined);
    for (const { id } of ended.slice(0, Math.max(0, ended.length - maxEndedRuns))) runs.delete(id);
  };
  return {
    start: (place, given) => {
      if (active().length >= maxRuns) return undefined;
      newest += 1;
      const run: Run = { id: newest, place, entries: [], ending: new AbortController(), isWaiting: false };
      runs.set(run.id, run);
      forgetOld();
      run.work = carryOut(run, given)
        .catch(() => undefined)
        .finally(() => {
          run.work = undefined;
          run.isWaiting = false;
        });
      return run.id;
    },
    isRunning: place => active(place).length > 0,
    isAtWork: () => active().some(run => !run.isWaiting),
    endWaiting: async place => {
      const waiting = active(place).filter(run => run.isWaiting);
      for (const { ending } of waiting) ending.abort();
      await Promise.all(waiting.map(({ work }) => work));
    },
    progress: (since, runId = newest) => {
      const run = runs.get(runId);
      if (!run) return { next: 0, entries: [], done: true };
      const entries = run.entries.slice(since, since + maxProgressEntries);
      const next = since + entries.length;
      const isDone = run.outcome !== undefined && next >= run.entries.length;
      if (!isDone) return { next, entries, done: false };
      const { outcome, detail, remaining, bin, values = [] } = run;
      const chip = chipOf(run);
      return {
        ...{ next, entries, done: true },
        ...(outcome !== undefined && { outcome }),
        ...(detail !== undefined && { detail }),
        ...(bin !== undefined && { bin }),
        ...(chip !== undefined && { uid: fromHex(chip) }),
        ...(remaining !== undefined && { remaining }),
        ...(values.length > 0 && { values }),
      };
    },
    deliverSoon,
    stop: async () => {
      clearInterval(timer);
      for (const { ending } of active()) ending.abort();
      await Promise.all(active().map(({ work }) => work));
      await delivery;
    },
  };
}

/** Step 1 reads the UID. */
const chipOf = ({ entries }: Run): string | undefined => {
  const text = entries.find(({ k, state }) => k === 1 && state === 'done')?.text;
  return text !== undefined && /^[0-9a-f]{32}$/.test(text) ? text : undefined;
};

/** Of the chip itself: it would be refused again, and each attempt counts against the programmer. */
const ofThisChip: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['UID_CONFLICT', 'UID_NOT_LISTED', 'WEAK_OR_CLONED_KEY', 'WRONG_PRODUCT']);

export const binOfVoided = ({ code, isScrap }: Pick<UnitVoided, 'code' | 'isScrap'>): Bin =>
  isScrap ? 'scrap' : ofThisChip.has(code) ? 'reject' : 'retry';

function binAfter({ nvm }: Core, error: unknown, chip: string | undefined): Bin {
  if (error instanceof UnitVoided) return binOfVoided(error);
  return chip !== undefined && nvm.state().units[chip] !== undefined ? 'hold' : 'reject';
}

/** The server is away or will not have it now: later. */
const expected =
  (core: Core) =>
  (error: unknown): void => {
    core.tell({ event: 'delivery-failed', code: error instanceof NusecError ? error.code : 'INTERNAL' });
  };
