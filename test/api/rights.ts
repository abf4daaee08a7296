import { type Role, readers } from '../../src/domain/roles.ts';

/** Who may ask for what, and what becomes of it when that person is limited to a scope. Every route of the OpenAPI document has a line: a route
 *  without one fails rights.test.ts. */

/** `open`: anybody; `machine`: no person at all; else these roles, and administrators. */
export type Who = 'open' | 'machine' | readonly Role[];
/** `all`: about the whole project, so refused to whoever has a scope · `own`: about the caller · `lists`: shows what is within the scope ·
 *  `place`: what is made has to be within the scope · a kind of thing: the path names one, and beyond the scope there is none. */
export type Reach = 'all' | 'own' | 'lists' | 'place' | 'job' | 'device' | 'programmer' | 'release' | 'rollout' | 'line';

const anyone: readonly Role[] = [...readers, 'lineOperator', 'service'];
const officer: readonly Role[] = ['securityOfficer'];
const planner: readonly Role[] = ['productionPlanner'];
const reading: readonly Role[] = [...readers, 'lineOperator'];
const driver: readonly Role[] = ['productionPlanner', 'lineOperator'];
const manager: readonly Role[] = ['releaseManager'];
const auditor: readonly Role[] = ['auditor'];
const administrator: readonly Role[] = [];

const several = (method: string, paths: readonly string[], who: Who, reach: Reach): Readonly<Record<string, readonly [Who, Reach]>> =>
  Object.fromEntries(paths.map(path => [`${method} ${path}`, [who, reach] as const]));
const steps = (path: string, ...names: readonly string[]): readonly string[] => names.map(name => `${path}/${name}`);

const unit = '/v1/production/units/{grantId}';
const unitSteps = ['csr', 'bootloader', 'application-key', 'application'];

function bridge(kind: 'programmer' | 'gateway') {
  const path = `/v1/${kind}-bridge/{uid}`;
  const job = `${path}/jobs/{otaJobId}`;
  const posts = [path, ...steps(path, 'order', 'receipt'), ...steps(job, 'status', 'evidence')];
  return { ...several('POST', posts, 'machine', 'all'), ...several('GET', [`${job}/body`], 'machine', 'all') };
}

export const rights: Readonly<Record<string, readonly [Who, Reach]>> = {
  ...several('GET', ['/healthz', '/readyz', '/v1/authority/root.pem', '/v1/trust-bundle', '/v1/time'], 'open', 'all'),
  ...several('POST', ['/v1/sign-in/command'], 'open', 'all'),
  ...several('GET', ['/metrics'], ['auditor', 'service'], 'all'),
  ...several('GET', ['/v1/log/followers', '/v1/log/parked'], ['securityOfficer', 'auditor'], 'all'),
  ...several('POST', ['/v1/log/parked'], officer, 'all'),

  ...several('GET', ['/v1/webhooks', '/v1/webhooks/{name}', '/v1/webhooks/{name}/dead-letters'], auditor, 'all'),
  ...several('POST', ['/v1/webhooks', ...steps('/v1/webhooks/{name}', 'secret', 'test', 'replay', 'drop')], administrator, 'all'),
  ...several('DELETE', ['/v1/webhooks/{name}'], administrator, 'all'),

  ...several('GET', ['/v1/subjects', '/v1/subjects/{id}/data'], auditor, 'all'),
  ...several('POST', ['/v1/subjects/{id}/erase'], administrator, 'all'),

  ...several('GET', ['/v1/operators/me', '/v1/operators/me/credentials', '/v1/operators/me/sessions'], anyone, 'own'),
  ...several('POST', ['/v1/operators/me/token', '/v1/operators/me/tokens'], anyone, 'own'),
  ...several('POST', steps('/v1/operators/me', 'authenticators', 'authenticators/begin', 'confirmations'), anyone, 'own'),
  ...several('DELETE', ['/v1/operators/me/credentials/{id}', '/v1/operators/me/sessions/{id}'], anyone, 'own'),
  ...several('GET', ['/v1/operators/{name}/credentials', '/v1/operators/{name}/sessions'], auditor, 'all'),
  ...several('DELETE', ['/v1/operators/{name}/credentials/{id}', '/v1/operators/{name}/sessions/{id}'], administrator, 'all'),
  ...several('GET', ['/v1/operators', '/v1/operator-changes'], auditor, 'all'),
  ...several('POST', ['/v1/operators', '/v1/operators/{name}/token'], administrator, 'all'),
  ...several('PUT', ['/v1/operators/{name}/roles'], administrator, 'all'),
  ...several('DELETE', ['/v1/operators/{name}'], administrator, 'all'),
  ...several('POST', steps('/v1/operator-changes/{id}', 'approve', 'withdraw'), administrator, 'all'),
  ...several('POST', ['/v1/operators/me/allowances'], officer, 'own'),
  ...several('GET', ['/v1/operators/{name}/allowances'], ['securityOfficer', 'auditor'], 'own'),
  ...several('GET', ['/v1/allowances'], ['securityOfficer', 'auditor'], 'all'),
  ...several('POST', ['/v1/operators/{name}/allowances/{id}/approve'], officer, 'all'),

  ...several('POST', ['/v1/lines'], manager, 'all'),
  ...several('GET', ['/v1/lines'], readers, 'lists'),
  ...several('GET', ['/v1/lines/{line}', '/v1/lines/{line}/attestation', '/v1/lines/{line}/counters'], readers, 'line'),
  ...several(
    'POST',
    ['/v1/lines/{line}/approve', '/v1/lines/{line}/encryption', '/v1/lines/{line}/floor', '/v1/lines/{line}/support'],
    manager,
    'line',
  ),
  ...several('POST', ['/v1/lines/{line}/attest', '/v1/lines/{line}/attestation'], officer, 'line'),
  ...several('POST', ['/v1/releases'], manager, 'place'),
  ...several('GET', ['/v1/releases'], readers, 'lists'),
  ...several('GET', ['/v1/releases/{id}', '/v1/releases/{id}/analysis', '/v1/releases/{id}/sbom'], readers, 'release'),
  ...several('PUT', ['/v1/releases/{id}/sbom'], manager, 'release'),
  ...several('GET', ['/v1/fleet/where'], readers, 'lists'),
  ...several('GET', ['/v1/vulnerabilities', '/v1/vulnerabilities/{id}'], ['securityOfficer', 'releaseManager', 'auditor'], 'all'),
  ...several(
    'POST',
    ['/v1/vulnerabilities', ...steps('/v1/vulnerabilities/{id}', 'report', 'close')],
    ['securityOfficer', 'releaseManager'],
    'all',
  ),
  ...several('POST', steps('/v1/releases/{id}', 'approve', 'publish', 'withdraw'), manager, 'release'),
  ...several('PUT', ['/v1/devices/{uid}/attestation-key'], officer, 'device'),
  ...several('POST', ['/v1/devices/{uid}/tags'], ['securityOfficer', 'releaseManager', 'productionPlanner'], 'device'),
  ...bridge('programmer'),
  ...bridge('gateway'),
  ...several('GET', ['/v1/ota/{otaJobId}'], 'machine', 'all'),
  ...several('POST', ['/v1/rollouts'], manager, 'place'),
  ...several('GET', ['/v1/rollouts'], readers, 'lists'),
  ...several('GET', ['/v1/rollouts/{id}'], readers, 'rollout'),
  ...several('POST', steps('/v1/rollouts/{id}', 'approve', 'start', 'resume', 'pause', 'abort'), manager, 'rollout'),

  ...several('POST', ['/v1/programmers'], officer, 'all'),
  ...several('GET', ['/v1/programmers'], readers, 'lists'),
  ...several('GET', ['/v1/programmers/{uid}'], readers, 'programmer'),
  ...several('POST', steps('/v1/programmers/{uid}', 'csr', 'boot-key', 'firmware', 'locked', 'ship'), officer, 'all'),
  ...several('POST', steps('/v1/programmers/{uid}', 'suspend', 'resume', 'stolen', 'revoke', 'return', 'retire'), officer, 'programmer'),
  ...several('POST', steps('/v1/programmers/{uid}', 'kek', 'check-in'), 'machine', 'all'),
  ...several('PUT', ['/v1/programmers/{uid}/kek/{epoch}'], 'machine', 'all'),

  ...several('GET', ['/v1/series'], ['productionPlanner', 'auditor'], 'all'),
  ...several('POST', ['/v1/series', '/v1/series/{name}/range'], planner, 'all'),
  ...several('PUT', ['/v1/series/{name}/list'], planner, 'all'),
  ...several('POST', ['/v1/jobs'], planner, 'place'),
  ...several('GET', ['/v1/jobs'], reading, 'lists'),
  ...several('GET', ['/v1/jobs/{id}', ...steps('/v1/jobs/{id}', 'status', 'units', 'status.csv', 'reconciliation')], reading, 'job'),
  ...several('POST', steps('/v1/jobs/{id}', 'firmware', 'release', 'cancel', 'close', 'allotments'), planner, 'job'),
  ...several('PUT', ['/v1/jobs/{id}/uids'], planner, 'job'),
  ...several('POST', steps('/v1/jobs/{id}', 'suspend', 'resume'), driver, 'job'),
  ...several('POST', ['/v1/jobs/{id}/allotments/{programmer}/export'], driver, 'job'),
  ...several('POST', steps('/v1/jobs/{id}/allotments/{programmer}', 'thaw', 'thaw-proposals'), planner, 'job'),
  ...several('POST', ['/v1/jobs/{id}/allotments/{programmer}/thaw-proposals/{proposal}/approve'], [...planner, ...officer], 'job'),
  ...several('GET', ['/v1/jobs/{id}/allotments/{programmer}/thaw-proposals'], [...planner, ...officer, ...auditor], 'job'),

  ...several('POST', ['/v1/production/imports', '/v1/production/units', '/v1/production/jobs/{jobId}/zeroise'], 'machine', 'all'),
  ...several('POST', steps(unit, ...unitSteps, 'commit', 'renew', 'void'), 'machine', 'all'),
  ...several('GET', [unit, '/v1/production/images/{sha256}', '/v1/production/jobs/{jobId}/packages/{packageId}'], 'machine', 'all'),

  ...several('GET', steps('/v1/log', 'checkpoint', 'key', 'export', 'entries', 'consistency'), auditor, 'all'),
  ...several('GET', ['/v1/devices', '/v1/devices/counts', '/v1/certificates', '/v1/alarms', '/v1/alarm-cases'], readers, 'lists'),
  ...several('GET', ['/v1/events/stream'], auditor, 'lists'),
  ...several('GET', ['/v1/alarm-cases/{id}'], readers, 'lists'),
  ...several(
    'POST',
    steps('/v1/alarm-cases/{id}', 'acknowledge', 'assign', 'silence'),
    ['securityOfficer', 'productionPlanner', 'releaseManager'],
    'lists',
  ),
  ...several('GET', ['/v1/attestations/lag', '/v1/attestations/schedules', '/v1/log/health'], readers, 'all'),
  ...several(
    'GET',
    [
      '/v1/devices/{uid}',
      ...steps('/v1/devices/{uid}', 'attestations', 'attestations/{id}', 'events', 'evidence', 'evidence/{sha256}', 'repair'),
    ],
    readers,
    'device',
  ),
  ...several(
    'POST',
    steps('/v1/devices/{uid}', 'attest', 'revoke', 'suspend', 'resume', 'decommission', 'quarantine', 'release'),
    officer,
    'device',
  ),
  ...several('POST', steps('/v1/devices/{uid}', 'repair', 'repair/unlock', 'repair/unlock/approve', 'repair/return'), officer, 'device'),
  ...several('GET', ['/v1/repairs/{uid}'], 'machine', 'all'),
  ...several('POST', steps('/v1/repairs/{uid}', 'unlock', 'rekey', 'csr', 'returned'), 'machine', 'all'),

  ...several('GET', ['/v1/events'], auditor, 'lists'),
  ...several('GET', ['/v1/revocations', '/v1/gateways', '/v1/gateways/{id}/presence', '/v1/authority'], readers, 'all'),
  ...several('GET', ['/v1/gateway/refusals'], ['securityOfficer', 'auditor'], 'all'),
  ...several('GET', ['/v1/devices/{uid}/presence'], readers, 'device'),
  ...several('POST', ['/v1/gateways', ...steps('/v1/gateways/{id}', 'csr', 'devices', 'suspend', 'revoke', 'resume')], officer, 'all'),
  ...several('DELETE', ['/v1/gateways/{id}/devices/{uid}'], officer, 'all'),
  ...several('POST', ['/v1/gateways/{id}/trust-bundle'], 'machine', 'all'),

  ...several('GET', ['/v1/authority/ceremonies', '/v1/authority/ceremonies/{id}/record'], readers, 'all'),
  ...several('POST', ['/v1/authority/ceremonies', ...steps('/v1/authority/ceremonies/{id}', 'approve', 'withdraw')], administrator, 'all'),
  ...several('GET', ['/v1/bulk-revocations', '/v1/bulk-revocations/{id}', '/v1/bulk-revocations/{id}/devices'], readers, 'all'),
  ...several('POST', ['/v1/bulk-revocations', ...steps('/v1/bulk-revocations/{id}', 'approve', 'cancel')], officer, 'all'),
};
