import { cpSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { flashLayout } from '../../../gateway-device/chip/flash.ts';
import { openByteLink } from '../../../gateway-device/link/byteLink.ts';
import { memoryMap } from '../../../gateway-device/link/debugPort.ts';
import { checkDevAuth } from '../../../gateway-device/link/devAuthCheck.ts';
import { createMctpClient } from '../../../gateway-device/link/mctpLink.ts';
import { concat, toHex } from '../../../src/bytes.ts';
import { covers } from '../../support/covers.ts';
import { endLine, startLine } from './line.ts';
import type { OemServer } from './oemServer.ts';
import {
  freshId,
  importCode,
  newFolder,
  newTargetStorage,
  onlyJob,
  preparedProgrammer,
  produce,
  startProgrammer,
  startTarget,
  type TestProgrammer,
} from './programmerFixture.ts';

let server: OemServer;
let programmer: TestProgrammer;

beforeAll(async () => {
  ({ server, programmer } = await startLine());
});
afterAll(() => endLine({ server, programmer }));

/** A chip with half the sector size of the usual one, and an eighth of its room for data. */
const smallSectors = flashLayout({
  sectorBytes: 2048,
  bl2Bytes: memoryMap.bl2.bytes,
  slotBytes: memoryMap.primary.bytes,
  dataBytes: 64 * 1024,
});

const job = (wish?: Parameters<typeof onlyJob>[2]) => onlyJob(server, programmer, wish);
const lastUnit = async (jobId: string) => (await server.units(jobId, programmer.uid)).at(-1);
const ledger = async (jobId: string) => (await server.ledger(jobId, programmer.uid)).map(({ type, remaining }) => [type, remaining]);

describe('the count', () => {
  it('is a hard limit in the programmer too, and the images go with the last unit (RULE-4, RULE-19, R82, T1)', async () => {
    covers('RULE-4', 'RULE-19', 'R82', 'T1');
    const { jobId } = await job({ count: 1 });
    const target = await startTarget();
    expect(await produce(programmer.core, target.addresses)).toMatchObject({ code: 'OK', remaining: 0 });
    expect(programmer.core.images.list()).toEqual([]);
    const end = [
      ['reserve', 0],
      ['commit', 0],
      ['zeroise', 0],
    ];
    expect(await ledger(jobId)).toEqual([['import', 1], ...end]);
    expect(await server.allotment(jobId, programmer.uid)).toMatchObject({ status: 'CLOSED', zeroised: true });
    // What runs now keeps to DevAuth as what was loaded to make it does.
    const client = createMctpClient(await openByteLink(target.addresses.serial));
    const { stage, results } = await checkDevAuth(client);
    expect([stage, ...results.filter(({ result }) => result === 'failed')]).toEqual(['app']);
    await client.close();
    const next = await startTarget();
    const calls = server.proxy.calls.length;
    expect((await produce(programmer.core, next.addresses)).code).toBe('COUNT_EXHAUSTED');
    expect(server.proxy.calls.slice(calls).filter(call => call.name === 'units')).toEqual([]);
    await Promise.all([target.stop(), next.stop()]);
  });

  it('goes on with a package of a higher sequence (silence 7, R57)', async () => {
    covers('R57');
    const { jobId } = await job({ count: 1, planned: 2 });
    const [first, second] = [await startTarget(), await startTarget()];
    expect((await produce(programmer.core, first.addresses)).code).toBe('OK');
    expect((await produce(programmer.core, second.addresses)).code).toBe('COUNT_EXHAUSTED');
    await server.allot(jobId, programmer.uid, 2);
    const before = programmer.core.nvm.state().jobs[jobId]?.sequence ?? Number.POSITIVE_INFINITY;
    expect(await importCode(programmer.core, await server.exportPackage(jobId, programmer.uid))).toBe('OK');
    expect(programmer.core.nvm.state().jobs[jobId]).toMatchObject({ jobId, count: 1 });
    expect(programmer.core.nvm.state().jobs[jobId]?.sequence).toBeGreaterThan(before);
    expect((await produce(programmer.core, second.addresses)).code).toBe('OK');
    await Promise.all([first.stop(), second.stop()]);
  });

  it('keeps images while the job runs and fetches each body once; a suspended job erases them (RULE-19)', async () => {
    covers('RULE-19');
    const { jobId } = await job();
    const fetched = () => server.proxy.calls.filter(call => call.path.startsWith('/v1/production/images/')).length;
    const before = fetched();
    for (let unit = 0; unit < 3; unit += 1) {
      const target = await startTarget();
      expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
      await target.stop();
    }
    expect(fetched() - before).toBe(2);
    expect(programmer.core.images.list()).toHaveLength(2);
    await server.suspend(jobId);
    const late = await startTarget();
    expect((await produce(programmer.core, late.addresses)).code).toBe('JOB_NOT_RUNNING');
    expect(programmer.core.images.list()).toEqual([]);
    await late.stop();
  });

  it('of a job that is refused again and again leaves a ledger that still goes home (I14)', async () => {
    covers('I14');
    const { jobId } = await job({ count: 500 });
    await server.suspend(jobId);
    const refused = await startTarget();
    for (let attempt = 0; attempt < 105; attempt += 1) {
      expect((await produce(programmer.core, refused.addresses)).code).toBe('JOB_NOT_RUNNING');
    }
    const other = await startTarget();
    const pending = () => programmer.core.nvm.state().jobs[jobId]?.ledger.pending ?? [];
    expect((await produce(programmer.core, other.addresses)).code).toBe('RATE_LIMITED');
    expect(pending().length).toBeLessThan(256);
    await server.resume(jobId);
    expect((await produce(programmer.core, refused.addresses)).code).toBe('OK');
    expect(pending()).toEqual([]);
    expect((await produce(programmer.core, other.addresses)).code).toBe('OK');
    await Promise.all([refused.stop(), other.stop()]);
  });

  it('cannot be turned back by an old copy of the memory: the ledger does not follow (T2, I14)', async () => {
    covers('T2', 'I14');
    const { jobId } = await job();
    await programmer.stop();
    const copy = newFolder();
    cpSync(programmer.folder, copy, { recursive: true });
    programmer = await startProgrammer(programmer.folder);
    const built = await startTarget();
    expect((await produce(programmer.core, built.addresses)).code).toBe('OK');
    await programmer.stop();
    const restored = await startProgrammer(copy);
    const next = await startTarget();
    expect((await produce(restored.core, next.addresses)).code).toBe('LEDGER_GAP');
    expect(await server.allotment(jobId, programmer.uid)).toMatchObject({ status: 'FROZEN', ledgerGap: true });
    expect((await produce(restored.core, next.addresses)).code).toBe('ALLOTMENT_FROZEN');
    await Promise.all([built.stop(), next.stop(), restored.stop()]);
    programmer = await startProgrammer(programmer.folder);
  });
});

describe('which chips', () => {
  it('a UID outside the list costs nothing and asks nobody (R66, RULE-7, T7)', async () => {
    covers('RULE-7', 'T7');
    const listed = await startTarget();
    await job({ uids: [toHex(listed.uid)] });
    const grey = await startTarget();
    const calls = server.proxy.calls.length;
    expect((await produce(programmer.core, grey.addresses)).code).toBe('UID_NOT_LISTED');
    expect(server.proxy.calls.slice(calls).filter(call => call.name !== 'zeroise')).toEqual([]);
    expect((await produce(programmer.core, listed.addresses)).code).toBe('OK');
    await Promise.all([listed.stop(), grey.stop()]);
  });

  it('a long list is checked by proof; without one the unit is void and the count comes back (R66, RULE-7, T7)', async () => {
    covers('R66', 'RULE-7', 'T7');
    const target = await startTarget();
    const uids = [target.uid, ...Array.from({ length: 2500 }, freshId)].map(toHex);
    const { jobId } = await job({ uids });
    const grey = await startTarget();
    expect((await produce(programmer.core, grey.addresses)).code).toBe('UID_NOT_LISTED');
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    expect(await ledger(jobId)).toEqual([
      ['import', 10],
      ['reserve', 9],
      ['void', 10],
      ['reserve', 9],
      ['commit', 9],
    ]);
    await Promise.all([target.stop(), grey.stop()]);
  });

  it('of several families are built in one job: another product, flash and length of UID (R97)', async () => {
    covers('R97');
    const { jobId } = await job({ count: 2 });
    const families = [
      { productId: 0x2354, uid: freshId() },
      // A 96-bit UID, small sectors and little room for data.
      { productId: 0x4b31, uid: concat(freshId().slice(0, 12), new Uint8Array(4)), layout: smallSectors },
    ];
    const calls = server.proxy.calls.length;
    for (const { uid, ...family } of families) {
      const target = await startTarget(uid, newTargetStorage(), family);
      expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
      expect(target.chip.boot()).toMatchObject({ app: { version: { major: 2, minor: 0, revision: 0 } } });
      await target.stop();
    }
    const named = server.proxy.calls.slice(calls).filter(({ name }) => name === 'units');
    expect(named.map(({ body }) => [body.productId, body.uid])).toEqual(families.map(({ productId, uid }) => [productId, toHex(uid)]));
    const committed = (await server.units(jobId, programmer.uid)).map(({ uid, outcome }) => [uid, outcome]);
    expect(committed).toEqual(families.map(({ uid }) => [toHex(uid), 'committed']));
  });

  it('a finished device is not built again', async () => {
    await job();
    const target = await startTarget();
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    expect((await produce(programmer.core, target.addresses)).code).toBe('DEVICE_STATE');
    await target.stop();
  });

  it('a blank chip with the UID of a finished device gets no grant (I3)', async () => {
    covers('I3');
    const { jobId } = await job();
    const target = await startTarget();
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    await target.stop();
    const double = await startTarget(target.uid);
    expect((await produce(programmer.core, double.addresses)).code).toBe('UID_CONFLICT');
    expect(await server.units(jobId, programmer.uid)).toMatchObject([{ outcome: 'committed' }]);
    await double.stop();
  });
});

describe('no firmware without device authentication', () => {
  it('a chip with the key of another one is never given even a bootloader (R69, RULE-3, I4)', async () => {
    covers('R69', 'RULE-3', 'I4');
    const { jobId } = await job();
    const storage = newTargetStorage();
    const target = await startTarget(freshId(), storage);
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    await target.stop();
    const clone = await startTarget(freshId(), { ...newTargetStorage(), keys: storage.keys });
    const calls = server.proxy.calls.length;
    expect((await produce(programmer.core, clone.addresses)).code).toBe('WEAK_OR_CLONED_KEY');
    expect(server.proxy.calls.slice(calls).some(({ path }) => path.includes('boot') || path.includes('images'))).toBe(false);
    expect(clone.chip.flash.read(clone.chip.layout.bl2.offset, 64)).toEqual(new Uint8Array(64).fill(0xff));
    expect(await lastUnit(jobId)).toMatchObject({ outcome: 'voided', scrap: false, isCertified: false });
    await clone.stop();
  });

  it('a chip that only says that it is locked gets no application (RULE-14, T29)', async () => {
    covers('RULE-14', 'T29');
    const { jobId } = await job();
    const target = await startTarget(freshId(), newTargetStorage(), { changes: { lock: () => undefined } });
    expect((await produce(programmer.core, target.addresses)).code).toBe('RECEIPT_REFUSED');
    expect(await lastUnit(jobId)).toMatchObject({ outcome: 'voided', scrap: true, hasApplication: false });
    await target.stop();
  });
});

describe('a programmer that is not active', () => {
  it('because it was reported stolen builds nothing any more, and is off the line (T15, I17)', async () => {
    covers('T15', 'I17');
    const stolen = await preparedProgrammer(server);
    const { file } = await server.newJob(stolen.uid);
    expect(await importCode(stolen.core, file)).toBe('OK');
    const [first, second] = [await startTarget(), await startTarget()];
    expect((await produce(stolen.core, first.addresses)).code).toBe('OK');
    await server.plant.ask('olga', 'POST', `/v1/programmers/${stolen.uid}/stolen`, {});
    expect((await produce(stolen.core, second.addresses)).code).toBe('CERTIFICATE_REVOKED');
    expect(second.chip.debugState()).toBe('open');
    await Promise.all([first.stop(), second.stop(), stolen.stop()]);
  });
});
