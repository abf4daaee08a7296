import type { Kysely } from 'kysely';
import type { Followers } from '../eventstore/followers.ts';
import type { EventStore } from '../eventstore/port.ts';
import { type AlarmTables, alarms } from './alarms.ts';
import { type CertificateTables, certificates } from './certificates.ts';
import { type ComponentTables, components } from './components.ts';
import { openReadModel } from './database.ts';
import { type DecommissionTables, decommissions } from './decommissions.ts';
import { type DeviceTables, devices } from './devices.ts';
import { type GatewayTables, gateways } from './gateways.ts';
import { type JobTables, jobs } from './jobs.ts';
import { dropUselessReadModels } from './origin.ts';
import { type ProgrammerTables, programmers } from './programmers.ts';
import type { Projection } from './projection.ts';
import { type ReleaseTables, releases } from './releases.ts';
import { type RolloutTables, rollouts } from './rollouts.ts';
import { type ProjectionRunner, type RunnerOptions, startProjections } from './runner.ts';
import { type VulnerabilityTables, vulnerabilities } from './vulnerabilities.ts';
import { type WebhookTables, webhooks } from './webhooks.ts';

/** All read models of the server and the connection that queries them. */

export type Tables = AlarmTables &
  DecommissionTables &
  GatewayTables &
  RolloutTables &
  CertificateTables &
  DeviceTables &
  JobTables &
  ProgrammerTables &
  ReleaseTables &
  ComponentTables &
  VulnerabilityTables &
  WebhookTables;

const projections: readonly Projection[] = [
  alarms,
  decommissions,
  gateways,
  rollouts,
  certificates,
  devices,
  jobs,
  programmers,
  releases,
  components,
  vulnerabilities,
  webhooks,
];

export type ReadModels = ProjectionRunner & { readonly db: Kysely<Tables> };

/** Opens the read models of this store; those of another one, and damaged ones, are built again from the first event.
 *  @throws NusecError as EventStore.readAll */
export async function openReadModels(
  store: EventStore,
  file: string,
  onTrouble: NonNullable<RunnerOptions['onTrouble']>,
  followers?: Followers,
): Promise<ReadModels> {
  const useless = await dropUselessReadModels(store, file);
  if (useless !== undefined) onTrouble({ position: 0, message: `the read models were ${useless} and are built again` });
  const runner = startProjections({ store, file, projections, onTrouble, ...(followers && { followers }) });
  const db = openReadModel<Tables>(runner.writer);
  return {
    ...runner,
    db,
    async close() {
      await db.destroy();
      await runner.close();
    },
  };
}
