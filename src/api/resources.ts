import { alarmsResource } from './alarms.ts';
import { allotmentsResource } from './allotments.ts';
import { authenticatorsResource } from './authenticators.ts';
import { authorityResource } from './authority.ts';
import { bridgeResource } from './bridge.ts';
import { bulkRevocationsResource } from './bulkRevocations.ts';
import { ceremoniesResource } from './ceremonies.ts';
import { certificatesResource } from './certificates.ts';
import { componentsResource } from './components.ts';
import { consoleResource } from './console/routes.ts';
import { credentialsResource } from './credentials.ts';
import { deviceActionsResource } from './deviceActions.ts';
import { deviceAttestationsResource } from './deviceAttestations.ts';
import { devicesResource } from './devices.ts';
import { effectsResource } from './effects.ts';
import { estResource } from './est.ts';
import { eventStreamResource } from './eventStream.ts';
import { eventsResource } from './events.ts';
import { gatewaysResource } from './gateways.ts';
import { jobsResource } from './jobs.ts';
import { linesResource } from './lines.ts';
import { logResource } from './log.ts';
import { operatorChangesResource } from './operatorChanges.ts';
import { operatorSessionsResource } from './operatorSessions.ts';
import { operatorsResource } from './operators.ts';
import { otaFilesResource } from './otaFiles.ts';
import { overviewResource } from './overview.ts';
import { parkedEventsResource } from './parkedEvents.ts';
import { presenceResource } from './presence.ts';
import { productionResource } from './production.ts';
import { programmerSelfResource } from './programmerSelf.ts';
import { programmersResource } from './programmers.ts';
import { releasesResource } from './releases.ts';
import { repairsResource } from './repairs.ts';
import type { Resource } from './resource.ts';
import { rolloutsResource } from './rollouts.ts';
import { seriesResource } from './series.ts';
import { signInResource } from './signIn.ts';
import { subjectsResource } from './subjects.ts';
import { systemResource } from './system.ts';
import { vulnerabilitiesResource } from './vulnerabilities.ts';
import { webhooksResource } from './webhooks.ts';

/** Every resource of the API, in the order of the document. */
export const resources: readonly Resource[] = [
  consoleResource,
  systemResource,
  overviewResource,
  operatorsResource,
  credentialsResource,
  operatorSessionsResource,
  authenticatorsResource,
  signInResource,
  operatorChangesResource,
  linesResource,
  releasesResource,
  programmersResource,
  programmerSelfResource,
  seriesResource,
  jobsResource,
  allotmentsResource,
  productionResource,
  devicesResource,
  deviceAttestationsResource,
  deviceActionsResource,
  repairsResource,
  rolloutsResource,
  componentsResource,
  vulnerabilitiesResource,
  otaFilesResource,
  bridgeResource,
  gatewaysResource,
  presenceResource,
  eventsResource,
  eventStreamResource,
  webhooksResource,
  alarmsResource,
  logResource,
  certificatesResource,
  estResource,
  authorityResource,
  ceremoniesResource,
  bulkRevocationsResource,
  effectsResource,
  parkedEventsResource,
  subjectsResource,
];
