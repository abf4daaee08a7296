import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { EventToAppend, JsonObject } from '../../src/eventstore/port.ts';

let counter = 0;

/** Ids that sort by time, as UUIDv7 do. */
export function nextId(): string {
  return `01900000-0000-7000-8000-${String(++counter).padStart(12, '0')}`;
}

export function event(type: string, data: JsonObject = {}, id = nextId()): EventToAppend {
  return { type, id, at: '2026-01-02T03:04:05.678Z', by: 'system:test', data };
}

/** A folder that goes with the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
