import type { OpenId } from '../administration/openId.ts';
import type { TokenUse } from '../administration/tokenUse.ts';
import type { Alarms } from '../base/alarms.ts';
import type { AttestationLog } from '../base/attestationLog.ts';
import type { Context } from '../base/context.ts';
import type { Spans } from '../base/spans.ts';
import type { DeviceChannel } from '../field/deviceChannel.ts';
import type { CertificateUse } from '../identity/certificateUse.ts';
import type { ClientTrust } from '../identity/clientTrust.ts';
import type { WebhookFigures } from '../integration/webhookFigures.ts';
import type { Webhooks } from '../integration/webhooks.ts';
import type { DeviceEvidence } from '../proof/deviceEvidence.ts';
import type { LogCheck } from '../proof/logCheck.ts';
import type { NewestCheckpoint } from '../proof/newestCheckpoint.ts';
import type { BulkRevocations } from '../revocation/bulkRevocations.ts';
import type { Ocsp } from '../revocation/ocsp.ts';
import type { Revocations } from '../revocation/revocations.ts';
import type { Field } from './field.ts';

/** What the edges (API, MQTT gateway) work with. */
export type Services = {
  readonly ctx: Context;
  /** Number of this process among those that share the ports of the machine; undefined when it has them alone. */
  readonly processSlot?: number | undefined;
  readonly alarms: Alarms;
  readonly tokenUse: TokenUse;
  /** Where people sign in besides by token. */
  readonly openId: OpenId | undefined;
  readonly revocations: Revocations;
  readonly trust: ClientTrust;
  readonly certificateUse: CertificateUse;
  readonly channel: DeviceChannel;
  readonly field: Field;
  readonly attestations: AttestationLog;
  readonly ocsp: Ocsp;
  readonly bulkRevocations: BulkRevocations;
  readonly evidence: DeviceEvidence;
  readonly logCheck: LogCheck;
  readonly newestCheckpoint: NewestCheckpoint;
  readonly spans: Spans;
  readonly webhooks: Webhooks;
  readonly webhookFigures: WebhookFigures;
};
