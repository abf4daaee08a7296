import type { Finding } from './reconciliation.ts';

/** Compares a programmer's own ledger with what the server recorded of each unit: both must agree, record by record and
 *  in both directions (I14, T1, T19). Pure; the caller has verified signatures and chain. */

/** A ledger record as far as it counts; ids and hashes in hex. */
export type CountingRecord = {
  readonly number: number;
  readonly type: 'import' | 'reserve' | 'commit' | 'void' | 'zeroise' | 'boot';
  readonly uid?: string;
  readonly grantId?: string;
  readonly receiptSha256?: string;
  readonly remaining?: number;
  /** Of a void. */
  readonly scrap?: boolean;
};

/** A reservation as the server recorded it. */
export type RecordedUnit = {
  readonly uid: string;
  readonly grantId: string;
  /** Of the reserve record it was granted for. */
  readonly ledgerNumber: number;
  readonly outcome: 'open' | 'committed' | 'voided';
  readonly receiptSha256?: string;
  /** Voided as scrap. */
  readonly scrapped?: boolean;
  /** Its bootloader was given out: whether its key was burned only the chip could prove. */
  readonly hasBootloader?: boolean;
};

/** One reservation in the ledger, with the records that end it. */
type Reservation = { readonly uid: string; readonly number: number; readonly ends: CountingRecord[] };

/** Findings named one by one for one programmer; the rest is counted in one. */
export const maxNamedFindings = 1000;

/** @returns nothing when ledger and server agree on every unit, on the order of the records and on the units left after each of them */
export function compareLedger(programmer: string, records: readonly CountingRecord[], units: readonly RecordedUnit[]): readonly Finding[] {
  const findings: Finding[] = [];
  const add = (kind: Finding['kind'], detail: string, uid?: string): void =>
    void findings.push({ kind, programmer, detail, ...(uid !== undefined && { uid }) });
  const reservations = readReservations(records, detail => add('ledger-order', detail));
  checkRemaining(records, detail => add('ledger-order', detail));
  const granted = new Map(units.map(unit => [unit.ledgerNumber, unit]));
  for (const unit of units) {
    const reservation = reservations.get(unit.ledgerNumber);
    const problem = reservation?.uid === unit.uid ? outcomeProblem(unit, reservation) : 'granted, but the ledger has no such reservation';
    if (problem !== undefined) add('unit-mismatch', problem, unit.uid);
    else if (unit.outcome === 'open') add('open-units', 'neither committed nor voided', unit.uid);
  }
  for (const { uid, number, ends } of reservations.values()) {
    if (granted.has(number)) continue;
    if (ends.length === 0) add('unit-mismatch', 'the ledger reserves it and never ends it; the server never granted it', uid);
    if (ends.some(({ type }) => type === 'commit')) add('unit-mismatch', 'the ledger commits it, the server never granted it', uid);
  }
  return named(findings, programmer);
}

function named(findings: readonly Finding[], programmer: string): readonly Finding[] {
  if (findings.length <= maxNamedFindings) return findings;
  const rest = findings.length - maxNamedFindings;
  return [...findings.slice(0, maxNamedFindings), { kind: 'unit-mismatch', programmer, detail: `${rest} further findings` }];
}

/** Each end belongs to the newest reservation of its chip. @returns reservations by the number of their record */
function readReservations(records: readonly CountingRecord[], fault: (detail: string) => void): ReadonlyMap<number, Reservation> {
  const byNumber = new Map<number, Reservation>();
  const newest = new Map<string, Reservation>();
  for (const record of records) {
    const { number, type, uid = '' } = record;
    const before = newest.get(uid);
    if (type === 'reserve') {
      if (before?.ends.length === 0) fault(`record ${number} reserves ${uid} again before it was ended`);
      const reservation = { uid, number, ends: [] };
      byNumber.set(number, reservation);
      newest.set(uid, reservation);
    } else if (type === 'commit' || type === 'void') {
      if (before === undefined) fault(`record ${number} ends ${uid}, which was not reserved`);
      else if (before.ends.some(end => end.type === type || end.type === 'void')) fault(`record ${number} ends ${uid} a second time`);
      before?.ends.push(record);
    }
  }
  return byNumber;
}

/** A void may follow a commit that the server refused; then the void counts. */
function outcomeProblem(unit: RecordedUnit, { ends }: Reservation): string | undefined {
  const { outcome, grantId, receiptSha256 } = unit;
  const last = ends.at(-1);
  if (outcome === 'open') return last === undefined ? undefined : `the ledger has its ${last.type}, the server neither`;
  if (last === undefined) return `${outcome}, but the ledger never ends it`;
  if (outcome === 'voided') return last.type === 'void' ? scrapProblem(unit, last) : 'voided, but the ledger commits it';
  if (last.type === 'void') return 'committed, but the ledger voids it';
  if (last.grantId !== grantId) return 'committed, but the ledger commits another grant';
  return last.receiptSha256 === receiptSha256 ? undefined : 'committed, but the ledger names another receipt';
}

/** The server is right about a begun unit: it counts as scrap what the ledger does, and what got a bootloader; nothing else. */
function scrapProblem({ scrapped, hasBootloader }: RecordedUnit, { scrap }: CountingRecord): string | undefined {
  if (scrap === true && scrapped !== true) return 'the ledger scraps it, the server gave its unit back';
  if (scrap === false && scrapped === true && hasBootloader !== true)
    return 'scrapped, but by the ledger nothing was burned, and it never got a bootloader';
  return undefined;
}

/** The most that may be left after a record, from what was left before. A void gives its unit back, unless it was scrap beyond the allowance;
 *  what the server scrapped besides takes more. */
const mostAfter: Readonly<Record<CountingRecord['type'], (before: number) => number | undefined>> = {
  import: () => undefined,
  boot: () => undefined,
  reserve: before => Math.max(0, before - 1),
  commit: before => before,
  void: before => before + 1,
  zeroise: () => 0,
};

function checkRemaining(records: readonly CountingRecord[], fault: (detail: string) => void): void {
  let before: number | undefined;
  let isOver = false;
  for (const { number, type, remaining } of records) {
    const most = before === undefined ? undefined : mostAfter[type](before);
    if (most !== undefined && remaining !== undefined && remaining > most) {
      fault(`record ${number} leaves ${remaining} units after a ${type}; before it were ${before}`);
    }
    if (isOver && ['reserve', 'commit', 'void'].includes(type)) fault(`record ${number} follows the end of the job and is a ${type}`);
    isOver = type === 'zeroise' || (isOver && type !== 'import');
    before = remaining ?? before;
  }
}
