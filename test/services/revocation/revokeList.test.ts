import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { fromHex } from '../../../src/bytes.ts';
import { device, deviceStream } from '../../../src/domain/device.ts';
import { stateOf } from '../../../src/services/base/context.ts';
import { type ListProgress, revokeList } from '../../../src/services/revocation/revokeList.ts';
import { readStatesAhead, type StatesAhead } from '../../../src/services/revocation/statesAhead.ts';
import { newUid } from '../parties.ts';
import { mint, openProject, type Project } from '../project.ts';

let project: Project;
beforeAll(async () => {
  project = await openProject();
});
afterAll(() => project.close());

/** Devices in one commit. */
const group = 70;
const from: ListProgress = { done: 0, revoked: 0, failed: 0 };

/** Devices without certificates: their events are stored in no time, and looked at all the same. */
async function listed(count: number): Promise<readonly string[]> {
  const uids = Array.from({ length: count }, newUid).sort();
  for (const uid of uids) await mint(project.ctx, uid, newUid());
  return uids;
}

function begin(
  uids: readonly string[],
  change: Partial<Parameters<typeof revokeList>[2]> = {},
  watch?: (ahead: StatesAhead) => StatesAhead,
) {
  const reports: ListProgress[] = [];
  const own = readStatesAhead(project.ctx, join(project.dataDir, 'events.db'));
  onTestFinished(() => own.close());
  const wish = {
    ...({ uids: fromHex(uids.join('')), reason: 'keyCompromise', by: 'operator:bob', from, isOpen: () => true } as const),
    async report(progress: ListProgress) {
      reports.push(progress);
      return true;
    },
    ...change,
  };
  return { reports, ended: revokeList(project.ctx, watch?.(own) ?? own, wish) };
}

describe('a list of devices', () => {
  it('is looked at from a place on, with what was counted before', async () => {
    const uids = await listed(group + 2);
    const { reports, ended } = begin(uids, { from: { done: 2, revoked: 1, failed: 1 } });
    await ended;
    expect(reports).toEqual([{ done: group + 2, revoked: 1, failed: 1 }]);
  });

  it('that cannot be worked through ends with the reason, and reports no device behind the one that failed', async () => {
    const [uids, { uid, parsed }] = [await listed(group), await project.newDevice()];
    const isRevoked = async () => (await stateOf(project.ctx, device, deviceStream(uid))).status === 'REVOKED';
    const { reports, ended } = begin([...uids, uid], {}, ahead => ({
      ...ahead,
      async read(some) {
        if (some[0] !== uids[0]) return ahead.read(some);
        await expect.poll(isRevoked).toBe(true);
        throw new Error('the disk does not answer');
      },
    }));
    await expect(ended).rejects.toThrow('the disk does not answer');
    await expect.poll(() => project.revocations.isRevoked(parsed.serialHex)).toBe(true);
    expect(reports).toEqual([]);
  });

  it('is left where it is when the process closes, with a report of that', async () => {
    const uids = await listed(12 * group);
    let left = 3;
    const { reports, ended } = begin(uids, { isOpen: () => left-- > 0 });
    await ended;
    expect(reports).toEqual([{ done: 3 * group, revoked: 0, failed: 0 }]);
  });
});
