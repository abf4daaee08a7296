import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Patience } from '../../../gateway-device/programmer/patience.ts';
import type { ErrorCode } from '../../../src/errors.ts';
import { covers } from '../../support/covers.ts';
import { type Fault, failing } from '../../support/faults.ts';
import { endLine, startLineWithJob } from './line.ts';
import type { OemServer } from './oemServer.ts';
import { produce, startTarget, type TestProgrammer } from './programmerFixture.ts';

/** What is not the chip's fault is waited for: the server's trouble, and refusals that are not about the unit. */

let server: OemServer;
let programmer: TestProgrammer;
let jobId: string;

beforeAll(async () => {
  ({ server, programmer, jobId } = await startLineWithJob({ count: 300, scrapAllowance: 50 }));
});
afterAll(() => endLine({ server, programmer }));

const lastUnit = async () => (await server.units(jobId, programmer.uid)).at(-1);

/** Waits so often, and heals at the end. */
function patient(waits: number, heal: () => unknown = () => server.proxy.heal()): Patience {
  return {
    wait: async tries => {
      if (tries + 1 >= waits) await heal();
      return true;
    },
  };
}

const troubles: readonly (readonly [string, Fault])[] = [
  ['a full disk', { status: 503, code: 'STORE_UNAVAILABLE' }],
  ['an error inside', { status: 500, code: 'INTERNAL' }],
  ['read models that are behind', { status: 503, code: 'PROJECTION_BEHIND' }],
  ['a balancer without a server', { status: 502 }],
  ['an answer that is cut', { cutAtByte: 40 }],
  ['too many requests', { status: 429, code: 'RATE_LIMITED' }],
];
const calls = ['units', 'csr', 'bootloader', 'application-key', 'application', 'commit'];

describe('trouble of the server', () => {
  it.each(
    calls.flatMap((name, index) =>
      [index, index + 1].map(at => [name, ...(troubles[at % troubles.length] as (typeof troubles)[number])] as const),
    ),
  )('at %s, %s: the unit waits, says so and is committed (T33)', async (name, _, fault) => {
    covers('T33');
    const target = await startTarget();
    server.proxy.fail(failing(name, fault));
    const { code, steps } = await produce(programmer.core, target.addresses, undefined, patient(12));
    expect(code).toBe('OK');
    expect(steps.filter(step => / waiting [A-Z_]+: /.test(step))).toHaveLength(12);
    expect(steps.filter(step => step.includes('failed'))).toEqual([]);
    expect(await lastUnit()).toMatchObject({ outcome: 'committed' });
    await target.stop();
  });

  it.each(troubles)('%s past OTP costs no chip when the patience ends: the same call goes on later', async (_, fault) => {
    const target = await startTarget();
    server.proxy.fail(failing('application', fault));
    expect((await produce(programmer.core, target.addresses)).code).not.toBe('OK');
    expect(await lastUnit()).toMatchObject({ outcome: 'open' });
    server.proxy.heal();
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    await target.stop();
  });

  it('when a void is reported keeps the void until the server has it', async () => {
    const target = await startTarget();
    server.proxy.fail(call => {
      if (call.name === 'bootloader') return { status: 409, code: 'CONFLICT' };
      return call.name === 'void' ? { status: 503, code: 'STORE_UNAVAILABLE' } : undefined;
    });
    expect((await produce(programmer.core, target.addresses)).code).toBe('CONFLICT');
    expect(await lastUnit()).toMatchObject({ outcome: 'open' });
    server.proxy.heal();
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    expect((await server.units(jobId, programmer.uid)).slice(-2)).toMatchObject([
      { outcome: 'voided', scrap: false },
      { outcome: 'committed' },
    ]);
    await target.stop();
  });
});

describe('a refusal that is not about the unit', () => {
  it('a job that the OEM suspends past OTP: the unit waits until it is resumed (R100)', async () => {
    covers('R100');
    const target = await startTarget();
    let isSuspended = false;
    const onStep = (k: number, state: string): void => {
      if (k === 9 && state === 'done' && !isSuspended) isSuspended = true;
    };
    server.proxy.fail(call => {
      if (call.name === 'application') void server.suspend(jobId);
      return call.name === 'application' && isSuspended ? { delayMs: 200 } : undefined;
    });
    const resume = async (): Promise<void> => {
      server.proxy.heal();
      await server.resume(jobId);
    };
    const { code, steps } = await produce(programmer.core, target.addresses, onStep, patient(2, resume));
    expect(code).toBe('OK');
    expect(steps.some(step => step.startsWith('13 waiting JOB_NOT_RUNNING'))).toBe(true);
    expect(await lastUnit()).toMatchObject({ outcome: 'committed' });
    await target.stop();
  });

  it.each<readonly [ErrorCode, number]>([
    ['ALLOTMENT_FROZEN', 409],
    ['PROGRAMMER_NOT_ACTIVE', 403],
    ['RELEASE_STATE', 409],
    ['NOT_FOUND', 404],
    ['LEDGER_GAP', 409],
  ])('%s past OTP: the unit waits', async (refusal, status) => {
    const target = await startTarget();
    server.proxy.fail(failing('application', { status, code: refusal }));
    expect((await produce(programmer.core, target.addresses, undefined, patient(3))).code).toBe('OK');
    expect(await lastUnit()).toMatchObject({ outcome: 'committed' });
    await target.stop();
  });

  it('before there is a grant ends the run at once: nothing is lost', async () => {
    const target = await startTarget();
    await server.suspend(jobId);
    const waiting: Patience = { wait: () => Promise.reject(new Error('it waits')) };
    expect((await produce(programmer.core, target.addresses, undefined, waiting)).code).toBe('JOB_NOT_RUNNING');
    await server.resume(jobId);
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    await target.stop();
  });
});
