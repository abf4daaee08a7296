import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { JsonObject } from '../../src/eventstore/port.ts';
import { openReadModels } from '../../src/projections/readModels.ts';
import { openMemoryStore } from '../eventstore/memory.ts';
import { event, temporaryFolder } from '../eventstore/support.ts';
import { pollMs } from '../support/limits.ts';

/** Events that make a row, without what the row needs: the read model stops visibly before them. None leaves the row out in silence. */
const withoutTheirData: readonly [readModel: string, type: string, stream: string, data?: JsonObject][] = [
  ['gateways', 'GatewayRegistered', 'gateway-g1'],
  ['gateways', 'DeviceAttached', 'gateway-g1'],
  ['certificates', 'DeviceCertified', 'device-d1'],
  ['certificates', 'CertificateRevocationRestored', 'device-d1'],
  ['decommissions', 'DeviceDecommissionOrdered', 'device-d1'],
  ['rollouts', 'RolloutPlanned', 'rollout-r1', { groups: [] }],
  ['rollouts', 'FirmwareOffered', 'device-d1', { rolloutId: 'r1' }],
  ['jobs', 'JobCreated', 'job-j1'],
  ['jobs', 'AllotmentOpened', 'allotment-j1-p1'],
  ['jobs', 'UnitReserved', 'allotment-j1-p1', { expiresAt: '2026-01-02T03:04:05.678Z' }],
  ['programmers', 'ProgrammerRegistered', 'programmer-p1'],
  ['releases', 'LineDefined', 'authority'],
  ['releases', 'FirmwareUploaded', 'release-r1'],
  ['vulnerabilities', 'VulnerabilityOpened', 'vulnerability-v1'],
];

it.each(withoutTheirData)(
  '%s: %s without its data is no row that is missing, but a fault with its position',
  async (name, type, stream, data) => {
    const store = openMemoryStore();
    await store.append(stream, 'any', [event(type, data ?? {})]);
    const reads = await openReadModels(store, join(temporaryFolder(), 'views.db'), () => {});
    onTestFinished(() => reads.close());
    await expect(reads.waitFor(1, { projections: [name], stallMs: pollMs })).rejects.toMatchObject({ code: 'PROJECTION_BEHIND' });
    expect(reads.health().projections.find(each => each.name === name)).toMatchObject({ status: 'faulted', fault: { position: 1 } });
  },
);
