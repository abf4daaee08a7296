import { opening } from '../../closing.ts';
import { startRetention } from '../administration/retention.ts';
import { createAlarms } from '../base/alarms.ts';
import type { AttestationLog } from '../base/attestationLog.ts';
import type { Context } from '../base/context.ts';
import type { Damage, FolderParts } from '../dataFolder/damage.ts';
import { startScrub } from '../dataFolder/scrub.ts';
import { startAttestationSchedule } from '../field/attestationSchedule.ts';
import { startVulnerabilityWatch } from '../firmware/vulnerabilityWatch.ts';
import { startExpiryScan } from '../identity/expiry.ts';
import type { DeliveryParts } from '../integration/webhookDelivery.ts';
import { startWebhookWork } from '../integration/webhookWork.ts';
import { startUnitExpiry } from '../production/unitExpiry.ts';
import { startAttestationSeals } from '../proof/attestationSeals.ts';
import type { AttestationSharing } from '../proof/attestationSharing.ts';
import { keepCheckpoints } from '../proof/checkpoints.ts';
import type { CheckpointPlaces } from '../proof/knownCheckpoints.ts';
import type { NewestCheckpoint } from '../proof/newestCheckpoint.ts';
import type { WitnessSettings } from '../proof/witness.ts';
import { startWitnesses } from '../proof/witnesses.ts';
import { startBulkRevocationWork } from '../revocation/bulkRevocations.ts';
import { startCrlSchedule } from '../revocation/crlSchedule.ts';
import { keepRevocationMark } from '../revocation/revocationMark.ts';
import type { Revocations } from '../revocation/revocations.ts';
import type { Field } from './field.ts';

type HousekeepingParts = {
  readonly ctx: Context;
  readonly revocations: Revocations;
  readonly markFile: string;
  readonly checkpoints: CheckpointPlaces;
  readonly newestCheckpoint: NewestCheckpoint;
  readonly witnesses: readonly WitnessSettings[];
  readonly dataDir: string;
  readonly attestations: AttestationLog;
  readonly sharing: AttestationSharing | undefined;
  readonly field: Pick<Field, 'attestation' | 'attachments' | 'channel'>;
  readonly scrubbed: FolderParts;
  readonly addressDays: number;
  readonly webhookParts: Omit<DeliveryParts, 'ctx' | 'alarms'>;
  /** Sends each checkpoint to the other processes. */
  readonly tell: (note: string) => void;
};

/** What one of the processes at a data folder does for all of them: lists signed ahead of time, certificates that end, reservations and addresses whose time is over,
 *  revocations in bulk, the high-water mark, checkpoints of the log, and a look at all that is stored.
 *  @param epoch the leadership under which all of it is appended */
export const startHousekeeping = (services: HousekeepingParts, epoch: number): Promise<{ close(): Promise<void> }> =>
  opening(async own => {
    const { revocations, markFile, checkpoints, newestCheckpoint, scrubbed, attestations, sharing } = services;
    const ctx = { ...services.ctx, epoch };
    const alarms = createAlarms(ctx);
    // First, so that it is closed last: the checkpoint at the stop covers what the others still append.
    const witnesses = own('witnesses', startWitnesses({ ctx, alarms }, services.witnesses, services.dataDir));
    const offer = (note: string): void => {
      services.tell(note);
      witnesses.offer(note);
    };
    const kept = own('checkpoints', await keepCheckpoints({ ctx, alarms }, checkpoints, offer));
    own('checkpoints on demand', { close: newestCheckpoint.lead(kept.sign) });
    own('revocation mark', await keepRevocationMark(ctx, markFile));
    own('bulk revocations', await startBulkRevocationWork(ctx, alarms, scrubbed.store));
    const crlSchedule = own('CRL schedule', startCrlSchedule(ctx, revocations, alarms));
    const expiry = own('expiry scan', startExpiryScan(ctx, alarms));
    const seals = own('attestation seals', startAttestationSeals({ ctx, alarms, attestations, sharing }));
    own('attestation schedule', startAttestationSchedule({ ctx: services.ctx, alarms, attestations, ...services.field }));
    own('unit expiry', startUnitExpiry(ctx));
    own('vulnerability watch', startVulnerabilityWatch(ctx));
    own('webhooks', await startWebhookWork({ ctx, alarms, ...services.webhookParts }));
    const retention = own('retention', startRetention(ctx, services.addressDays));
    const damaged = ({ place, detail }: Damage): void => {
      ctx.log.error({ place, detail }, 'damage in the data folder');
      alarms.raise({ code: 'STORE_DAMAGED', subject: place.replaceAll(' ', '-'), detail }).catch(() => undefined);
    };
    own('scrub', startScrub(scrubbed, damaged));
    void revocations.known.then(() => Promise.all([crlSchedule.check(), expiry.check()]));
    void seals.now();
    void retention.now();
    return {};
  });
