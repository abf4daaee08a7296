import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { utf8 } from '../../../src/bytes.ts';
import { sha256Hex } from '../../../src/digest.ts';
import { type AttestationLog, type NewAttestation, openAttestationLog } from '../../../src/services/base/attestationLog.ts';

/** The log of attestations: a row and what it names come and go together. */

let folder: string;
let log: AttestationLog;
/** As another process at the same data folder. */
let other: AttestationLog;
const uid = 'aa'.repeat(16);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nusec-attestations-'));
  [log, other] = [openAttestationLog(join(folder, 'a.db')), openAttestationLog(join(folder, 'a.db'))];
});
afterEach(() => {
  log.close();
  other.close();
  rmSync(folder, { recursive: true });
});

const entry = (atMs: number, change: Partial<NewAttestation> = {}): NewAttestation => ({
  uid,
  line: 'meter',
  atMs,
  via: 'mqtt',
  nonceHex: 'bb'.repeat(32),
  result: 'passed',
  evidence: utf8(`evidence ${atMs}`),
  ...change,
});

it('keeps every attestation with its evidence and verdict, newest first, in pages, for all processes', async () => {
  for (const at of [1, 2, 3]) await log.add(entry(at, { via: 'gateway:g', verdict: utf8(`verdict ${at}`) }));
  await other.add(entry(4, { uid: 'cc'.repeat(16), result: 'unsupported', reason: 'too old', evidence: undefined }));
  const [third, second] = other.page(uid, { limit: 2 });
  expect([third?.atMs, second?.atMs]).toEqual([3, 2]);
  expect(third).toMatchObject({ uid, line: 'meter', via: 'gateway:g', nonceHex: 'bb'.repeat(32), result: 'passed' });
  expect(log.page(uid, { limit: 2, beforeId: second!.id }).map(({ atMs }) => atMs)).toEqual([1]);
  expect(log.kept(uid, third!.evidenceSha256!)).toEqual(utf8('evidence 3'));
  expect(log.kept(uid, third!.verdictSha256!)).toEqual(utf8('verdict 3'));
  expect(log.kept('cc'.repeat(16), third!.evidenceSha256!)).toBeUndefined();
  expect(log.page('cc'.repeat(16), { limit: 9 })).toEqual([expect.not.objectContaining({ evidenceSha256: expect.anything() })]);
});

it('knows when each device passed or failed last: what proves nothing does not count', async () => {
  await log.add(entry(5, { result: 'failed' }));
  await log.add(entry(9, { result: 'unproven' }));
  expect([...log.lastOf([uid, 'dd'.repeat(16)])]).toEqual([[uid, 5]]);
});

it('forgets what is older, with its evidence, of one line only', async () => {
  for (const at of [1, 2, 3]) await log.add(entry(at));
  await log.add(entry(1, { line: 'lamp' }));
  expect(log.forget('meter', 3)).toBe(2);
  expect(
    log
      .page(uid, { limit: 9 })
      .map(({ atMs }) => atMs)
      .sort(),
  ).toEqual([1, 3]);
  expect(log.kept(uid, sha256Hex(utf8('evidence 2')))).toBeUndefined();
  expect(log.kept(uid, sha256Hex(utf8('evidence 3')))).toBeDefined();
  expect(log.lines()).toEqual([
    { line: 'lamp', oldestMs: 1 },
    { line: 'meter', oldestMs: 3 },
  ]);
});

it('remembers the highest sequence of a gateway’s key, whichever process it came to', () => {
  const [key, another] = [Uint8Array.of(1), Uint8Array.of(2)];
  expect(log.lastSequence(key)).toBe(-1);
  log.noteSequence(key, 7);
  other.noteSequence(key, 3);
  for (const each of [log, other]) expect(each.lastSequence(key)).toBe(7);
  other.noteSequence(key, 8);
  expect(log.lastSequence(key)).toBe(8);
  expect(log.lastSequence(another)).toBe(-1);
});
