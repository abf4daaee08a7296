import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished, vi } from 'vitest';
import { openTokenUse } from '../../../src/services/administration/tokenUse.ts';
import { minuteMs } from '../../../src/times.ts';

it('refuses nobody whose use cannot be written, such as on a full disk', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-token-use-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'tokens.db');
  const failed = vi.fn();
  let nowMs = Date.parse('2026-01-01T00:00:00Z');
  const use = openTokenUse(file, () => nowMs, failed);
  const other = new Database(file);
  other.exec("CREATE TRIGGER full BEFORE INSERT ON token_use BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END");
  use.used('aa');
  expect([failed.mock.calls.length, use.last('aa')]).toEqual([1, undefined]);
  other.exec('DROP TRIGGER full');
  other.close();
  nowMs += minuteMs;
  use.used('aa');
  expect([failed.mock.calls.length, use.last('aa')]).toEqual([1, '2026-01-01T00:01:00.000Z']);
  await use.close();
});
