import { z } from '@hono/zod-openapi';
import type { DeviceRow } from '../projections/devices.ts';
import type { Services } from '../services/start/services.ts';
import { uidField } from './fields.ts';

/** A device in answers. */

export const deviceSchema = z
  .object({
    uid: uidField,
    objId: z.string(),
    generation: z.number(),
    line: z.string(),
    jobId: z.string(),
    programmer: z.string(),
    status: z.string(),
    serial: z.string().nullable(),
    releaseId: z.string().nullable(),
    version: z.string().nullable(),
    securityCounter: z.number().nullable(),
    imageHash: z.string().nullable(),
    attestation: z.string().nullable(),
    attestedAt: z.string().nullable(),
    connected: z.boolean(),
    trustBundleVersion: z.number().nullable(),
    /** Whether the chip has proven the key that images are encrypted for. */
    hasEncryptionKey: z.boolean(),
    tags: z.array(z.string()),
    gateways: z.array(z.string()).openapi({ description: 'gateways that the device is attached to' }),
    changedAt: z.string(),
    revision: z.number(),
  })
  .openapi('Device');

export type DeviceAnswer = z.infer<typeof deviceSchema>;

/** ISO times compare as text. */
const laterOf = (at: string | null, otherMs: number | undefined): string | null => {
  const other = otherMs === undefined ? null : new Date(otherMs).toISOString();
  return other !== null && (at === null || other > at) ? other : at;
};

type Parts = Pick<Services, 'channel' | 'attestations'> & { readonly field: Pick<Services['field'], 'attachments'> };

/** @param attestedMs time of its last attestation, also when that changed nothing */
export const deviceAnswer = (row: DeviceRow, { channel, field }: Parts, attestedMs: number | undefined): DeviceAnswer => ({
  uid: row.uid,
  objId: row.obj_id,
  generation: row.generation,
  line: row.line,
  jobId: row.job_id,
  programmer: row.programmer,
  status: row.status,
  serial: row.serial,
  releaseId: row.release_id,
  version: row.version,
  securityCounter: row.security_counter,
  imageHash: row.image_hash,
  attestation: row.attestation,
  attestedAt: laterOf(row.attested_at, attestedMs),
  connected: channel.isConnected(row.uid),
  trustBundleVersion: row.trust_bundle_version,
  hasEncryptionKey: row.has_encryption_key === 1,
  tags: row.tags === '' ? [] : row.tags.split(' '),
  gateways: [...field.attachments.attachedTo(row.uid)].sort(),
  changedAt: row.changed_at,
  revision: row.revision,
});

/** One device, as it is now. */
export const deviceAnswerOf = (row: DeviceRow, parts: Parts): DeviceAnswer =>
  deviceAnswer(row, parts, parts.attestations.lastOf([row.uid]).get(row.uid));
