import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectProgrammer } from '../../../gateway-device/programmer/client.ts';
import { produceUnit } from '../../../gateway-device/programmer/produce.ts';
import { connectTarget, startDevAuth } from '../../../gateway-device/programmer/target.ts';
import { toHex } from '../../../src/bytes.ts';
import { covers } from '../../support/covers.ts';
import { endLine, startLine } from './line.ts';
import type { OemServer } from './oemServer.ts';
import { onlyJob, produce, startTarget, type TestProgrammer } from './programmerFixture.ts';

/** Several targets and several tools at one programmer. */

let server: OemServer;
let programmer: TestProgrammer;
beforeAll(async () => {
  ({ server, programmer } = await startLine());
});
afterAll(() => endLine({ server, programmer }));

describe('several targets at the same time', () => {
  it('are built by one programmer, each with its own journal; the ledger stays one chain (I1, I12, I14, T24)', async () => {
    covers('I1', 'I12', 'I14', 'T24');
    const { jobId } = await onlyJob(server, programmer, { count: 5 });
    const targets = await Promise.all(Array.from({ length: 6 }, () => startTarget()));
    let most = 0;
    const watch = (): void => {
      most = Math.max(most, Object.keys(programmer.core.nvm.state().units).length);
    };
    const ended = await Promise.all(targets.map(({ addresses }) => produce(programmer.core, addresses, watch)));
    expect(ended.map(({ code }) => code).toSorted()).toEqual(['COUNT_EXHAUSTED', 'OK', 'OK', 'OK', 'OK', 'OK']);
    expect(most).toBeGreaterThan(1);
    expect((await server.units(jobId, programmer.uid)).filter(({ outcome }) => outcome === 'committed')).toHaveLength(5);
    expect(await server.allotment(jobId, programmer.uid)).toMatchObject({ committed: 5, voided: 0, status: 'CLOSED', zeroised: true });
    expect(programmer.core.working.size).toBe(0);
    for (const { stop } of targets) await stop();
  });

  it('lose no chip when answers to reservations and commits are lost at random', async () => {
    const { jobId } = await onlyJob(server, programmer, { count: 4 });
    const targets = await Promise.all(Array.from({ length: 4 }, () => startTarget()));
    const lost = new Map<string, number>();
    server.proxy.fail(({ name }) => {
      const times = (lost.get(name) ?? 0) + 1;
      lost.set(name, times);
      return ['reserve', 'commit'].includes(name) && times % 2 === 1 ? 'lost' : undefined;
    });
    const patience = { wait: async (tries: number) => tries < 20 };
    const ended = await Promise.all(targets.map(({ addresses }) => produce(programmer.core, addresses, () => undefined, patience)));
    server.proxy.heal();
    expect(ended.map(({ code }) => code)).toEqual(['OK', 'OK', 'OK', 'OK']);
    expect(await server.allotment(jobId, programmer.uid)).toMatchObject({ committed: 4, voided: 0 });
    for (const { stop } of targets) await stop();
  });

  it('with swapped wires are found before anything is reserved', async () => {
    const { jobId } = await onlyJob(server, programmer, { count: 2 });
    const [one, two] = [await startTarget(), await startTarget()];
    const swapped = { serial: one.addresses.serial, debug: two.addresses.debug };
    const report: string[] = [];
    const patience = { wait: async () => false };
    const options = { report: (k: number, _: string, state: string, text?: string) => void report.push(`${k} ${state} ${text}`), patience };
    const silent = { code: 'LINK_TIMEOUT', message: expect.stringContaining('both wires') };
    await expect(produceUnit(programmer.core, swapped, options)).rejects.toMatchObject(silent);
    const other = await connectTarget(one.addresses);
    await startDevAuth(other);
    await other.close();
    const refused = produceUnit(programmer.core, swapped, options);
    await expect(refused).rejects.toMatchObject({ code: 'DEVICE_STATE', message: expect.stringContaining(toHex(one.uid)) });
    expect(report.at(-1)).toMatch(/^1 failed .*check the wires/);
    expect(await server.units(jobId, programmer.uid)).toEqual([]);
    expect((await produce(programmer.core, one.addresses)).code).toBe('OK');
    for (const { stop } of [one, two]) await stop();
  });
});

describe('several tools at the same time', () => {
  it('are served: one that looks does not throw off the one that produces', async () => {
    await onlyJob(server, programmer, { count: 2 });
    const { serial } = programmer.addresses;
    const [one, other] = [await connectProgrammer(serial), await connectProgrammer(serial)];
    const target = await startTarget();
    const { serial: serialAddress, debug: debugAddress } = target.addresses;
    expect(await other.request('probe', { serialAddress, debugAddress })).toEqual({ uid: target.uid });
    const { runId } = await one.request('produce', { serialAddress, debugAddress });
    await expect(other.request('probe', { serialAddress, debugAddress })).rejects.toMatchObject({ reason: 'busy' });
    await expect(other.request('packageImport', {})).rejects.toMatchObject({ reason: 'busy' });
    for (let done = false; !done; ) {
      expect(await other.request('status', {})).toMatchObject({ stage: 'programmer' });
      const { done: isDone, outcome, bin, uid } = await one.request('progress', { since: 32, runId });
      done = isDone;
      if (isDone) expect({ outcome, bin, uid }).toEqual({ outcome: 'OK', bin: 'pass', uid: target.uid });
    }
    await target.stop();
    expect(await other.request('probe', { serialAddress, debugAddress })).toEqual({});
    await Promise.all([one.close(), other.close()]);
  });
});
