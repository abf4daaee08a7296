import Database from 'better-sqlite3';
import { fromHex, toHex } from '../../bytes.ts';
import { sha256 } from '../../digest.ts';
import { translated } from '../../eventstore/storeError.ts';
import type { NegotiatedView } from '../../spdm/policy.ts';
import { boundLimit, naming, transaction, useWal } from '../../sqliteFile.ts';
import { dayMs } from '../../times.ts';
import { writingTogether } from './together.ts';

/** The log of attestations (`attestations.db`): one row for each, with the evidence and the gateway's verdict beside it, so that anybody can be shown
 *  that a device passed on a day when nothing changed. Events record changes; this records every time. A row and what it names are stored and
 *  deleted together: nothing is left over. All processes at a data folder share it, machines exchange their rows (attestationSegments.ts); the seals of
 *  its days are events (proof/attestationSeals.ts). */

export type AttestationOutcome = 'passed' | 'failed' | 'unproven' | 'unsupported';

/** What the device has spoken, where it has signed. */
export type Spoken = {
  /** What device and verifier had agreed on in SPDM. */
  readonly negotiated?: NegotiatedView;
  readonly token?: TokenView;
};

/** A PSA attestation token, in words. */
export type TokenView = {
  readonly profile: string;
  /** `ES256` */
  readonly algorithm: string;
  readonly lifeCycle: string;
  /** Hex. */
  readonly implementationId: string;
  readonly instanceId: string;
};

export type AttestationEntry = Spoken & {
  readonly uid: string;
  readonly line: string;
  readonly atMs: number;
  /** `mqtt` or `gateway:{id}`. */
  readonly via: string;
  /** The server's, 32 bytes, hex: with it evidence is fresh without trust in the party that shows it. */
  readonly nonceHex: string;
  readonly result: AttestationOutcome;
  readonly reason?: string;
  readonly evidenceSha256?: string;
  /** Of the verdict that the gateway has signed. */
  readonly verdictSha256?: string;
};

export type NewAttestation = Omit<AttestationEntry, 'evidenceSha256' | 'verdictSha256'> & {
  readonly evidence?: Uint8Array | undefined;
  readonly verdict?: Uint8Array | undefined;
};

export type AttestationLog = {
  /** @returns when it is stored; rows that come within a moment are stored together */
  add(entry: NewAttestation): Promise<void>;
  /** Newest first, older than `beforeId`. An id is that of a row on every machine; a newer row of a device has a higher one. */
  page(
    uid: string,
    page: { readonly beforeId?: number | undefined; readonly limit: number },
  ): readonly (AttestationEntry & { readonly id: number })[];
  /** The last time that each of these devices passed or failed. */
  lastOf(uids: readonly string[]): ReadonlyMap<string, number>;
  /** How many devices of a line passed or failed since then. */
  attestedSince(line: string, sinceMs: number): number;
  /** How many attestations of a line had each result since then. */
  resultsSince(line: string, sinceMs: number): Readonly<Record<AttestationOutcome, number>>;
  /** Evidence or verdict of this device. */
  kept(uid: string, sha256: string): Uint8Array | undefined;
  /** Lines with attestations on this day or before, and their oldest one. */
  lines(): readonly { readonly line: string; readonly oldestMs: number }[];
  /** Of a line on a day (UTC), in the order of their time. @param day `YYYY-MM-DD` */
  ofDay(line: string, day: string): Iterable<AttestationEntry>;
  /** Deletes the oldest of what is older, with its evidence. @returns how many; as many as `maxForgotten`: there may be more */
  forget(line: string, beforeMs: number): number;
  /** The newest sequence of verdicts of a gateway's key; -1 before the first one. */
  lastSequence(keyId: Uint8Array): number;
  /** A verdict of this key has come, to any process; the newest sequence stays the highest. */
  noteSequence(keyId: Uint8Array, sequence: number): void;
  close(): void;
};

const schema = `
  CREATE TABLE IF NOT EXISTS attestations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, uid BLOB NOT NULL, line TEXT NOT NULL, via TEXT NOT NULL, nonce BLOB NOT NULL,
    result TEXT NOT NULL, reason TEXT, evidence BLOB, verdict BLOB, negotiated TEXT
  ) STRICT;
  CREATE INDEX IF NOT EXISTS attestations_uid ON attestations (uid, at);
  CREATE INDEX IF NOT EXISTS attestations_line ON attestations (line, at);
  CREATE TABLE IF NOT EXISTS proofs (id INTEGER PRIMARY KEY, evidence BLOB, verdict BLOB) STRICT;
  CREATE TABLE IF NOT EXISTS verdict_sequences (key_id BLOB PRIMARY KEY, sequence INTEGER NOT NULL) STRICT, WITHOUT ROWID`;
/** What later versions have added. `number` is the id of a row on all machines; rows of before have that of their machine until they are shared. `segment`
 *  is where a row was shared (attestationSegments.ts). */
const laterColumns = { negotiated: 'TEXT', number: 'INTEGER', segment: 'INTEGER' } as const;
export const numberOf = 'coalesce(number, id)';
const laterIndex = `CREATE UNIQUE INDEX IF NOT EXISTS attestations_number ON attestations (uid, ${numberOf})`;

/** Another process may be writing. */
const busyTimeoutMs = 5000;
/** Deleted in one transaction: meanwhile no process writes. */
export const maxForgotten = 10_000;

/** Rows of one device within a millisecond. */
const numbersPerMs = 1024;
/** The id of a row: by time, and beyond that by chance. @param chance a whole number */
export const rowNumber = (atMs: number, chance: number): number => atMs * numbersPerMs + (chance % numbersPerMs);

type Hashes = readonly [Uint8Array | null, Uint8Array | null];
export type Row = {
  readonly id: number;
  readonly number: number | null;
  readonly at: number;
  readonly uid: Buffer;
  readonly line: string;
  readonly via: string;
  readonly nonce: Buffer;
  readonly result: AttestationOutcome;
  readonly reason: string | null;
  readonly evidence: Buffer | null;
  readonly verdict: Buffer | null;
  readonly negotiated: string | null;
};

/** @param file made when it is missing @throws NusecError STORE_DAMAGED, STORE_FULL, STORE_UNAVAILABLE, as all of its functions */
export function openAttestationLog(file: string): AttestationLog {
  return translated(
    naming(file, 'put it back from a backup', () => open(file)),
    trouble,
  );
}

const trouble = 'the log of attestations cannot be used';

function open(file: string): AttestationLog {
  const db = new Database(file, { timeout: busyTimeoutMs });
  useWal(db);
  db.pragma('synchronous = NORMAL');
  transaction(db, () => {
    db.exec(schema);
    addColumns(db);
    db.exec(laterIndex);
  });
  const insert = inserting(db);
  const { store } = translated({ store: (entries: readonly NewAttestation[]) => transaction(db, () => entries.forEach(addOne)) }, trouble);
  const addOne = (entry: NewAttestation) => void insert(entry, rowNumber(entry.atMs, Number.parseInt(entry.nonceHex.slice(0, 8), 16)));
  const rows = writingTogether(store);
  const page = db.prepare<Row>(`SELECT * FROM attestations WHERE uid = ? AND ${numberOf} < ? ORDER BY ${numberOf} DESC ${boundLimit}`);
  // One call for a page of devices: each is one step down an index.
  const last = db.prepare<{ readonly uid: string; readonly at: number | null }>(
    `SELECT value AS uid, (SELECT max(at) FROM attestations WHERE uid = unhex(value) AND result IN ('passed', 'failed')) AS at FROM json_each(?)`,
  );
  const attested = db
    .prepare<number>(`SELECT count(DISTINCT uid) FROM attestations WHERE line = ? AND at >= ? AND result IN ('passed', 'failed')`)
    .pluck();
  const results = db.prepare<{ readonly result: AttestationOutcome; readonly count: number }>(
    'SELECT result, count(*) AS count FROM attestations WHERE line = ? AND at >= ? GROUP BY result',
  );
  const proof = db.prepare<{ readonly evidence: Buffer; readonly verdict: Buffer }>(
    'SELECT p.evidence, p.verdict FROM attestations a JOIN proofs p USING (id) WHERE a.uid = ? AND (a.evidence = ? OR a.verdict = ?)',
  );
  const lines = db.prepare<{ readonly line: string; readonly oldestMs: number }>(
    'SELECT line, min(at) AS oldestMs FROM attestations GROUP BY line ORDER BY line',
  );
  const ofDay = db.prepare<Row>('SELECT * FROM attestations WHERE line = ? AND at >= ? AND at < ? ORDER BY at, id');
  const old = 'SELECT id FROM attestations WHERE line = ? AND at < ? ORDER BY at LIMIT ?';
  const forgetProofs = db.prepare(`DELETE FROM proofs WHERE id IN (${old})`);
  const forget = db.prepare(`DELETE FROM attestations WHERE id IN (${old})`);
  const lastSequence = db.prepare<number>('SELECT sequence FROM verdict_sequences WHERE key_id = ?').pluck();
  const note = db.prepare(
    'INSERT INTO verdict_sequences VALUES (?, ?) ON CONFLICT DO UPDATE SET sequence = excluded.sequence WHERE excluded.sequence > sequence',
  );
  return {
    add: rows.add,
    page: (uid, { beforeId = Number.MAX_SAFE_INTEGER, limit }) =>
      page.all(fromHex(uid), beforeId, limit).map(row => ({ id: row.number ?? row.id, ...entryOf(row) })),
    lastOf: uids => new Map(last.all(JSON.stringify(uids)).flatMap(({ uid, at }) => (at === null ? [] : [[uid, at] as const]))),
    attestedSince: (line, sinceMs) => attested.get(line, sinceMs) ?? 0,
    resultsSince(line, sinceMs) {
      const counts = results.all(line, sinceMs).map(({ result, count }) => [result, count]);
      return { passed: 0, failed: 0, unproven: 0, unsupported: 0, ...Object.fromEntries(counts) };
    },
    kept(uid, sha256Hex) {
      const hash = fromHex(sha256Hex);
      const found = proof.get(fromHex(uid), hash, hash);
      const bytes =
        found && [found.evidence, found.verdict].find(candidate => candidate !== null && toHex(sha256(candidate)) === sha256Hex);
      return bytes ? new Uint8Array(bytes) : undefined;
    },
    lines: () => lines.all(),
    *ofDay(line, day) {
      const from = Date.parse(day);
      for (const row of ofDay.iterate(line, from, from + dayMs)) yield entryOf(row);
    },
    forget: (line, beforeMs) =>
      transaction(db, () => {
        forgetProofs.run(line, beforeMs, maxForgotten);
        return forget.run(line, beforeMs, maxForgotten).changes;
      }),
    lastSequence: keyId => lastSequence.get(keyId) ?? -1,
    noteSequence: (keyId, sequence) => void note.run(keyId, sequence),
    close() {
      rows.flush();
      db.close();
    },
  };
}

function addColumns(db: Database): void {
  const columns = db.pragma('table_info(attestations)') as readonly { readonly name: string }[];
  const missing = Object.entries(laterColumns).filter(([name]) => !columns.some(column => column.name === name));
  for (const [name, type] of missing) db.exec(`ALTER TABLE attestations ADD COLUMN ${name} ${type}`);
}

/** Inserts a row with what it names, under this number, or the next one that its device has not. @returns its id in this file */
export function inserting(db: Database): (entry: NewAttestation, number: number, segment?: number) => number {
  const columns = '(at, uid, line, via, nonce, result, reason, evidence, verdict, negotiated, segment, number)';
  const insert = db.prepare(`INSERT INTO attestations ${columns} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`);
  const insertProof = db.prepare('INSERT INTO proofs VALUES (?, ?, ?)');
  return ({ uid, line, atMs, via, nonceHex, result, reason, evidence, verdict, negotiated, token }, first, segment) => {
    const hashes: Hashes = [evidence ? sha256(evidence) : null, verdict ? sha256(verdict) : null];
    const spoken = negotiated ?? token;
    const agreed = spoken === undefined ? null : JSON.stringify(spoken);
    const row = [atMs, fromHex(uid), line, via, fromHex(nonceHex), result, reason ?? null, ...hashes, agreed, segment ?? null] as const;
    for (let number = first; ; number += 1) {
      const { changes, lastInsertRowid } = insert.run(...row, number);
      if (changes === 0) continue;
      if (evidence || verdict) insertProof.run(lastInsertRowid, evidence ?? null, verdict ?? null);
      return Number(lastInsertRowid);
    }
  };
}

export const entryOf = ({ at, uid, line, via, nonce, result, reason, evidence, verdict, negotiated }: Row): AttestationEntry => ({
  uid: toHex(uid),
  line,
  atMs: at,
  via,
  nonceHex: toHex(nonce),
  result,
  ...(reason !== null && { reason }),
  ...(evidence && { evidenceSha256: toHex(evidence) }),
  ...(verdict && { verdictSha256: toHex(verdict) }),
  ...(negotiated !== null && spokenIn(JSON.parse(negotiated))),
});

/** The column has the one or the other. */
const spokenIn = (view: NegotiatedView | TokenView): Spoken => ('profile' in view ? { token: view } : { negotiated: view });
