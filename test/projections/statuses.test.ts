import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it, onTestFinished } from 'vitest';
import { allotment } from '../../src/domain/allotment.ts';
import type { AllotmentEvent } from '../../src/domain/allotmentEvents.ts';
import { type Decider, fold } from '../../src/domain/decider.ts';
import { type GatewayEvent, gateway } from '../../src/domain/gateway.ts';
import { job } from '../../src/domain/job.ts';
import type { JobEvent } from '../../src/domain/jobEvents.ts';
import { type ProgrammerEvent, programmer } from '../../src/domain/programmer.ts';
import { type ReleaseEvent, release } from '../../src/domain/release.ts';
import { type RolloutEvent, rollout } from '../../src/domain/rollout.ts';
import type { JsonObject } from '../../src/eventstore/port.ts';
import { openReadModels, type ReadModels } from '../../src/projections/readModels.ts';
import { openMemoryStore } from '../eventstore/memory.ts';
import { temporaryFolder } from '../eventstore/support.ts';

/** The read models of all aggregates but devices (devices.test.ts), against the folds. */

type Row = Promise<{ readonly status: string } | undefined>;
type AnyEvent = { readonly type: string; readonly data: JsonObject };
type Aggregate<Command, State, Event> = {
  readonly decider: Decider<Command, State, Event>;
  readonly stream: (id: string) => string;
  readonly first: (id: string) => Event;
  /** One event, or several that belong together; `n` tells one use in a history from another. */
  readonly others: readonly (Event | ((n: number) => readonly Event[]))[];
  readonly row: (db: ReadModels['db'], id: string) => Row;
};

/** Any history of one aggregate, each in a stream of its own: the row has the status that the fold gives. */
async function agree<Command, State extends { readonly status: string }, Event extends AnyEvent>(
  aggregate: Aggregate<Command, State, Event>,
): Promise<void> {
  const { decider, stream, first, others, row } = aggregate;
  const store = openMemoryStore();
  const reads = await openReadModels(store, join(temporaryFolder(), 'views.db'), trouble => expect(trouble).toBeUndefined());
  onTestFinished(() => reads.close().then(store.close));
  let streams = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...others), { maxLength: 15 }), async rest => {
      const id = `${++streams}`;
      const history = [first(id), ...rest.flatMap((next, n) => (typeof next === 'function' ? next(n) : [next]))];
      const events = history.map(({ type, data }, i) => ({ type, data, id: `${id}-${i}`, at: '2026-01-01T00:00:00.000Z', by }));
      const { position } = await store.append(stream(id), 'none', events);
      await reads.waitFor(position);
      expect((await row(reads.db, id))?.status).toBe(fold(decider, history).status);
    }),
    { numRuns: 150 },
  );
}

const certificate = { serial: 's', certificateSha256: 'c', publicKeySha256: 'k', icaId: 'i', notAfter: '2040-01-01T00:00:00.000Z' };
const [by, reason] = ['operator:a', 'r'];

it('shows every programmer in the state its events fold to', () =>
  agree({
    decider: programmer,
    stream: id => `programmer-${id}`,
    first: (uid): ProgrammerEvent => ({ type: 'ProgrammerRegistered', data: { uid, model: 'm', by } }),
    others: [
      { type: 'KeyEnrolled', data: { publicKey: 'p', publicKeySha256: 'h' } },
      { type: 'ProgrammerCertified', data: certificate },
      { type: 'ProgrammerBootKeyBurned', data: { keyId: 'k', rootCaSha256: 'r', icaSha256: 'i' } },
      { type: 'ProgrammerFirmwareInstalled', data: { version: '1', imageHash: 'h' } },
      { type: 'ProgrammerLocked', data: {} },
      { type: 'KekAgreed', data: { epoch: 1, keyId: 'k' } },
      { type: 'ProgrammerShipped', data: { to: 'cm' } },
      { type: 'ProgrammerCheckedIn', data: {} },
      { type: 'ProgrammerSuspended', data: { reason, by } },
      { type: 'ProgrammerResumed', data: { by } },
      { type: 'ProgrammerReportedStolen', data: { by } },
      { type: 'ProgrammerRevoked', data: { reason, by } },
      { type: 'ProgrammerReturned', data: { by } },
      { type: 'ProgrammerRetired', data: { by } },
    ],
    row: (db, id) => db.selectFrom('programmers').select('status').where('uid', '=', id).executeTakeFirst(),
  }));

it('shows every gateway in the state its events fold to', () =>
  agree({
    decider: gateway,
    stream: id => `gateway-${id}`,
    first: (gatewayId): GatewayEvent => ({ type: 'GatewayRegistered', data: { gatewayId, name: 'n', by } }),
    others: [
      { type: 'GatewayCertified', data: certificate },
      { type: 'DeviceAttached', data: { uid: 'u', by } },
      { type: 'GatewaySuspended', data: { reason, by } },
      { type: 'GatewayResumed', data: { by } },
      { type: 'GatewayRevoked', data: { reason, by } },
    ],
    row: (db, id) => db.selectFrom('gateways').select('status').where('gateway_id', '=', id).executeTakeFirst(),
  }));

it('shows every release in the state its events fold to', () =>
  agree({
    decider: release,
    stream: id => `release-${id}`,
    first: (releaseId): ReleaseEvent => ({ type: 'FirmwareUploaded', data: { ...upload, releaseId } }),
    others: [
      { type: 'SbomAttached', data: { sha256: 's', format: 'f', by } },
      { type: 'ReleaseApproved', data: { by } },
      { type: 'ReleasePublished', data: { by } },
      { type: 'ReleaseWithdrawn', data: { reason, by } },
    ],
    row: (db, id) => db.selectFrom('releases').select('status').where('release_id', '=', id).executeTakeFirst(),
  }));
const image = { line: 'l', version: '1.0.0', securityCounter: 1, imageHash: 'h', bodySha256: 'b', size: 1 } as const;
const upload = { ...image, image: 'app', vendorUuid: 'v', classUuid: 'c', uploadedBy: by } as const;

it('shows every rollout in the state its events fold to', () => {
  const health = { group: 0, succeeded: 1, failed: 0 };
  return agree({
    decider: rollout,
    stream: id => `rollout-${id}`,
    first: (rolloutId): RolloutEvent => ({
      type: 'RolloutPlanned',
      data: { rolloutId, releaseId: 'r', line: 'l', groups: [], thresholds: { successPercent: 1, failurePercent: 1 }, plannedBy: by },
    }),
    others: [
      { type: 'RolloutApproved', data: { by } },
      { type: 'RolloutStarted', data: { by } },
      { type: 'GroupStarted', data: { group: 0, deviceCount: 1, devicesSha256: 'd' } },
      { type: 'GroupPassed', data: health },
      { type: 'RolloutPaused', data: { reason, by } },
      { type: 'RolloutResumed', data: { by } },
      { type: 'RolloutHalted', data: { ...health, reason } },
      { type: 'RolloutCompleted', data: { groups: 1 } },
      { type: 'RolloutAborted', data: { reason, by } },
    ],
    row: (db, id) => db.selectFrom('rollouts').select('status').where('rollout_id', '=', id).executeTakeFirst(),
  });
});

it('shows every job in the state its events fold to', () => {
  const policy = { requireUidList: false };
  const made: JobEvent = { type: 'AllotmentMade', data: { programmer: 'p', count: 1, scrapAllowance: 0 } };
  const settled: JobEvent = { type: 'AllotmentSettled', data: { programmer: 'p', committed: 1, scrapped: 0 } };
  return agree({
    decider: job,
    stream: id => `job-${id}`,
    first: (jobId): JobEvent => ({
      type: 'JobCreated',
      data: { jobId, line: 'l', plannedCount: 9, scrapAllowance: 1, policy, createdBy: by },
    }),
    others: [
      { type: 'FirmwareBoundToJob', data: { ...image, releaseId: 'a', image: 'app' } },
      { type: 'FirmwareBoundToJob', data: { ...image, releaseId: 'b', image: 'bl2' } },
      { type: 'JobReleased', data: { by } },
      () => [made],
      () => [made, settled],
      { type: 'JobSuspended', data: { reason, by } },
      { type: 'JobResumed', data: { by } },
      { type: 'JobClosed', data: { by } },
      { type: 'JobCancelled', data: { by, reason } },
      { type: 'JobReconciled', data: { verdict: 'clean', findings: [], reportSha256: 'r' } },
    ],
    row: (db, id) => db.selectFrom('jobs').select('status').where('job_id', '=', id).executeTakeFirst(),
  });
});

it('shows every allotment in the state its events fold to', () => {
  const unit = (n: number) => ({ grantId: `g${n}`, uid: `u${n}`, objId: `o${n}` });
  const reserved = (n: number): AllotmentEvent => ({
    type: 'UnitReserved',
    data: { ...unit(n), number: n, expiresAt: 'e', ledgerNumber: n, ledgerHead: 'h' },
  });
  const voided = (n: number, scrapped: boolean): AllotmentEvent => ({ type: 'UnitVoided', data: { ...unit(n), reason, scrapped } });
  return agree({
    decider: allotment,
    stream: id => `allotment-${id}-p`,
    first: (jobId): AllotmentEvent => ({ type: 'AllotmentOpened', data: { jobId, programmer: 'p', quota: 1, scrapAllowance: 1 } }),
    others: [
      { type: 'AllotmentRaised', data: { quota: 2, scrapAllowance: 1 } },
      { type: 'PackageImported', data: { packageId: 'a', sequence: 1 } },
      n => [reserved(n)],
      n => [reserved(n), { type: 'UnitCommitted', data: { ...unit(n), receiptSha256: 'r' } }],
      n => [reserved(n), voided(n, false)],
      n => [reserved(n), voided(n, true)],
      { type: 'AllotmentExhausted', data: { committed: 1, scrapped: 0 } },
      { type: 'AllotmentFrozen', data: { reason, by } },
      { type: 'AllotmentThawed', data: { reason, by } },
      { type: 'AllotmentClosed', data: { by, zeroiseReceiptSha256: 'z' } },
    ],
    row: (db, id) => db.selectFrom('allotments').select('status').where('job_id', '=', id).executeTakeFirst(),
  });
});
