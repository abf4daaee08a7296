import { createECDH, createHmac, hkdfSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import type { ProgrammerIdentity } from '../../../gateway-device/programmer/identity.ts';
import { agreeKek } from '../../../gateway-device/programmer/kekAgreement.ts';
import { openKekStore } from '../../../gateway-device/programmer/kekStore.ts';
import { type JobState, openNvm, remainingUnits } from '../../../gateway-device/programmer/nvm.ts';
import type { ServerApi } from '../../../gateway-device/programmer/serverApi.ts';
import { NusecError } from '../../../src/errors.ts';
import { type KekAgreement, kekConfirmation, kekKdf } from '../../../src/production/kek.ts';
import { covers } from '../../support/covers.ts';
import { memoryVault } from '../chip/memory.ts';
import { newFolder, removeFolders } from './programmerFixture.ts';

afterAll(removeFolders);

const fill = (byte: number, length = 16): Uint8Array => new Uint8Array(length).fill(byte);

/** The server's half, written out. */
function serverHalf(pointP: Uint8Array, epoch: number, nonceP = fill(1)) {
  const own = createECDH('prime256v1');
  const pointC = new Uint8Array(own.generateKeys());
  const agreement: KekAgreement = {
    nonceP,
    nonceC: fill(2),
    pointP,
    pointC,
    progUid: fill(3),
    certificateSha256: fill(4, 32),
    epoch,
  };
  const { salt, info } = kekKdf(agreement);
  const key = new Uint8Array(hkdfSync('sha256', own.computeSecret(pointP), salt, info, 32));
  const mac = (side: 'P' | 'C') => new Uint8Array(createHmac('sha256', key).update(kekConfirmation(side, agreement)).digest());
  return { agreement, key, mac };
}

describe('AES_NuLink3 in the programmer', () => {
  it('is agreed, confirmed by both sides, and kept over a restart (R33, R34)', () => {
    covers('R33', 'R34');
    const vault = memoryVault();
    const keks = openKekStore(vault);
    const pending = keks.begin();
    const { agreement, mac } = serverHalf(pending.point, 1);
    expect(pending.finish(agreement, mac('C'))).toEqual(mac('P'));
    expect(openKekStore(vault).epoch()).toBe(1);
    expect(openKekStore(vault).contentOpenOf(1)).toBeDefined();
    expect(openKekStore(vault).contentOpenOf(2)).toBeUndefined();
  });

  it('is not kept when the server’s confirmation is not of the same key (T14)', () => {
    covers('T14');
    const keks = openKekStore(memoryVault());
    const pending = keks.begin();
    const { agreement, mac } = serverHalf(pending.point, 1);
    const elsewhere = serverHalf(keks.begin().point, 1);
    for (const wrong of [mac('P'), elsewhere.mac('C'), mac('C').slice(1), new Uint8Array(32)]) {
      expect(() => pending.finish(agreement, wrong)).toThrow(expect.objectContaining({ code: 'KEY_REFUSED' }));
    }
    expect(keks.epoch()).toBe(0);
  });

  it('is made again when the server restarted before it was confirmed, and given up after three times (T33)', async () => {
    covers('T33');
    const identity = { uid: fill(3), certificateSha256: fill(4, 32) } as ProgrammerIdentity;
    let forgets = 2;
    let epoch = 0;
    const server = {
      offerKek: async (pointP: Uint8Array, nonceP: Uint8Array) => {
        const { agreement, mac } = serverHalf(pointP, ++epoch, nonceP);
        return { point: agreement.pointC, nonce: agreement.nonceC, mac: mac('C'), epoch };
      },
      confirmKek: async () => {
        if (forgets-- > 0) throw new NusecError('NOT_FOUND', 'no agreement is under way');
      },
    } as unknown as ServerApi;
    const keks = openKekStore(memoryVault());
    expect(await agreeKek(identity, keks, server)).toBe(3);
    expect(keks.epoch()).toBe(3);
    forgets = 3;
    await expect(agreeKek(identity, keks, server)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('never goes back to an epoch, and refuses a point off the curve (R34, T27)', () => {
    covers('R34', 'T27');
    const keks = openKekStore(memoryVault());
    const agree = (epoch: number) => {
      const pending = keks.begin();
      const { agreement, mac } = serverHalf(pending.point, epoch);
      return pending.finish(agreement, mac('C'));
    };
    agree(3);
    expect(() => agree(3)).toThrow(expect.objectContaining({ code: 'KEY_REFUSED' }));
    expect(() => agree(2)).toThrow(expect.objectContaining({ code: 'KEY_REFUSED' }));
    const pending = keks.begin();
    const { agreement, mac } = serverHalf(pending.point, 4);
    const off = { ...agreement, pointC: agreement.pointC.with(64, (agreement.pointC[64] ?? 0) ^ 1) };
    expect(() => pending.finish(off, mac('C'))).toThrow(expect.objectContaining({ code: 'KEY_REFUSED' }));
  });

  it('has no way out of the store (RULE-2, R107)', () => {
    covers('RULE-2', 'R107');
    const keks = openKekStore(memoryVault());
    const pending = keks.begin();
    const { agreement, key, mac } = serverHalf(pending.point, 1);
    pending.finish(agreement, mac('C'));
    expect(Object.keys(keks).sort()).toEqual(['begin', 'contentOpenOf', 'epoch']);
    expect(JSON.stringify(keks)).not.toContain(Buffer.from(key).toString('base64url'));
  });
});

describe('the memory of the programmer', () => {
  it('that is damaged is not taken for an empty one (T2)', () => {
    covers('T2');
    const path = join(newFolder(), 'programmer.json');
    writeFileSync(path, '{"version":1,"jobs"');
    expect(() => openNvm(path)).toThrow(expect.objectContaining({ code: 'STORE_DAMAGED' }));
  });

  it('of an earlier firmware, with one unit, is read as it was meant', () => {
    const path = join(newFolder(), 'programmer.json');
    const unit = { runId: 4, jobId: 'j', uid: 'ab', done: 9, begun: 10, failures: 0, facts: {} };
    writeFileSync(path, JSON.stringify({ version: 1, nextRunId: 5, jobs: {}, unit }));
    expect(openNvm(path).state()).toEqual({ version: 1, nextRunId: 5, jobs: {}, units: { ab: unit } });
  });

  it('counts as the server does: never more than the count, scrap from the allowance first (I1, RULE-4)', () => {
    covers('I1', 'RULE-4');
    const counts = fc.record({
      count: fc.nat(100),
      scrapAllowance: fc.nat(20),
      committed: fc.nat(120),
      scrapped: fc.nat(40),
      open: fc.nat(1),
      zeroised: fc.constantFrom(false as const, 'recorded' as const),
    });
    fc.assert(
      fc.property(counts, state => {
        const left = remainingUnits(state as JobState);
        expect(left).toBeGreaterThanOrEqual(0);
        expect(left === 0 || left + state.committed + state.open <= state.count).toBe(true);
        expect(left === 0 || left + state.committed + state.open + state.scrapped <= state.count + state.scrapAllowance).toBe(true);
        if (state.zeroised !== false) expect(left).toBe(0);
      }),
    );
  });
});
