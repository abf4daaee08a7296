import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import Database from 'better-sqlite3';
import { fromHex, toHex, utf8 } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { SubjectKind } from '../../domain/subjects.ts';
import { NusecError } from '../../errors.ts';
import { type Subject, subjectId } from '../../evidence/personalSeal.ts';
import type { Keystore } from '../../keystore/port.ts';
import { checkOwnerOnly, secretFileMode } from '../../keystore/secretFile.ts';
import { standingKey } from '../../keystore/standingKey.ts';
import { ivBytes, openBox, sealBox } from '../../sealedBox.ts';
import { useWal } from '../../sqliteFile.ts';
import type { KnownSubject, Subjects } from '../base/subjectRegistry.ts';

/** The data keys of the people in the log: one SQLite file beside it, `subjects.db`. A row is sealed under a key that only the keystore gives:
 *
 *  sealed = box of the JSON of name, salt, key, with the id as associated data (sealedBox.ts) · tag = HMAC-SHA-256 of kind ":" name
 *
 *  A row that is deleted is overwritten, and the log of the file is emptied. Several processes may hold it open. */

const schema = `
  CREATE TABLE IF NOT EXISTS subject (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, tag BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL, since TEXT NOT NULL
  ) STRICT, WITHOUT ROWID`;
const message = utf8('nusec subject keys v1');
/** Another process may be committing. */
const busyTimeoutMs = 5000;
const [saltBytes, keyBytes] = [16, 32];

export type SubjectRow = {
  readonly id: string;
  readonly kind: SubjectKind;
  readonly tag: Uint8Array;
  readonly sealed: Uint8Array;
  readonly since: string;
};

/** Of this machine alone. */
export type LocalSubjects = Subjects & {
  /** A new row for this name, which is not stored yet. */
  draft(kind: SubjectKind, name: string): SubjectRow;
  rows(): readonly SubjectRow[];
  /** Takes over a row of another machine. @throws NusecError KEYSTORE_DAMAGED */
  adopt(row: SubjectRow): void;
};

/** For servers on several machines: sharedSubjects.ts.
 *  @param now RFC 3339 UTC
 *  @throws NusecError KEYSTORE_PERMISSIONS, KEYSTORE_DAMAGED (no such file, or of another or an older keystore) */
export async function openSubjects(file: string, keystore: Keystore, now: () => string): Promise<LocalSubjects> {
  const { key } = await standingKey(keystore, 'subjects', message);
  const db = openFile(file);
  try {
    return registry(db, sealing(key), now);
  } catch (error) {
    db.close();
    throw error instanceof NusecError ? error : notOfPeople(file, error);
  }
}

const notOfPeople = (file: string, cause: unknown): NusecError =>
  new NusecError('KEYSTORE_DAMAGED', `${file} does not hold the keys of people`, { cause });

function registry(db: Database, box: Box, now: () => string): LocalSubjects {
  const insert = db.prepare('INSERT INTO subject VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING');
  const byTag = db.prepare<SubjectRow>('SELECT * FROM subject WHERE tag = ?');
  const row = db.prepare<SubjectRow>('SELECT * FROM subject WHERE id = ?');
  const rows = db.prepare<SubjectRow>('SELECT * FROM subject ORDER BY since, id');
  const remove = db.prepare('DELETE FROM subject WHERE id = ?');
  const ids = new Map<string, Subject>();
  /** By kind and name. */
  const names = new Map<string, Subject>();
  /** Whoever has no row has none for good: an id is used after its row was stored. */
  const gone = new Set<string>();
  const remember = (subject: Subject): Subject => {
    ids.set(subject.id, subject);
    names.set(`${subject.kind}:${subject.name}`, subject);
    return subject;
  };
  const find = (kind: SubjectKind, name: string): Subject | undefined => {
    const known = names.get(`${kind}:${name}`);
    if (known !== undefined) return known;
    const stored = byTag.get(box.tag(kind, name));
    return stored && remember(box.open(stored));
  };
  const draft = (kind: SubjectKind, name: string): SubjectRow => {
    const salt = new Uint8Array(randomBytes(saltBytes));
    const made = { id: subjectId(salt, kind, name), kind, name, salt, key: new Uint8Array(randomBytes(keyBytes)) };
    return { id: made.id, kind, tag: box.tag(kind, name), sealed: box.seal(made), since: now() };
  };
  const forget = (id: string): void => {
    const known = ids.get(id);
    if (known !== undefined) names.delete(`${known.kind}:${known.name}`);
    ids.delete(id);
    gone.add(id);
  };
  for (const each of rows.all()) remember(box.open(each));
  return {
    find,
    of(kind, name) {
      const known = find(kind, name);
      if (known !== undefined) return known;
      const { id, tag, sealed, since } = draft(kind, name);
      insert.run(id, kind, tag, sealed, since);
      // Of two processes that make one, the first one's counts.
      return find(kind, name) as Subject;
    },
    byId(id) {
      const known = ids.get(id);
      if (known !== undefined || gone.has(id)) return known;
      const stored = row.get(id);
      if (stored === undefined) gone.add(id);
      return stored && remember(box.open(stored));
    },
    list: () => rows.all().map((each): KnownSubject => ({ id: each.id, kind: each.kind, name: box.open(each).name, since: each.since })),
    draft,
    rows: () => rows.all(),
    adopt(stored) {
      const subject = box.open(stored);
      insert.run(stored.id, stored.kind, stored.tag, stored.sealed, stored.since);
      gone.delete(stored.id);
      remember(subject);
    },
    async destroy(id) {
      const stored = row.get(id);
      forget(id);
      if (stored === undefined) return undefined;
      const keySha256 = sha256Hex(box.open(stored).key);
      remove.run(id);
      db.pragma('wal_checkpoint(TRUNCATE)');
      return keySha256;
    },
    async refresh() {
      const stored = new Set(rows.all().map(({ id }) => id));
      for (const id of ids.keys()) if (!stored.has(id)) forget(id);
    },
    close: () => void db.close(),
  };
}

type Box = {
  tag(kind: SubjectKind, name: string): Uint8Array;
  seal(subject: Subject): Uint8Array;
  /** @throws NusecError KEYSTORE_DAMAGED */
  open(row: Pick<SubjectRow, 'id' | 'kind' | 'sealed'>): Subject;
};

function sealing(secret: Uint8Array): Box {
  const derived = (info: string): Uint8Array => new Uint8Array(hkdfSync('sha256', secret, new Uint8Array(), info, keyBytes));
  const [rowKey, tagKey] = [derived('row'), derived('tag')];
  return {
    tag: (kind, name) => new Uint8Array(createHmac('sha256', tagKey).update(`${kind}:${name}`).digest()),
    seal({ id, name, salt, key }) {
      return sealBox(rowKey, randomBytes(ivBytes), utf8(id), utf8(JSON.stringify([name, toHex(salt), toHex(key)])));
    },
    open({ id, kind, sealed }) {
      const text = openBox(rowKey, utf8(id), sealed);
      if (text === undefined) {
        const hint = 'put subjects.db and the keystore back together';
        throw new NusecError('KEYSTORE_DAMAGED', `the key of a person does not open: the keystore is another or an older one; ${hint}`);
      }
      const [name, salt, key] = JSON.parse(new TextDecoder().decode(text)) as [string, string, string];
      return { id, kind, name, salt: fromHex(salt), key: fromHex(key) };
    },
  };
}

function openFile(file: string): Database {
  // SQLite gives its log files the rights of the database.
  closeSync(openSync(file, 'a', secretFileMode));
  checkOwnerOnly(file);
  const db = new Database(file, { timeout: busyTimeoutMs });
  try {
    useWal(db);
    db.pragma('synchronous = FULL');
    db.pragma('secure_delete = ON');
    db.exec(schema);
    return db;
  } catch (cause) {
    db.close();
    throw notOfPeople(file, cause);
  }
}
