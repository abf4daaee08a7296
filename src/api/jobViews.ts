import { z } from '@hono/zod-openapi';
import type { CreatedJob } from '../domain/jobState.ts';
import { configWordCount } from '../production/configWords.ts';
import type { AllotmentRow, JobRow, UnitRow } from '../projections/jobs.ts';
import type { Progress } from '../services/production/jobStatus.ts';
import { contentSha256Of, unitValues } from '../services/production/jobs.ts';
import { sha256Field, siteField } from './fields.ts';
import { seriesNameField } from './series.ts';

/** Jobs as answers show them: all of it to the OEM, and to a manufacturer what is its own: status, units, yield, reasons. */

/** Of the OEM alone: a manufacturer does not get it. */
const ofOem = <Schema extends z.ZodType>(schema: Schema) => schema.optional().describe('not shown to line operators');
export const unitDataSchema = z.strictObject({
  name: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'a name is 1 to 32 of a–z, 0–9 and -'),
  series: seriesNameField,
  destination: z
    .enum(['plain', 'sealed', 'report'])
    .describe('sealed: to the device with the application; plain: before the lock; report: to the report only'),
});
/** CONFIG0 to CONFIG3 of the chips. */
export const configField = z
  .array(z.number().int().min(0).max(0xffff_ffff))
  .length(configWordCount)
  .describe('configuration words CONFIG0 to CONFIG3 of the chips (Nuvoton M2351, M2354)');
const firmwareSchema = z.object({
  version: z.string(),
  releaseId: ofOem(z.string()),
  securityCounter: ofOem(z.number()),
  imageHash: ofOem(z.string()),
});
const shareSchema = z.object({ programmer: z.string(), count: z.number(), scrapAllowance: z.number(), settled: z.boolean() });
const findingSchema = z.object({ kind: z.string(), programmer: z.string().optional(), uid: z.string().optional(), detail: z.string() });
export const jobSchema = z
  .object({
    jobId: z.string(),
    line: z.string(),
    status: z.string(),
    plannedCount: z.number(),
    scrapAllowance: z.number(),
    requireUidList: z.boolean(),
    site: siteField.optional(),
    unitData: z.array(unitDataSchema.partial({ series: true })).optional(),
    configWords: configField.optional(),
    uidCount: z.number().optional(),
    bl2: firmwareSchema.optional(),
    app: firmwareSchema.optional(),
    createdBy: ofOem(z.string()),
    contributors: ofOem(z.array(z.string())),
    contentSha256: ofOem(sha256Field),
    releasedBy: ofOem(z.string()),
    verdict: z.string().optional(),
    allotments: z.array(shareSchema),
    discrepancies: z.array(findingSchema),
  })
  .openapi('Job');
const boardSchema = z.object({
  programmer: z.string(),
  status: z.string(),
  frozenReason: z.string().optional(),
  quota: z.number(),
  scrapAllowance: z.number(),
  reserved: z.number(),
  committed: z.number(),
  voided: z.number(),
  scrapped: z.number(),
  remaining: z.number(),
  sequence: z.number(),
  ledgerNumber: z.number(),
});
export const rowSchema = z.object({
  jobId: z.string(),
  line: z.string(),
  status: z.string(),
  plannedCount: z.number(),
  site: siteField.optional(),
  appVersion: z.string().optional(),
  verdict: z.string().optional(),
  createdAt: z.string(),
  createdBy: ofOem(z.string()),
  reserved: z.number(),
  committed: z.number(),
  voided: z.number(),
  scrapped: z.number(),
});
export const detailSchema = jobSchema.extend({ board: z.array(boardSchema) });
export type JobRowAnswer = z.infer<typeof rowSchema>;
export type JobAnswer = z.infer<typeof detailSchema>;
export type JobStatusAnswer = z.infer<typeof statusSchema>;
export type UnitAnswer = z.infer<typeof unitSchema>;
const progressSchema = z.object({
  committed: z.number(),
  voided: z.number(),
  scrapped: z.number(),
  open: z.number(),
  yield: z.number().nullable(),
  unitsPerHour: z.number().nullable(),
  firstAt: z.string().nullable(),
  lastAt: z.string().nullable(),
  reasons: z.array(z.object({ status: z.enum(['VOIDED', 'SCRAPPED']), reason: z.string(), units: z.number() })),
});
export const statusSchema = rowSchema.extend(progressSchema.shape).extend({
  bl2Version: z.string().optional(),
  byProgrammer: z.array(progressSchema.extend({ programmer: z.string() })),
  minutes: z
    .array(z.object({ minute: z.string(), committed: z.number(), lost: z.number() }))
    .describe('units that ended in each of the last 60 minutes; minutes without any are left out'),
});
export const unitSchema = z.object({
  uid: z.string(),
  objId: ofOem(z.string()),
  status: z.string(),
  reason: z.string().nullable(),
  bl2Version: z.string().nullable(),
  appVersion: z.string().nullable(),
  serial: ofOem(z.string().nullable()),
  programmer: z.string(),
  number: z.number(),
  reservedAt: z.string(),
  certifiedAt: z.string().nullable(),
  lockedAt: z.string().nullable(),
  finishedAt: z.string().nullable(),
  values: z.record(z.string(), z.string()).describe('unit data, by name; calibration data as SHA-256'),
});

/** @param isOfOem whether the OEM's own are in it: people, releases, hashes, series */
export function jobView(job: CreatedJob, isOfOem = true): z.infer<typeof jobSchema> {
  const { jobId, line, status, plannedCount, scrapAllowance, policy, site, uidList, bl2, app, createdBy, releasedBy, verdict } = job;
  return {
    ...{ jobId, line, status, plannedCount, scrapAllowance, requireUidList: policy.requireUidList },
    ...(isOfOem && { createdBy, contributors: [...job.contributors], contentSha256: contentSha256Of(job) }),
    ...(site !== undefined && { site }),
    ...(job.unitData !== undefined && { unitData: job.unitData.map(field => unitDataView(field, isOfOem)) }),
    ...(job.configWords !== undefined && { configWords: [...job.configWords] }),
    ...(uidList !== undefined && { uidCount: uidList.count }),
    ...(bl2 !== undefined && { bl2: firmwareView(bl2, isOfOem) }),
    ...(app !== undefined && { app: firmwareView(app, isOfOem) }),
    ...(isOfOem && releasedBy !== undefined && { releasedBy }),
    ...(verdict !== undefined && { verdict }),
    allotments: [...job.allotments],
    discrepancies: [...job.discrepancies],
  };
}

function firmwareView({ releaseId, version, securityCounter, imageHash }: NonNullable<CreatedJob['app']>, isOfOem: boolean) {
  return { version, ...(isOfOem && { releaseId, securityCounter, imageHash }) };
}

const unitDataView = ({ name, series, destination }: NonNullable<CreatedJob['unitData']>[number], isOfOem: boolean) => ({
  name,
  destination,
  ...(isOfOem && { series }),
});

type Totals = { readonly reserved: number; readonly committed: number; readonly voided: number; readonly scrapped: number };
const nothingYet: Totals = { reserved: 0, committed: 0, voided: 0, scrapped: 0 };

export const progressView = ({ reasons, ...rest }: Progress) => ({ ...rest, reasons: [...reasons] });

/** The bootloader of the job runs on whatever has come so far. */
const withBootloader: ReadonlySet<UnitRow['status']> = new Set(['ROOTED', 'LOCKED', 'AUTHENTICATED', 'INSTALLED', 'COMMITTED']);

export function unitView(row: UnitRow, bl2Version: string | null, isOfOem: boolean) {
  const { uid, obj_id: objId, status, reason, version: appVersion, serial, programmer, number } = row;
  const times = { reservedAt: row.reserved_at, certifiedAt: row.certified_at, lockedAt: row.locked_at, finishedAt: row.finished_at };
  return {
    uid,
    ...(isOfOem && { objId, serial }),
    status,
    reason,
    bl2Version: withBootloader.has(status) ? bl2Version : null,
    appVersion,
    programmer,
    number,
    ...times,
    values: { ...unitValues(row.unit_data) },
  };
}

export function rowView(row: JobRow, isOfOem: boolean, { reserved, committed, voided, scrapped }: Totals = nothingYet) {
  const { job_id: jobId, line, status, planned_count: plannedCount, created_at: createdAt } = row;
  return {
    ...{ jobId, line, status, plannedCount, createdAt, reserved, committed, voided, scrapped },
    ...(isOfOem && { createdBy: row.created_by }),
    ...(row.site !== null && { site: row.site }),
    ...(row.app_version !== null && { appVersion: row.app_version }),
    ...(row.verdict !== null && { verdict: row.verdict }),
  };
}

export function boardView(row: AllotmentRow) {
  const { programmer, status, quota, reserved, committed, voided, scrapped, sequence } = row;
  const open = reserved - committed - voided;
  const remaining = Math.max(0, Math.min(quota - committed - open, quota + row.scrap_allowance - committed - open - scrapped));
  return {
    ...{ programmer, status, quota, scrapAllowance: row.scrap_allowance, reserved, committed, voided, scrapped, remaining, sequence },
    ledgerNumber: row.ledger_number,
    ...(row.frozen_reason !== null && { frozenReason: row.frozen_reason }),
  };
}
