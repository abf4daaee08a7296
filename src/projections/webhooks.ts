import type { Kysely } from 'kysely';
import { on, type Projection } from './projection.ts';

/** How far each webhook is in the log, and the events that it could not deliver. */

export type WebhookProgressRow = { name: string; position: number };
/** `is_ordered`: somebody has asked for another attempt, which is still to come. */
export type DeadLetterRow = {
  name: string;
  position: number;
  event_id: string;
  event_type: string;
  attempts: number;
  failure: string;
  at: string;
  is_ordered: number;
};
export type WebhookTables = { webhook_progress: WebhookProgressRow; webhook_dead_letters: DeadLetterRow };

export const webhooks: Projection = {
  name: 'webhooks',
  version: 1,
  tables: ['webhook_progress', 'webhook_dead_letters'],
  schema: table => `
    CREATE TABLE ${table('webhook_progress')} (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE ${table('webhook_dead_letters')} (
      name TEXT NOT NULL, position INTEGER NOT NULL, event_id TEXT NOT NULL, event_type TEXT NOT NULL, attempts INTEGER NOT NULL,
      failure TEXT NOT NULL, at TEXT NOT NULL, is_ordered INTEGER NOT NULL, PRIMARY KEY (name, position)
    ) STRICT, WITHOUT ROWID;`,
  writer(db, table) {
    const [progress, letters] = [table('webhook_progress'), table('webhook_dead_letters')];
    const begin = db.prepare(`INSERT OR REPLACE INTO ${progress} VALUES (?, ?)`);
    const advance = db.prepare(`UPDATE ${progress} SET position = max(position, ?) WHERE name = ?`);
    const forget = [progress, letters].map(name => db.prepare(`DELETE FROM ${name} WHERE name = ?`));
    const keep = db.prepare(`INSERT OR REPLACE INTO ${letters} VALUES (?, ?, ?, ?, ?, ?, ?, 0)`);
    const end = db.prepare(`DELETE FROM ${letters} WHERE name = ? AND position = ?`);
    const order = db.prepare(`UPDATE ${letters} SET is_ordered = 1 WHERE name = ? AND position = ?`);
    const fail = db.prepare(`UPDATE ${letters} SET is_ordered = 0, attempts = attempts + 1, failure = ? WHERE name = ? AND position = ?`);
    return on({
      WebhookAdded: ({ data: { name, afterPosition } }) => begin.run(name, afterPosition),
      WebhookRemoved: ({ data: { name } }) => forget.map(each => each.run(name)),
      WebhookAdvanced: ({ data: { name, position } }) => advance.run(position, name),
      WebhookDeadLettered: ({ at, data: { name, position, eventId, eventType, attempts, failure } }) => {
        keep.run(name, position, eventId, eventType, attempts, failure, at);
        advance.run(position, name);
      },
      WebhookDeadLetterDelivered: ({ data: { name, position } }) => end.run(name, position),
      WebhookDeadLettersDropped: ({ data: { name, positions } }) => positions.map(position => end.run(name, position)),
      WebhookReplayOrdered: ({ data: { name, positions } }) => positions.map(position => order.run(name, position)),
      WebhookReplayFailed: ({ data: { name, position, failure } }) => fail.run(failure, name, position),
    });
  },
};

type DeadLetterPage = { readonly name: string; readonly after?: number | undefined; readonly limit: number };

export const webhookQueries = (db: Kysely<WebhookTables>) => ({
  progress: () => db.selectFrom('webhook_progress').selectAll().execute(),
  /** Oldest first. */
  deadLetters: ({ name, after = 0, limit }: DeadLetterPage) =>
    db
      .selectFrom('webhook_dead_letters')
      .selectAll()
      .where('name', '=', name)
      .where('position', '>', after)
      .orderBy('position')
      .limit(limit)
      .execute(),
  /** By webhook. */
  counts: () =>
    db
      .selectFrom('webhook_dead_letters')
      .select(({ fn }) => ['name', fn.countAll<number>().as('count')])
      .groupBy('name')
      .execute(),
});
