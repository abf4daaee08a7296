import { bulkRevocations, bulkRevocationsStream } from '../../domain/bulkRevocations.ts';
import { listOf } from '../../domain/crlList.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { EventType } from '../../domain/events.ts';
import { expiryNoticeDays } from '../../domain/expiry.ts';
import { webhook, webhooksStream } from '../../domain/webhook.ts';
import type { AlarmCaseRow } from '../../projections/alarms.ts';
import { certificateQueries } from '../../projections/certificates.ts';
import { webhookQueries } from '../../projections/webhooks.ts';
import { dayMs } from '../../times.ts';
import { authorityOf } from '../authority/authority.ts';
import type { AlarmEnd } from '../base/alarmEnds.ts';
import { type Context, nowIso, stateOf } from '../base/context.ts';
import { firmwareAlarmEnds, firmwareAlarmModels } from '../firmware/alarmEnds.ts';
import { signsLists } from '../revocation/crlSchedule.ts';

/** When alarms are over by what the log says. Those whose end a process has to see, such as a witness that answers, say so themselves (base/conditions.ts);
 *  what accuses somebody, and damage, is closed by people alone. */

const outOfUse: readonly EventType[] = ['CertificateRevoked', 'DeviceDecommissioned'];
const newCertificates: readonly EventType[] = [
  ...outOfUse,
  'DeviceCertified',
  'CertificateRenewed',
  'OperationalCertificateIssued',
  'ProgrammerCertified',
  'ProgrammerCertificateRenewed',
  'ProgrammerRevoked',
  'ProgrammerRetired',
  'ProgrammerReportedStolen',
  'GatewayCertified',
  'GatewayCertificateRevoked',
  'GatewayRevoked',
  'ServerCertificateIssued',
  'OcspSignerEstablished',
  'IssuingCaEstablished',
  'IssuingCaCompromised',
  'RootCaRolled',
];
const newIssuers: readonly EventType[] = ['IssuingCaActivated', 'IssuingCaRetired', 'IssuingCaCompromised'];

export const alarmEndModels = [...firmwareAlarmModels, 'certificates', 'webhooks'];

export const alarmEnds: readonly AlarmEnd[] = [
  ...firmwareAlarmEnds,
  ...expiryNoticeDays.map(days => ({
    code: `CERTIFICATE_ENDS_${days}_DAYS`,
    after: newCertificates,
    because: (ctx: Context, subject: string, open: AlarmCaseRow) => whyNoneEnds(ctx, subject, open, days),
  })),
  ...['ISSUING_STOPPED', ...expiryNoticeDays.map(days => `ISSUING_STOPS_${days}_DAYS`)].map(code => ({
    code,
    after: newIssuers,
    because: async (ctx: Context, icaId: string) => {
      const issuer = (await authorityOf(ctx)).issuingCas.find(each => each.icaId === icaId);
      return issuer === undefined || issuer.status === 'ACTIVE' ? undefined : `it is ${issuer.status}: another one issues`;
    },
  })),
  {
    code: 'CRL_NOT_SIGNED',
    after: ['IssuingCaCompromised', 'RootCaRetired'],
    because: async (ctx, listId) => {
      const { icaId } = listOf(listId);
      const { roots, issuingCas } = await authorityOf(ctx);
      const issuer = issuingCas.find(each => each.icaId === icaId) ?? roots.find(({ rootId }) => rootId === icaId);
      return issuer !== undefined && !signsLists(issuer, nowIso(ctx)) ? 'its authority signs no more lists' : undefined;
    },
  },
  {
    code: 'TRUST_BUNDLE_REFUSED',
    after: ['TrustBundleApplied', ...outOfUse],
    because: async (ctx, uid) => {
      const state = await stateOf(ctx, device, deviceStream(uid));
      if (state.status === 'NONE') return undefined;
      if (state.status === 'REVOKED' || state.status === 'DECOMMISSIONED') return `the device is ${state.status}`;
      const { version } = (await authorityOf(ctx)).trustBundle;
      return (state.trustBundleVersion ?? 0) >= version ? `the device has version ${version}` : undefined;
    },
  },
  {
    code: 'KEYS_KEPT',
    after: ['KeyCustodyDestroyed'],
    because: async (ctx, uid) => {
      const state = await stateOf(ctx, device, deviceStream(uid));
      return state.status !== 'NONE' && state.custodyDestroyed ? 'its keys are destroyed' : undefined;
    },
  },
  {
    code: 'BULK_REVOCATION_STOPPED',
    after: ['BulkRevocationDone'],
    because: async (ctx, subject) => {
      const { byId } = await stateOf(ctx, bulkRevocations, bulkRevocationsStream(ctx.project));
      return byId.get(subject.replace('bulk-revocation-', ''))?.status === 'DONE' ? 'it is done' : undefined;
    },
  },
  {
    code: 'WEBHOOK_DEAD_LETTERS',
    after: ['WebhookDeadLetterDelivered', 'WebhookDeadLettersDropped', 'WebhookRemoved'],
    because: async (ctx, subject) => {
      const name = nameOf(subject);
      const standing = await webhookQueries(ctx.reads.db).deadLetters({ name, limit: 1 });
      return standing.length === 0 ? 'nothing is undelivered any more' : undefined;
    },
  },
  {
    code: 'WEBHOOK_UNREACHABLE',
    after: ['WebhookRemoved'],
    because: async (ctx, subject) =>
      (await stateOf(ctx, webhook, webhooksStream)).byName.has(nameOf(subject)) ? undefined : 'it is removed',
  },
];

const nameOf = (subject: string): string => subject.replace('webhook-', '');

/** All that the case is about are replaced or revoked. What has ended without either is for people to see. */
async function whyNoneEnds(ctx: Context, subject: string, { first_at, last_at }: AlarmCaseRow, days: number): Promise<string | undefined> {
  const [kind = ''] = subject.split('-', 1);
  const before = new Date(Date.parse(last_at) + days * dayMs).toISOString();
  const isLeft = await certificateQueries(ctx.reads.db).anyUnreplaced({
    kind,
    icaId: subject.slice(kind.length + 1),
    from: first_at,
    before,
  });
  return isLeft ? undefined : 'each is replaced, or counts no more';
}
