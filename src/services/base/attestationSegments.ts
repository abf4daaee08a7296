import { randomBytes } from 'node:crypto';
import Database from 'better-sqlite3';
import { fromBase64url, fromHex, toBase64url, toHex, utf8 } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { translated } from '../../eventstore/storeError.ts';
import { transaction } from '../../sqliteFile.ts';
import { dayMs } from '../../times.ts';
import { type AttestationEntry, entryOf, inserting, type NewAttestation, numberOf, type Row, rowNumber } from './attestationLog.ts';

/** The log of attestations of several machines. A machine hands its rows on in segments: rows of one line and one day (UTC), numbered from 1 by the machine
 *  that made them, never changed. Each machine takes in the segments of the others in the order of their numbers, so that what a machine knows of another
 *  is told by one number. This is their side of `attestations.db`; attestationSharing.ts moves them. */

/** The machine that made it: the data folder, 32 hex. */
type Place = { readonly origin: string; readonly seq: number };
export type Segment = {
  readonly line: string;
  /** `YYYY-MM-DD` */
  readonly day: string;
  /** Its rows were sealed by their machine alone, before machines shared them. */
  readonly isSealed: boolean;
  readonly rows: readonly SharedRow[];
};
type SharedRow = NewAttestation & { readonly number: number };
export type KnownSegment = Place & { readonly id: number; readonly line: string; readonly day: string; readonly isSealed: boolean };
export type Unsent = Omit<Segment, 'isSealed'> & { readonly ids: readonly number[] };

export type AttestationSegments = {
  /** This machine. */
  origin(): string;
  /** This machine goes on under a new name, with numbers from 1. */
  renew(): void;
  /** Own rows of one line and day that no segment has yet, oldest first. */
  unsent(): Unsent | undefined;
  /** The newest segment of a machine that is known here; 0 before the first one. */
  taken(origin: string): number;
  /** Own rows are in this segment now. */
  sent(place: Place, segment: Segment, ids: readonly number[]): void;
  /** Takes in the next segment of a machine. Rows that are here already (of a backup that was put back, or sent by another process) are not doubled. */
  takeIn(place: Place, segment: Segment): void;
  ofLine(line: string): readonly KnownSegment[];
  /** Rows of segments, or own ones without any, in the order of their time; on every machine the same. */
  rowsOf(segments: readonly Pick<KnownSegment, 'id'>[]): Iterable<AttestationEntry>;
  /** Rows of a line and day that this machine made and that no segment has, or one that was sealed before. */
  ownRowsOf(line: string, day: string): Iterable<AttestationEntry>;
  /** It is in the object store no more. */
  drop(segment: Pick<KnownSegment, 'id'>): void;
  close(): void;
};

const schema = `
  CREATE TABLE IF NOT EXISTS machine (one INTEGER PRIMARY KEY CHECK (one = 1), origin TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS origins (origin TEXT PRIMARY KEY, taken INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, origin TEXT NOT NULL, seq INTEGER NOT NULL, line TEXT NOT NULL, day TEXT NOT NULL, sealed INTEGER NOT NULL,
    UNIQUE (origin, seq)
  ) STRICT;
  CREATE INDEX IF NOT EXISTS segments_line ON segments (line, day);
  CREATE INDEX IF NOT EXISTS attestations_unsent ON attestations (line, at) WHERE segment IS NULL;
  CREATE INDEX IF NOT EXISTS attestations_segment ON attestations (segment) WHERE segment IS NOT NULL`;
const originBytes = 16;
const busyTimeoutMs = 5000;
/** Of one segment. */
const [maxRows, maxBytes] = [500, 4 * 1024 * 1024];

type FullRow = Row & { readonly evidenceBytes: Buffer | null; readonly verdictBytes: Buffer | null };

/** @param file of openAttestationLog, which has been there before @throws as openAttestationLog */
export function openAttestationSegments(file: string): AttestationSegments {
  return translated(open(file), 'the log of attestations cannot be used');
}

function open(file: string): AttestationSegments {
  const db = new Database(file, { timeout: busyTimeoutMs });
  db.exec(schema);
  const newName = (): string => toHex(new Uint8Array(randomBytes(originBytes)));
  db.prepare('INSERT OR IGNORE INTO machine VALUES (1, ?)').run(newName());
  const name = db.prepare<string>('SELECT origin FROM machine').pluck();
  const rename = db.prepare('UPDATE machine SET origin = ?');
  const origin = (): string => name.get() as string;
  const full = 'SELECT a.*, p.evidence AS evidenceBytes, p.verdict AS verdictBytes FROM attestations a LEFT JOIN proofs p USING (id)';
  const oldest = db.prepare<{ readonly line: string; readonly at: number }>(
    'SELECT line, min(at) AS at FROM attestations WHERE segment IS NULL GROUP BY line LIMIT 1',
  );
  const unsent = db.prepare<FullRow>(
    `${full} WHERE segment IS NULL AND line = ? AND at >= ? AND at < ? ORDER BY at, a.id LIMIT ${maxRows}`,
  );
  const taken = db.prepare<number>('SELECT taken FROM origins WHERE origin = ?').pluck();
  const noteTaken = db.prepare('INSERT INTO origins VALUES (?, ?) ON CONFLICT DO UPDATE SET taken = max(taken, excluded.taken)');
  const add = db.prepare('INSERT INTO segments (origin, seq, line, day, sealed) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING');
  const find = db.prepare<number>('SELECT id FROM segments WHERE origin = ? AND seq = ?').pluck();
  const mark = db.prepare(`UPDATE attestations SET segment = ?, number = ? WHERE id = ? AND segment IS NULL`);
  const same = db.prepare<Row>(`SELECT * FROM attestations WHERE uid = ? AND ${numberOf} = ? AND nonce = ? AND at = ?`);
  const insert = inserting(db);
  const ofLine = db.prepare<Omit<KnownSegment, 'isSealed'> & { readonly sealed: number }>(
    'SELECT * FROM segments WHERE line = ? ORDER BY day, origin, seq',
  );
  const rows = db.prepare<Row>(
    'SELECT * FROM attestations WHERE segment IN (SELECT value FROM json_each(?)) ORDER BY at, nonce, uid, evidence',
  );
  const own = db.prepare<Row>(
    `SELECT a.* FROM attestations a LEFT JOIN segments s ON s.id = a.segment
     WHERE a.line = ? AND a.at >= ? AND a.at < ? AND (a.segment IS NULL OR (s.origin = ? AND s.sealed = 1)) ORDER BY a.at, a.id`,
  );
  const drop = db.prepare('DELETE FROM segments WHERE id = ?');

  /** @returns its id here */
  const note = ({ origin: from, seq }: Place, { line, day, isSealed }: Segment): number => {
    add.run(from, seq, line, day, isSealed ? 1 : 0);
    noteTaken.run(from, seq);
    return find.get(from, seq) as number;
  };
  return {
    origin,
    renew: () => void rename.run(newName()),
    unsent() {
      const first = oldest.get();
      if (first === undefined) return undefined;
      const startMs = Math.floor(first.at / dayMs) * dayMs;
      const found = withinBytes(unsent.all(first.line, startMs, startMs + dayMs));
      const day = new Date(startMs).toISOString().slice(0, 10);
      return { line: first.line, day, rows: found.map(sharedRow), ids: found.map(({ id }) => id) };
    },
    taken: from => taken.get(from) ?? 0,
    sent: (place, segment, ids) =>
      transaction(db, () => {
        const id = note(place, segment);
        for (const [i, { number }] of segment.rows.entries()) mark.run(id, number, ids[i] as number);
      }),
    takeIn: (place, segment) =>
      transaction(db, () => {
        const id = note(place, segment);
        for (const { number, ...row } of segment.rows) {
          const here = same.get(fromHex(row.uid), number, fromHex(row.nonceHex), row.atMs);
          if (here === undefined) insert(row, number, id);
          else mark.run(id, number, here.id);
        }
      }),
    ofLine: line => ofLine.all(line).map(({ sealed, ...known }) => ({ ...known, isSealed: sealed === 1 })),
    *rowsOf(segments) {
      for (const row of rows.iterate(JSON.stringify(segments.map(({ id }) => id)))) yield entryOf(row);
    },
    *ownRowsOf(line, day) {
      const from = Date.parse(day);
      for (const row of own.iterate(line, from, from + dayMs, origin())) yield entryOf(row);
    },
    drop: ({ id }) => void drop.run(id),
    close: () => void db.close(),
  };
}

function withinBytes(rows: readonly FullRow[]): readonly FullRow[] {
  let bytes = 0;
  const end = rows.findIndex(({ evidenceBytes, verdictBytes }) => {
    bytes += (evidenceBytes?.length ?? 0) + (verdictBytes?.length ?? 0);
    return bytes > maxBytes;
  });
  return end === -1 ? rows : rows.slice(0, Math.max(1, end));
}

function sharedRow(row: FullRow): SharedRow {
  const { evidenceSha256: _, verdictSha256: __, ...entry } = entryOf(row);
  return {
    ...entry,
    number: row.number ?? rowNumber(row.at, row.id),
    ...(row.evidenceBytes && { evidence: new Uint8Array(row.evidenceBytes) }),
    ...(row.verdictBytes && { verdict: new Uint8Array(row.verdictBytes) }),
  };
}

type Json = Omit<Segment, 'rows'> & {
  readonly rows: readonly (Omit<SharedRow, 'evidence' | 'verdict'> & { readonly evidence?: string; readonly verdict?: string })[];
};

/** JSON, with bytes as base64url. */
export const encodeSegment = ({ rows, ...segment }: Segment): Uint8Array =>
  utf8(
    JSON.stringify({
      ...segment,
      rows: rows.map(({ evidence, verdict, ...row }) => ({
        ...row,
        ...(evidence && { evidence: toBase64url(evidence) }),
        ...(verdict && { verdict: toBase64url(verdict) }),
      })),
    } satisfies Json),
  );

/** @param bytes that a server of the project has sealed @throws NusecError STORE_DAMAGED */
export function decodeSegment(bytes: Uint8Array): Segment {
  try {
    const { rows, ...segment } = JSON.parse(new TextDecoder().decode(bytes)) as Json;
    const read = rows.map(({ evidence, verdict, ...row }) => ({
      ...row,
      ...(evidence !== undefined && { evidence: fromBase64url(evidence) }),
      ...(verdict !== undefined && { verdict: fromBase64url(verdict) }),
    }));
    return { ...segment, rows: read };
  } catch (cause) {
    throw new NusecError('STORE_DAMAGED', 'a segment of attestations cannot be read', { cause });
  }
}
