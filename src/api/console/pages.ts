import type { Actions } from './actions.ts';
import type { Page } from './layout.ts';
import { alarmActions, alarmsPage } from './pages/alarms.ts';
import { auditExport, auditPage } from './pages/audit.ts';
import { certificatesPage } from './pages/certificates.ts';
import { deviceEvidenceFile, devicePage, signedEvidenceFile } from './pages/device.ts';
import { deviceActions } from './pages/deviceActions.ts';
import { fleetPage } from './pages/fleet.ts';
import { gatewayActions, gatewaysPage } from './pages/gateways.ts';
import { homePage } from './pages/home.ts';
import { jobActions } from './pages/jobActions.ts';
import { jobPage, jobReportFile, jobsPage, jobUnitsFile } from './pages/jobs.ts';
import { lineActions } from './pages/lineActions.ts';
import { linePage, linesPage } from './pages/lines.ts';
import { logActions, logPage } from './pages/log.ts';
import { mePage, peopleActions, peoplePage } from './pages/people.ts';
import { programmerActions, programmerPage, programmersPage } from './pages/programmers.ts';
import { releaseActions, releasePage, releaseSbomFile, releasesPage } from './pages/releases.ts';
import { bulkDevicesFile, revocationActions, revocationsPage } from './pages/revocations.ts';
import { rolloutActions } from './pages/rolloutActions.ts';
import { rolloutPage, rolloutsPage } from './pages/rollouts.ts';
import { seriesActions, seriesPage } from './pages/series.ts';
import { personPage } from './pages/sessions.ts';
import { subjectActions, subjectDataFile, subjectsPage } from './pages/subjects.ts';
import { ceremonyRecordPage, trustPage } from './pages/trust.ts';
import { trustActions } from './pages/trustActions.ts';
import { vulnerabilitiesPage, vulnerabilityActions, vulnerabilityPage } from './pages/vulnerabilities.ts';
import { webhookActions, webhookPage, webhooksPage } from './pages/webhooks.ts';
import type { Visit } from './visit.ts';

/** Every page and every action of the console. */

/** A page, or a file to download. */
type Render = (visit: Visit, params: Readonly<Record<string, string>>) => Promise<Page | Response>;

export const pages: Readonly<Record<string, Render>> = {
  '/console': homePage,
  '/console/fleet': fleetPage,
  '/console/fleet/:uid': devicePage,
  '/console/fleet/:uid/evidence': deviceEvidenceFile,
  '/console/fleet/:uid/evidence/:sha256': signedEvidenceFile,
  '/console/gateways': gatewaysPage,
  '/console/jobs': jobsPage,
  '/console/jobs/:id': jobPage,
  '/console/jobs/:id/units': jobUnitsFile,
  '/console/jobs/:id/report': jobReportFile,
  '/console/programmers': programmersPage,
  '/console/programmers/:id': programmerPage,
  '/console/series': seriesPage,
  '/console/lines': linesPage,
  '/console/lines/:line': linePage,
  '/console/releases': releasesPage,
  '/console/releases/:id': releasePage,
  '/console/releases/:id/sbom': releaseSbomFile,
  '/console/vulnerabilities': vulnerabilitiesPage,
  '/console/vulnerabilities/:case': vulnerabilityPage,
  '/console/rollouts': rolloutsPage,
  '/console/rollouts/:id': rolloutPage,
  '/console/trust': trustPage,
  '/console/trust/record/:id': ceremonyRecordPage,
  '/console/certificates': certificatesPage,
  '/console/revocations': revocationsPage,
  '/console/revocations/:id': bulkDevicesFile,
  '/console/alarms': alarmsPage,
  '/console/audit': auditPage,
  '/console/audit/export': auditExport,
  '/console/log': logPage,
  '/console/webhooks': webhooksPage,
  '/console/webhooks/:name': webhookPage,
  '/console/people': peoplePage,
  '/console/people/me': mePage,
  '/console/people/:name': personPage,
  '/console/subjects': subjectsPage,
  '/console/subjects/:id/data': subjectDataFile,
};

export const actions: Actions = {
  ...alarmActions,
  ...deviceActions,
  ...gatewayActions,
  ...jobActions,
  ...lineActions,
  ...logActions,
  ...peopleActions,
  ...programmerActions,
  ...releaseActions,
  ...revocationActions,
  ...rolloutActions,
  ...seriesActions,
  ...subjectActions,
  ...trustActions,
  ...vulnerabilityActions,
  ...webhookActions,
};
