import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../../src/bytes.ts';
import { covers } from '../../support/covers.ts';
import { failing } from '../../support/faults.ts';
import { endLine, startLineWithJob } from './line.ts';
import type { OemServer } from './oemServer.ts';
import { freshId, newTargetStorage, produce, startProgrammer, startTarget, type TestProgrammer } from './programmerFixture.ts';

/** Cuts of every kind at every step: the programmer's power, lost calls, lost answers, the target's power. */

let server: OemServer;
let programmer: TestProgrammer;
let jobId: string;

beforeAll(async () => {
  ({ server, programmer, jobId } = await startLineWithJob({ count: 500, scrapAllowance: 500 }));
});
afterAll(() => endLine({ server, programmer }));

const units = () => server.units(jobId, programmer.uid);
const lastUnit = async () => (await units()).at(-1);
const outcomesOf = async (uid: Uint8Array): Promise<readonly string[]> =>
  (await units()).filter(unit => unit.uid === toHex(uid)).map(unit => unit.outcome);

class Cut extends Error {}

/** The programmer stops for good at this moment: nothing of the run goes on, only its memory is left. */
const cutAt = (step: number, moment: string) => (k: number, state: string) => {
  if (k === step && state === moment) throw new Cut();
};

describe('after a power cut of the programmer', () => {
  const steps = Array.from({ length: 15 }, (_, index) => index + 2);
  it.each(steps)('before step %i: the same call goes on, with exactly one commit (T33)', async k => {
    covers('T33');
    const target = await startTarget();
    await expect(produce(programmer.core, target.addresses, cutAt(k, 'begin'))).rejects.toThrow(Cut);
    await programmer.stop();
    programmer = await startProgrammer(programmer.folder);
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    expect(await outcomesOf(target.uid)).toEqual(['committed']);
    await target.stop();
  });
});

describe('after a power cut just before its memory is written', () => {
  /** The nth write does not happen any more: what was done before it is done, and not remembered. */
  const cutBeforeWrite = (core: TestProgrammer['core'], nth: number) => {
    let writes = 0;
    const update: typeof core.nvm.update = change => {
      writes += 1;
      if (writes >= nth) throw new Cut();
      return core.nvm.update(change);
    };
    return { ...core, nvm: { ...core.nvm, update } };
  };
  const writesOfUnit = 33;

  it.each(Array.from({ length: writesOfUnit + 1 }, (_, index) => index + 1))('write %i: exactly one commit (T33)', async nth => {
    covers('T33');
    const target = await startTarget();
    const code = await produce(cutBeforeWrite(programmer.core, nth), target.addresses).then(
      outcome => outcome.code,
      error => (error instanceof Cut ? 'cut' : String(error)),
    );
    expect(code).toBe(nth <= writesOfUnit ? 'cut' : 'OK');
    await programmer.stop();
    programmer = await startProgrammer(programmer.folder);
    if (code === 'cut') expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    expect(await outcomesOf(target.uid)).toEqual(['committed']);
    await target.stop();
  });
});

describe('after a call to the server that was lost or not answered', () => {
  const calls = ['units', 'csr', 'bootloader', 'application-key', 'application', 'commit'];
  const all = calls.flatMap(call => [
    { call, fault: 'lost' as const },
    { call, fault: 'unanswered' as const },
  ]);
  it.each(all)('$call $fault: the unit waits and is committed once (T33, silence 2)', async ({ call, fault }) => {
    covers('T33');
    const target = await startTarget();
    server.proxy.fail(failing(call, fault));
    expect((await produce(programmer.core, target.addresses)).code).toBe('SERVER_UNREACHABLE');
    server.proxy.heal();
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    expect(await outcomesOf(target.uid)).toEqual(['committed']);
    await target.stop();
  });
});

describe('after a power cut of the target', () => {
  it.each(Array.from({ length: 12 }, (_, index) => index + 4))('in step %i: the unit goes on (T33, silence 4)', async k => {
    covers('T33');
    const [uid, storage] = [freshId(), newTargetStorage()];
    let target = await startTarget(uid, storage);
    const stopped: Promise<void>[] = [];
    const cut = (step: number, state: string): void => {
      if (step === k && state === 'begin' && stopped.length === 0) stopped.push(target.stop());
    };
    const first = await produce(programmer.core, target.addresses, cut);
    expect(['OK', 'LINK_FAILED', 'LINK_TIMEOUT']).toContain(first.code);
    await Promise.all(stopped);
    target = await startTarget(uid, storage);
    const second = first.code === 'OK' ? first : await produce(programmer.core, target.addresses);
    expect(second.code).toBe('OK');
    expect(await outcomesOf(uid)).toEqual(['committed']);
    await target.stop();
  });
});

describe('a target whose wires break again and again in one step', () => {
  it.each([8, 9, 10, 12, 14])('%i: a chip that would be scrap is kept, and built when it is put in again (T33)', async k => {
    covers('T33');
    const [uid, storage] = [freshId(), newTargetStorage()];
    for (let round = 1; round <= 4; round += 1) {
      const target = await startTarget(uid, storage);
      const stopped: Promise<void>[] = [];
      const cut = (step: number, state: string): void => {
        if (step === k && state === 'begin') stopped.push(target.stop());
      };
      const { code } = await produce(programmer.core, target.addresses, cut);
      await Promise.all(stopped);
      expect(['LINK_FAILED', 'LINK_TIMEOUT']).toContain(code);
      expect(await outcomesOf(uid)).toEqual(['open']);
    }
    const target = await startTarget(uid, storage);
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    expect(await outcomesOf(uid)).toEqual(['committed']);
    await target.stop();
  });

  it('before anything is burned is given up after the third time, and the count comes back', async () => {
    const [uid, storage] = [freshId(), newTargetStorage()];
    for (let round = 1; round <= 3; round += 1) {
      const target = await startTarget(uid, storage);
      const stopped: Promise<void>[] = [];
      const cut = (step: number, state: string): void => {
        if (step === 4 && state === 'begin') stopped.push(target.stop());
      };
      expect((await produce(programmer.core, target.addresses, cut)).code).toMatch(/^LINK_/);
      await Promise.all(stopped);
    }
    expect(await lastUnit()).toMatchObject({ outcome: 'voided', scrap: false });
  });
});

describe('a unit that ends between the answer with its key and the burning', () => {
  it('is no scrap: the chip signs that it is empty, the count comes back, and it is built after all (T33)', async () => {
    covers('T33');
    const target = await startTarget();
    server.proxy.fail(failing('bootloader', 'unanswered'));
    const remaining = async () => server.allotment(jobId, programmer.uid).then(state => (state.status === 'NONE' ? -1 : state.scrapped));
    const before = await remaining();
    expect((await produce(programmer.core, target.addresses)).code).toBe('SERVER_UNREACHABLE');
    server.proxy.fail(failing('bootloader', { status: 409, code: 'CONFLICT' }));
    expect((await produce(programmer.core, target.addresses)).code).toBe('CONFLICT');
    server.proxy.heal();
    expect(await lastUnit()).toMatchObject({ outcome: 'voided', scrap: false });
    expect(await remaining()).toBe(before);
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    expect(await outcomesOf(target.uid)).toEqual(['voided', 'committed']);
    await target.stop();
  });
});

describe('three failures of a step', () => {
  it('before OTP: the unit is voided and the count comes back (T33)', async () => {
    const target = await startTarget();
    const before = (await server.ledger(jobId, programmer.uid)).at(-1)?.remaining;
    server.proxy.fail(failing('bootloader', { status: 403, code: 'RECEIPT_REFUSED' }));
    const failed = await produce(programmer.core, target.addresses);
    server.proxy.heal();
    expect(failed.code).toBe('RECEIPT_REFUSED');
    expect(failed.steps.filter(step => step.startsWith('7 failed'))).toHaveLength(3);
    expect(await lastUnit()).toMatchObject({ outcome: 'voided', scrap: false, reason: 'step 7: RECEIPT_REFUSED' });
    const after = (await server.ledger(jobId, programmer.uid)).at(-1);
    expect(after).toMatchObject({ type: 'void', remaining: before });
    // The chip has kept its key and may be built under a new grant.
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    await target.stop();
  });

  it('after OTP: the unit is scrap (silence 4)', async () => {
    const target = await startTarget();
    server.proxy.fail(failing('application', { status: 403, code: 'RECEIPT_REFUSED' }));
    expect((await produce(programmer.core, target.addresses)).code).toBe('RECEIPT_REFUSED');
    server.proxy.heal();
    expect(await lastUnit()).toMatchObject({ outcome: 'voided', scrap: true, reason: 'step 13: RECEIPT_REFUSED' });
    await target.stop();
  });

  it('a slot that is burned with something else scraps the unit at once (silence 4)', async () => {
    const target = await startTarget();
    target.chip.otp.burn(0, new Uint8Array(32).fill(0x5a));
    expect(await produce(programmer.core, target.addresses)).toMatchObject({ code: 'DEVAUTH_REFUSED' });
    expect(await lastUnit()).toMatchObject({ outcome: 'voided', scrap: true, reason: 'step 9: DEVAUTH_REFUSED otp-used' });
    await target.stop();
  });
});
