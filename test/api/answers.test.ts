import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openAnswers } from '../../src/api/answers.ts';
import { utf8 } from '../../src/bytes.ts';
import { dayMs } from '../../src/times.ts';

/** What is kept of requests with an Idempotency-Key, and its limit. */

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nusec-answers-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const file = () => join(folder, 'answers.db');
const request = (key: string) => ({ person: 'pia', key, target: 'POST /v1/jobs', body: utf8(''), isKept: true });
const created = async () => new Response('{}', { status: 201 });
const refused = async () => new Response('{}', { status: 404 });

/** Rows that are there, and rows that are counted. */
function rows(): readonly unknown[] {
  const db = new Database(file());
  try {
    return [db.prepare('SELECT count(*) FROM answers').pluck().get(), db.prepare('SELECT rows FROM kept').pluck().get()];
  } finally {
    db.close();
  }
}

it('counts what is kept, not what was refused, repeated or is older than a day', async () => {
  let now = 0;
  const answers = openAnswers(file(), () => now);
  for (const key of ['a', 'b', 'b']) await answers.once(request(key), created);
  await answers.once(request('c'), refused);
  expect(rows()).toEqual([2, 2]);
  now = dayMs + 1;
  await answers.once(request('d'), created);
  await answers.close();
  expect(rows()).toEqual([1, 1]);
});

it('counts once what a file of before has without a count', async () => {
  const answers = openAnswers(file(), () => 0);
  for (const key of ['a', 'b', 'c']) await answers.once(request(key), created);
  await answers.close();
  const db = new Database(file());
  db.exec('DROP TRIGGER answer_begun; DROP TRIGGER answer_forgotten; DROP TABLE kept');
  db.close();
  for (let opened = 0; opened < 2; opened += 1) await openAnswers(file(), () => 0).close();
  expect(rows()).toEqual([3, 3]);
});

it('refuses a new request when it is full, and still repeats the answers it has', async () => {
  const answers = openAnswers(file(), () => 0);
  await answers.once(request('known'), created);
  const db = new Database(file());
  db.exec('UPDATE kept SET rows = 100000');
  db.close();
  await expect(answers.once(request('a'), created)).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  expect((await answers.once(request('known'), created)).headers.get('Idempotent-Replay')).toBe('true');
  await answers.close();
});
