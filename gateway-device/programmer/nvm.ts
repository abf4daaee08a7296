import { existsSync, readFileSync } from 'node:fs';
import { utf8 } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import type { ReportedValue } from '../../src/production/unitData.ts';
import type { Seconds } from '../../src/times.ts';
import { replaceFile } from '../link/replaceFile.ts';

/** What the programmer must not forget: jobs with their counts and ledgers, and the unit it is working on. One file, replaced as a whole
 *  and on the disk before the programmer continues, so that a power cut leaves the state before or after, never between. No key is in it, and the
 *  production packages lie here as they came: sealed. */

/** Bytes are base64url, ids and hashes hex, as JSON wants it. */
export type JobState = {
  readonly jobId: string;
  readonly packageId: string;
  /** Of the newest imported package; never falls (T3, I13). */
  readonly sequence: number;
  readonly epoch: number;
  /** The whole `*.njp` file; opened again when it is needed. */
  readonly packageFile: string;
  /** Units of the newest package; the next three count since its import. */
  readonly count: number;
  readonly scrapAllowance: number;
  readonly committed: number;
  readonly scrapped: number;
  /** Units reserved and not ended. */
  readonly open: number;
  /** Images kept for this job, SHA-256 of the body. */
  readonly images: readonly string[];
  /** `told`: the server has the record of it. */
  readonly zeroised: false | 'recorded' | 'told';
  readonly ledger: LedgerState;
  /** Signed acknowledgement of the newest import. */
  readonly acknowledgement: string;
  readonly acknowledgementSent: boolean;
  /** Number of the ledger record of that import: the acknowledgement quotes it. */
  readonly importNumber: number;
  /** Highest number of a grant: values of a number are given once. */
  readonly newestNumber?: number;
};

export type LedgerState = {
  readonly nextNumber: number;
  readonly headSha256: string;
  /** Signed records that the server has not acknowledged, oldest first. */
  readonly pending: readonly string[];
};

/** The journal of a unit under way, on the wires or taken off them. Every ★ step is written here before it begins (`begun`) and after it is
 *  done (`done`). */
export type UnitState = {
  readonly runId: number;
  readonly jobId: string;
  readonly uid: string;
  readonly done: number;
  readonly begun: number;
  /** Failures of the step after `done`. */
  readonly failures: number;
  readonly facts: UnitFacts;
  /** Hash of the ledger record that reserved it: the grant quotes it. */
  readonly reserveHead?: string;
  /** Number of the ledger record that ends it; the server gets it with the records up to this one. */
  readonly endNumber?: number;
  /** The unit is given up; only the report to the server is outstanding. */
  readonly voiding?: VoidState;
};

/** `receipt`: the chip signs that nothing is burned. */
type VoidState = { readonly reason: string; readonly otpTouched: boolean; readonly receipt?: string };

/** What the steps found out, each kept from the step that learned it. */
export type UnitFacts = {
  readonly grantId?: string;
  readonly objId?: string;
  /** The signed grant. */
  readonly grant?: string;
  /** AUTH key of the target, point. */
  readonly publicKey?: string;
  readonly certificate?: string;
  readonly ica?: string;
  readonly root?: string;
  readonly bundle?: string;
  /** What the line asks of its devices, as the server has named it. */
  readonly spdm?: { readonly leastVersion?: string; readonly signatures?: readonly string[]; readonly publicKey?: string };
  /** SubjectPublicKeyInfo of the two boot keys. */
  readonly bootKey?: string;
  readonly applicationKey?: string;
  /** SHA-256 of the unlock password; a server from before there was one gives none. */
  readonly unlock?: string;
  readonly bl2Hash?: string;
  /** The image that was sent: what the last receipt must show. */
  readonly application?: { readonly imageHash: string; readonly securityCounter: number };
  readonly unitData?: UnitDataFacts;
  /** Receipt of the finished unit: the same one in every retry of the commit. */
  readonly receipt?: string;
  /** The commit is in the ledger. */
  readonly committing?: true;
};

/** What this unit gets for itself: as reports show it, and the objects that are written before the lock and with the application. */
export type UnitDataFacts = { readonly values: readonly ReportedValue[]; readonly plain?: string; readonly sealed?: string };

export type NvmState = {
  readonly version: 1;
  readonly nextRunId: number;
  readonly serverUrl?: string;
  /** The newest time that a server has reported. */
  readonly newestTimeSeconds?: Seconds;
  readonly jobs: Readonly<Record<string, JobState>>;
  /** By UID. */
  readonly units: Readonly<Record<string, UnitState>>;
  /** Units that were committed while no run was there to report it: the next run with this chip reports it. */
  readonly untold?: readonly CommittedUnit[];
};

export type CommittedUnit = { readonly uid: string; readonly jobId: string; readonly values?: readonly ReportedValue[] };
const maxUntold = 64;

export type Nvm = {
  readonly state: () => NvmState;
  /** Durable when it returns. */
  readonly update: (change: (state: NvmState) => NvmState) => NvmState;
};

const blank: NvmState = { version: 1, nextRunId: 1, jobs: {}, units: {} };

/** What an earlier firmware wrote: it knew one unit at a time. */
type Stored = Omit<NvmState, 'units'> & { readonly unit?: UnitState; readonly units?: NvmState['units'] };

/** @param path one file, mode 600
 *  @throws NusecError STORE_DAMAGED when it holds something else */
export function openNvm(path: string): Nvm {
  let state = existsSync(path) ? readState(path) : blank;
  return {
    state: () => state,
    update: change => {
      const next = change(state);
      replaceFile(path, utf8(JSON.stringify(next)));
      state = next;
      return state;
    },
  };
}

function readState(path: string): NvmState {
  try {
    const { unit, ...state } = JSON.parse(readFileSync(path, 'utf8')) as Stored;
    if (state.version === 1) return { ...state, units: state.units ?? (unit ? { [unit.uid]: unit } : {}) };
  } catch {
    // Said below, without the content.
  }
  throw new NusecError('STORE_DAMAGED', 'the memory of the programmer is damaged');
}

/** Units that may still be built, as the server counts them too: a scrapped unit takes one of the allowance, then one of the count. */
export function remainingUnits({ count, scrapAllowance, committed, scrapped, open, zeroised }: JobState): number {
  if (zeroised !== false) return 0;
  const taken = committed + open;
  return Math.max(0, Math.min(count - taken, count + scrapAllowance - taken - scrapped));
}

/** SHA-256 of the images of jobs that have not ended, hex. @param but a job that does not count */
export const neededImages = (jobs: NvmState['jobs'], but?: string): ReadonlySet<string> =>
  new Set(Object.values(jobs).flatMap(job => (job.jobId === but || job.zeroised !== false ? [] : job.images)));

export const withJob = (state: NvmState, job: JobState): NvmState => ({ ...state, jobs: { ...state.jobs, [job.jobId]: job } });

/** @throws NusecError NOT_FOUND */
export function jobOf(state: NvmState, jobId: string): JobState {
  const job = state.jobs[jobId];
  if (!job) throw new NusecError('NOT_FOUND', 'no package of this job was imported');
  return job;
}

export const withUnit = (state: NvmState, unit: UnitState): NvmState => ({ ...state, units: { ...state.units, [unit.uid]: unit } });

export const withUntold = (state: NvmState, unit: CommittedUnit): NvmState => ({
  ...state,
  untold: [...(state.untold ?? []), unit].slice(-maxUntold),
});

export function withoutUnit(state: NvmState, uid: string): NvmState {
  const { [uid]: _, ...units } = state.units;
  return { ...state, units };
}
