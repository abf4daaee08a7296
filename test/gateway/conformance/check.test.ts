import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openBench } from '../../../src/gateway/conformance/bench.ts';
import { type CheckResult, runChecks } from '../../../src/gateway/conformance/checks.ts';
import { openCheckPki } from '../../../src/gateway/conformance/testPki.ts';
import { codeOf } from '../../pki/support.ts';
import { type Fault, startFirmware } from './device.ts';

/** `nusec device check` against firmware that does as the contract wants, and against firmware with one fault each. */

const uid = '00112233445566778899aabbccddeeff';

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-check-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'check');
}

/** @param times short where the fault is that nothing comes */
async function check(
  fault?: Fault,
  times = { connectMs: 60_000, answerMs: 30_000, quietMs: 500 },
  evidence: 'spdm' | 'psa-token' = 'spdm',
): Promise<readonly CheckResult[]> {
  const folder = temporaryFolder();
  const pki = await openCheckPki(folder, uid, 'localhost');
  const bench = await openBench(pki, { host: '127.0.0.1', port: 0 });
  const client = startFirmware(pki, folder, bench.port, fault);
  try {
    return await runChecks({ bench, pki, times, evidence });
  } finally {
    await client.close();
    await bench.close();
  }
}
const failedIn = (results: readonly CheckResult[]): string[] =>
  results.filter(({ verdict }) => verdict === 'failed').map(({ name }) => name);

it('passes firmware that does as the contract wants', async () => {
  const results = await check();
  expect(results.map(({ name, verdict, detail }) => (verdict === 'passed' ? '' : `${name}: ${detail}`)).filter(Boolean)).toEqual([]);
  expect(results).toHaveLength(8);
});

it('passes firmware that signs in software and asks to be waited for', async () => {
  const results = await check('slow');
  expect(results.map(({ name, verdict, detail }) => (verdict === 'passed' ? '' : `${name}: ${detail}`)).filter(Boolean)).toEqual([]);
});

it('passes firmware that gives tokens, and finds one that signs with another key', async () => {
  const wordsOf = (results: readonly CheckResult[]) => results.map(({ verdict, name }) => `${name}: ${verdict}`);
  const times = { connectMs: 60_000, answerMs: 30_000, quietMs: 500 };
  const good = await check(undefined, times, 'psa-token');
  expect(failedIn(good), wordsOf(good).join()).toEqual([]);
  expect(failedIn(await check('wrongKey', times, 'psa-token'))).toEqual(['proves its identity and state']);
});

describe('finds firmware', () => {
  const short = { connectMs: 60_000, answerMs: 300, quietMs: 500 };
  it.each<[string, Fault, readonly string[], typeof short | undefined]>([
    ['that says no hello', 'silent', ['says hello first'], short],
    ['that says hello for another registration', 'otherObjId', ['says hello first'], undefined],
    ['whose answer changes when it is asked again', 'otherAnswer', ['answers a repeated request with the same bytes'], undefined],
    ['that signs with another key', 'wrongKey', ['proves its identity and state'], undefined],
    ['that carries out what nobody signed', 'obeys', ['refuses an order that is not signed'], undefined],
    [
      'that does not come back',
      'deaf',
      ['comes back, after a wait', 'sends again what was not acknowledged'],
      { ...short, connectMs: 3_000, answerMs: 30_000 },
    ],
  ])('%s', async (_name, fault, failed, times) => {
    expect(failedIn(await check(fault, times))).toEqual(failed);
  });
});

it('says what a device is refused for, and runs nothing else', async () => {
  const folder = temporaryFolder();
  const pki = await openCheckPki(folder, uid, 'localhost');
  const other = temporaryFolder();
  const foreign = await openCheckPki(other, uid, 'localhost');
  const bench = await openBench(pki, { host: '127.0.0.1', port: 0 });
  // It trusts this broker, and shows the certificate of another check.
  const client = startFirmware({ ...foreign, rootPem: pki.rootPem }, other, bench.port);
  const results = await runChecks({
    bench,
    pki,
    times: { connectMs: 3_000, answerMs: 300, quietMs: 100 },
    evidence: 'spdm',
  });
  await client.close();
  await bench.close();
  expect(results[0]).toMatchObject({ name: 'connects', verdict: 'failed', detail: expect.stringContaining('AUTH_ERROR: CHAIN_REFUSED') });
  expect(results.slice(1).every(({ verdict }) => verdict === 'not run')).toBe(true);
});

it('keeps its keys to its owner, and its folder to one device', async () => {
  const folder = temporaryFolder();
  const pki = await openCheckPki(folder, uid, '127.0.0.1');
  expect(statSync(join(folder, 'device.key')).mode & 0o777).toBe(0o600);
  expect(await openCheckPki(folder, undefined, 'localhost')).toEqual(pki);
  expect(await codeOf(() => openCheckPki(folder, 'f'.repeat(32), 'localhost'))).toBe('CONFLICT');
  expect(await codeOf(() => openCheckPki(`${folder}-other`, undefined, 'localhost'))).toBe('BAD_REQUEST');
});
