import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { fold } from '../../src/domain/decider.ts';
import { device, deviceStream } from '../../src/domain/device.ts';
import type { DeviceEvent } from '../../src/domain/deviceEvents.ts';
import { streamOf } from '../../src/eventstore/recorded.ts';
import { changeCursor, deviceQueries } from '../../src/projections/deviceQueries.ts';
import { deviceRowOf } from '../../src/projections/devices.ts';
import { openReadModels } from '../../src/projections/readModels.ts';
import { openMemoryStore } from '../eventstore/memory.ts';
import { covers } from '../support/covers.ts';

const uid = '00112233445566778899aabbccddeeff';
const certificate = (serial: string) => ({
  serial,
  certificateSha256: 'c',
  publicKeySha256: 'k',
  icaId: 'device-1',
  notAfter: '2040-01-01T00:00:00.000Z',
});
const firmware = { releaseId: 'r', version: '1.0.0', securityCounter: 1, imageHash: 'h' };

/** Every event of a device that moves its state, in an order no decider would allow: the fold is total, the read model must agree with it. */
const events = fc.constantFrom<DeviceEvent>(
  { type: 'DeviceCertified', data: { ...certificate('s1'), uid, objId: 'o' } },
  { type: 'BootKeyBurned', data: { slot: 'bl2', keyId: 'b' } },
  { type: 'DebugLocked', data: { receiptSha256: 'x' } },
  { type: 'FirmwareInstalled', data: { ...firmware, receiptSha256: 'x' } },
  { type: 'ProvisioningCompleted', data: { grantId: 'g', receiptSha256: 'x' } },
  { type: 'DeviceFailed', data: { reason: 'r' } },
  { type: 'DevicePutInService', data: { via: 'mqtt' } },
  { type: 'AttestationPassed', data: { evidenceSha256: 'e', measurementSha256: 'm', via: 'mqtt' } },
  { type: 'AttestationFailed', data: { evidenceSha256: 'e', reason: 'r', via: 'mqtt' } },
  { type: 'UpgradeStarted', data: { offerId: 'o' } },
  { type: 'FirmwareUpgraded', data: { ...firmware, version: '2.0.0', offerId: 'o', evidenceSha256: 'e' } },
  { type: 'UpgradeFailed', data: { offerId: 'o', reason: 'r' } },
  { type: 'CertificateRenewed', data: { ...certificate('s2'), previousSerial: 's1' } },
  { type: 'CertificateRevoked', data: { serial: 's1', reason: 'superseded', by: 'a' } },
  { type: 'CertificateRevoked', data: { serial: 's2', reason: 'keyCompromise', by: 'a' } },
  { type: 'TrustBundleFollowed', data: { version: 7 } },
  { type: 'EncryptionKeyCertified', data: { publicKey: 'p', receiptSha256: 'x' } },
  { type: 'DeviceQuarantined', data: { reason: 'r', by: 'a' } },
  { type: 'DeviceReleased', data: { reason: 'r', by: 'a' } },
  { type: 'DeviceSuspended', data: { reason: 'r', by: 'a' } },
  { type: 'DeviceResumed', data: { by: 'a' } },
  { type: 'DeviceTakenForRepair', data: { reason: 'r', by: 'a' } },
  { type: 'DeviceReturnOrdered', data: { objId: 'o2', generation: 2, by: 'a' } },
  { type: 'NextGenerationCertified', data: { ...certificate('s3'), objId: 'o2' } },
  { type: 'DeviceReturnedToService', data: { ...certificate('s3'), objId: 'o2', generation: 2 } },
  { type: 'DeviceDecommissioned', data: {} },
  { type: 'DeviceMinted', data: { uid, objId: 'o3', generation: 3, line: 'l2', jobId: 'j2', programmer: 'p', grantId: 'g2' } },
);
const minted: DeviceEvent = {
  type: 'DeviceMinted',
  data: { uid, objId: 'o', generation: 1, line: 'l', jobId: 'j', programmer: 'p', grantId: 'g' },
};
const inUse = ['STOCK', 'IN_SERVICE', 'UPGRADING', 'QUARANTINED', 'SUSPENDED', 'RMA'];
const bootKey: DeviceEvent = { type: 'BootKeyAssigned', data: { slot: 'bl2', keyId: 'b', publicKey: 'p' } };

it('shows every device in the state its events fold to (R83)', async () => {
  covers('R83');
  const folder = mkdtempSync(join(tmpdir(), 'nusec-devices-'));
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(events, { maxLength: 25 }), async history => {
      const store = openMemoryStore();
      const reads = await openReadModels(store, join(folder, `${run++}.db`), () => {});
      const all = [minted, bootKey, ...history];
      const at = '2026-01-01T00:00:00.000Z';
      const { position } = await store.append(
        deviceStream(uid),
        'none',
        all.map(({ type, data }, i) => ({ type, data, id: `${run}-${i}`, at, by: 'test' })),
      );
      await reads.waitFor(position);
      const row = await deviceQueries(reads.db).byUid(uid);
      const state = fold(device, all);
      if (state.status === 'NONE') throw new Error('minted');
      const stored = await streamOf<DeviceEvent>(store, deviceStream(uid));
      expect(deviceRowOf(stored)).toEqual(row);
      const { line, status, version } = row ?? {};
      expect(await deviceQueries(reads.db).counts()).toEqual([{ line, status, version, count: 1 }]);
      expect(row).toMatchObject({ status: state.status, obj_id: state.objId, generation: state.generation });
      expect(row?.serial).toBe(state.serial ?? null);
      expect(row?.version).toBe(state.firmware?.version ?? null);
      expect(row?.trust_bundle_version).toBe(state.trustBundleVersion ?? null);
      const lacksKey = state.encryptionKey === undefined && inUse.includes(state.status);
      expect(await deviceQueries(reads.db).page({ withoutEncryptionKey: true, limit: 9 })).toEqual(lacksKey ? [row] : []);
      await reads.close();
      await store.close();
    }),
    { numRuns: 60 },
  );
});

it('gives pages of many and of few in both orders, each device once', async () => {
  const store = openMemoryStore();
  const reads = await openReadModels(store, join(mkdtempSync(join(tmpdir(), 'nusec-devices-')), 'pages.db'), () => {});
  // More than are sorted for a page; a few are of another line.
  const uids = Array.from({ length: 2100 }, (_, index) => index.toString(16).padStart(32, '0'));
  for (const [index, one] of uids.entries()) {
    const data = { ...minted.data, uid: one, line: index % 300 === 0 ? 'rare' : 'common' };
    const at = new Date(Date.UTC(2026, 0, 1) + ((index * 7919) % 2100) * 1000).toISOString();
    await store.append(deviceStream(one), 'none', [{ type: 'DeviceMinted', v: 1, data, id: `id-${index}`, at, by: 'programmer:p' }]);
  }
  await reads.waitFor(await store.head());
  for (const line of ['common', 'rare', undefined])
    for (const order of ['uid', 'changed'] as const) {
      const seen: { readonly uid: string; readonly changed_at: string }[] = [];
      for (let after: string | undefined; ; ) {
        const rows = await deviceQueries(reads.db).page({ order, limit: 500, ...(line && { line }), ...(after && { after }) });
        seen.push(...rows);
        const last = rows.at(-1);
        if (last === undefined || rows.length < 500) break;
        after = order === 'uid' ? last.uid : changeCursor(last);
      }
      const wanted = uids.filter((_, index) => line === undefined || (index % 300 === 0 ? 'rare' : 'common') === line);
      expect(seen.map(row => row.uid).toSorted()).toEqual(wanted);
      const key = (row: { uid: string; changed_at: string }) => (order === 'uid' ? row.uid : changeCursor(row));
      const keys = seen.map(key);
      expect(keys).toEqual(order === 'uid' ? keys.toSorted() : keys.toSorted().reverse());
    }
  await reads.close();
});
