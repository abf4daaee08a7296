import { concat, equalBytes, utf8 } from '../bytes.ts';
import { sha256 } from '../digest.ts';
import { NusecError } from '../errors.ts';
import { storeError } from '../eventstore/storeError.ts';
import { openShared } from '../sqliteFile.ts';
import { dayMs } from '../times.ts';

/** Answers to requests that carry an `Idempotency-Key`, kept for a day: the same request again gets the same answer, and nothing is done twice. In a
 *  file of its own, for all server processes of a machine; it can be deleted. Between machines: sharedAnswers.ts. A request that was cut off is never done again by itself: nobody knows. */

export type Answers = {
  /** Does a request once. @throws NusecError IDEMPOTENCY_KEY_REUSED (another request), CONFLICT (under way, cut off, or not kept) */
  once(request: KeyedRequest, work: () => Promise<Response>): Promise<Response>;
  close(): Promise<void>;
};

export type KeyedRequest = {
  readonly person: string;
  readonly key: string;
  /** Method, path and query. */
  readonly target: string;
  readonly body: Uint8Array;
  /** Whether the answer may be written down; one with a token may not. */
  readonly isKept: boolean;
};

/** Larger answers are not kept. */
const maxKeptBytes = 1024 * 1024;
const maxRows = 100_000;

/** `kept` counts the rows, so that no request has to. */
const tables = `
  CREATE TABLE IF NOT EXISTS answers
    (id BLOB PRIMARY KEY, request BLOB NOT NULL, status INTEGER, headers TEXT, body BLOB, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS answers_at ON answers (at);
  CREATE TABLE IF NOT EXISTS kept (one INTEGER PRIMARY KEY CHECK (one = 1), rows INTEGER NOT NULL) STRICT;
  INSERT OR IGNORE INTO kept SELECT 1, count(*) FROM answers;
  CREATE TRIGGER IF NOT EXISTS answer_begun AFTER INSERT ON answers BEGIN UPDATE kept SET rows = rows + 1; END;
  CREATE TRIGGER IF NOT EXISTS answer_forgotten AFTER DELETE ON answers BEGIN UPDATE kept SET rows = rows - 1; END;`;

/** Null: not answered yet; an answer without a body is not shown again. */
export type KeptAnswer = {
  readonly request: Uint8Array;
  readonly status: number | null;
  readonly headers: string | null;
  readonly body: Uint8Array | null;
};

/** @param now milliseconds since 1970 @throws NusecError STORE_DAMAGED */
export function openAnswers(file: string, now: () => number): Answers {
  // FULL: a request that was begun is known after a power cut too.
  const remedy = 'delete it while no server runs; a request of the last day that is repeated is then a new one';
  const db = openShared(file, { tables, synchronous: 'FULL', secureDelete: true, remedy });
  const forget = db.prepare('DELETE FROM answers WHERE at < ?');
  const begin = db.prepare('INSERT OR IGNORE INTO answers (id, request, at) VALUES (?, ?, ?)');
  const find = db.prepare<KeptAnswer>('SELECT * FROM answers WHERE id = ?');
  const count = db.prepare<{ rows: number }>('SELECT rows FROM kept');
  const finish = db.prepare('UPDATE answers SET status = ?, headers = ?, body = ? WHERE id = ?');
  const undo = db.prepare('DELETE FROM answers WHERE id = ?');

  /** @returns false when there is one under this id @throws NusecError STORE_FULL and others: then nothing is done */
  const isBegun = (id: Uint8Array, request: Uint8Array): boolean => {
    try {
      forget.run(now() - dayMs);
      return begin.run(id, request, now()).changes === 1;
    } catch (error) {
      throw storeError(error, 'the request could not be noted');
    }
  };
  /** What became of a request counts, also when the disk has no room to note it: asked again, it is one that was cut off. */
  const note = (work: () => unknown): void => {
    try {
      work();
    } catch {
      // The request itself has an answer.
    }
  };
  const keep = async (id: Uint8Array, response: Response, isKept: boolean): Promise<void> => {
    // Refused: nothing was done, and the same request may be made again.
    if (response.status >= 400) return note(() => undo.run(id));
    const { status, headers, body } = await keptOf(response, isKept);
    note(() => finish.run(status, headers, body, id));
  };

  return {
    async once(keyed, work) {
      const id = sha256(utf8(idOf(keyed)));
      const request = requestHash(keyed);
      if (!isBegun(id, request)) return replay(find.get(id), request);
      try {
        if ((count.get()?.rows ?? 0) > maxRows)
          throw new NusecError('RATE_LIMITED', 'too many requests with an Idempotency-Key within a day');
        const response = await work();
        await keep(id, response, keyed.isKept);
        return response;
      } catch (error) {
        note(() => undo.run(id));
        throw error;
      }
    },
    close: async () => void db.close(),
  };
}

/** Who asks under which key. */
export const idOf = ({ person, key }: KeyedRequest): string => JSON.stringify([person, key]);

export const requestHash = ({ target, body }: KeyedRequest): Uint8Array => sha256(concat(utf8(`${target}\n`), sha256(body)));

/** What is kept of an answer. */
export async function keptOf(response: Response, isKept: boolean): Promise<Omit<KeptAnswer, 'request'>> {
  const body = new Uint8Array(await response.clone().arrayBuffer());
  const type = response.headers.get('Content-Type');
  const headers = JSON.stringify(type === null ? {} : { 'Content-Type': type });
  return { status: response.status, headers, body: isKept && body.length <= maxKeptBytes ? body : null };
}

/** @throws NusecError as Answers.once */
export function replay(kept: KeptAnswer | undefined, request: Uint8Array): Response {
  if (kept === undefined || !equalBytes(kept.request, request))
    throw new NusecError('IDEMPOTENCY_KEY_REUSED', 'this Idempotency-Key came with another request');
  if (kept.status === null) throw new NusecError('CONFLICT', 'this request is under way, or was cut off: look whether it was done');
  if (kept.body === null) throw new NusecError('CONFLICT', 'this request was answered; the answer is not shown again');
  const headers = { ...(JSON.parse(kept.headers ?? '{}') as Record<string, string>), 'Idempotent-Replay': 'true' };
  return new Response(kept.body.length === 0 ? null : new Uint8Array(kept.body), { status: kept.status, headers });
}
