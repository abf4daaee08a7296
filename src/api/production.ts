import { createRoute, z } from '@hono/zod-openapi';
import { toBase64url, toHex } from '../bytes.ts';
import { maxCsrBytes } from '../pki/csr.ts';
import { maxSegmentRecords } from '../production/ledger.ts';
import { publicKeySha256 } from '../services/authority/authority.ts';
import type { Parts } from '../services/base/alarms.ts';
import { oneCommit } from '../services/base/context.ts';
import { isSuperseded } from '../services/production/allotments.ts';
import { imageBody, type SignedImage } from '../services/production/images.ts';
import { recordImport } from '../services/production/imports.ts';
import { commitUnit, voidByProgrammer, zeroiseJob } from '../services/production/unitEnd.ts';
import { outcomeOfUnit, renewGrant } from '../services/production/unitRenewal.ts';
import { applicationFor, applicationKey, bootloaderFor, certifyUnit } from '../services/production/unitSteps.ts';
import { reserveUnit } from '../services/production/units.ts';
import { maxEvidenceBytes } from '../spdm/evidence.ts';
import { bytesAnswer, bytesField, idField, jsonAnswer, jsonBody, reasonField, sha256Field, uidField } from './fields.ts';
import { actor, type Resource } from './resource.ts';
import { stepsOf } from './steps.ts';
import { wiredIdentitySchema, wiredIdentityView, wirePolicySchema, wirePolicyView } from './wiredIdentity.ts';

/** What a programmer asks for while it builds, over mTLS (R35–R56, R65–R82). docs/api.md shows the order. */

const maxReceiptBytes = 2048;
const maxMessageBytes = 2048;
const ledgerField = z.array(bytesField(512)).min(1).max(maxSegmentRecords);
const done = z.object({ done: z.literal(true) });
const imageSchema = z.object({
  publicKey: z.string(),
  bodySha256: z.string(),
  bodyBytes: z.number(),
  imageHash: z.string(),
  trailer: z.string(),
  version: z.string(),
  securityCounter: z.number(),
});
const countsSchema = z.object({ committed: z.number(), remaining: z.number() });
const params = z.object({ grantId: idField });

export const productionResource: Resource = (api, { ctx, alarms }, auth) => {
  const parts = { ctx, alarms };
  /** What an answer stores is one commit; certification makes its own. */
  const together = <Answer>(work: (parts: Parts) => Promise<Answer>) => oneCommit(ctx, staged => work({ ctx: staged, alarms }));
  const machine = auth.machine('programmer');
  const step = stepsOf('/v1/production/units/{grantId}', params, machine);
  const imports = createRoute({
    method: 'post',
    path: '/v1/production/imports',
    summary: 'A package was imported',
    middleware: machine,
    request: jsonBody(z.strictObject({ packageId: idField, acknowledgement: bytesField(maxMessageBytes), ledger: ledgerField })),
    responses: { 200: jsonAnswer(z.object({ jobId: z.string(), remaining: z.number(), acknowledged: z.number() }), 'taken') },
  });
  const standing = createRoute({
    method: 'get',
    path: '/v1/production/jobs/{jobId}/packages/{packageId}',
    summary: 'Whether a package was replaced',
    middleware: machine,
    request: { params: z.object({ jobId: idField, packageId: idField }) },
    responses: { 200: jsonAnswer(z.object({ superseded: z.boolean() }), 'its standing') },
  });
  const reserve = createRoute({
    method: 'post',
    path: '/v1/production/units',
    summary: 'Reserves a unit and grants it',
    middleware: machine,
    request: jsonBody(
      z.strictObject({ jobId: idField, uid: uidField, productId: z.number().int().min(0).max(0xffff_ffff), ledger: ledgerField }),
    ),
    responses: {
      200: jsonAnswer(z.object({ grantId: z.string(), objId: z.string(), grant: z.string(), expiresAt: z.string() }), 'the grant'),
    },
  });
  const body = createRoute({
    method: 'get',
    path: '/v1/production/images/{sha256}',
    summary: 'Body of an image, once per job',
    middleware: machine,
    request: { params: z.object({ sha256: sha256Field }) },
    responses: { 200: bytesAnswer('header ‖ payload ‖ protected TLVs') },
  });
  const zeroise = createRoute({
    method: 'post',
    path: '/v1/production/jobs/{jobId}/zeroise',
    summary: 'The rest of a job was erased',
    middleware: machine,
    request: { params: z.object({ jobId: idField }), ...jsonBody(z.strictObject({ ledger: ledgerField })) },
    responses: { 200: jsonAnswer(done, 'the share is closed') },
  });
  const nothing = z.strictObject({});
  const receipt = z.strictObject({ receipt: bytesField(maxReceiptBytes) });
  const identity = wiredIdentitySchema.extend({ bundle: z.string() });
  const otp = z.array(z.strictObject({ slot: z.number().int().min(0).max(7), sha256: sha256Field })).max(8);

  api.openapi(imports, async c => {
    const notice = c.req.valid('json');
    return c.json(await together(parts => recordImport(parts, c.var.machine.id, notice, actor(c))), 200);
  });
  api.openapi(standing, async c => {
    const { jobId, packageId } = c.req.valid('param');
    return c.json({ superseded: await isSuperseded(ctx, jobId, c.var.machine.id, packageId) }, 200);
  });
  api.openapi(reserve, async c => {
    const request = c.req.valid('json');
    const { grant, ...facts } = await together(parts => reserveUnit(parts, c.var.machine.id, request, actor(c)));
    return c.json({ ...facts, grant: toBase64url(grant) }, 200);
  });
  api.openapi(step('csr', 'Certifies the key of a unit', z.strictObject({ csr: bytesField(maxCsrBytes) }), identity), async c => {
    const issued = await certifyUnit(parts, c.var.machine.id, c.req.valid('param').grantId, c.req.valid('json').csr, actor(c));
    return c.json({ ...wiredIdentityView(issued), bundle: toBase64url(issued.bundle) }, 200);
  });
  const certificate = z.strictObject({ certificateSha256: sha256Field.describe('of the certificate that is in the chip') });
  api.openapi(step('bootloader', 'The bootloader, signed for a unit that has its certificate', certificate, imageSchema), async c => {
    const { certificateSha256 } = c.req.valid('json');
    const { grantId } = c.req.valid('param');
    const image = await together(parts => bootloaderFor(parts, c.var.machine.id, grantId, certificateSha256, actor(c)));
    return c.json(imageView(image), 200);
  });
  const installed = z.strictObject({ otp: otp.describe('slots 0 and 1 as read back'), imageHash: sha256Field });
  const keySchema = z.object({ publicKey: z.string(), publicKeySha256: z.string(), unlockSha256: z.string() });
  api.openapi(step('application-key', 'The key whose hash goes into OTP, behind the bootloader', installed, keySchema), async c => {
    const { grantId } = c.req.valid('param');
    const given = c.req.valid('json');
    const { publicKey, unlockSha256 } = await together(parts => applicationKey(parts, c.var.machine.id, grantId, given, actor(c)));
    const hashes = { publicKeySha256: publicKeySha256(publicKey), unlockSha256: toHex(unlockSha256) };
    return c.json({ publicKey: toBase64url(publicKey), ...hashes }, 200);
  });
  const locked = receipt.extend({
    jobId: idField,
    uid: uidField,
    objId: idField,
    evidence: bytesField(maxEvidenceBytes).describe('of the programming session'),
  });
  api.openapi(
    step('application', 'The application, signed for a unit that is locked and has authenticated itself', locked, imageSchema),
    async c => {
      const { grantId } = c.req.valid('param');
      const image = await together(parts => applicationFor(parts, c.var.machine.id, grantId, c.req.valid('json'), actor(c)));
      return c.json(imageView(image), 200);
    },
  );
  const proof = receipt.extend({ ledger: ledgerField });
  api.openapi(step('commit', 'The unit is built, says the unit', proof, countsSchema), async c => {
    const commit = c.req.valid('json');
    const { grantId } = c.req.valid('param');
    return c.json(await together(parts => commitUnit(parts, c.var.machine.id, grantId, commit, actor(c))), 200);
  });
  const outcome = createRoute({
    method: 'get',
    path: '/v1/production/units/{grantId}',
    summary: 'What became of a unit',
    middleware: machine,
    request: { params },
    responses: { 200: jsonAnswer(z.object({ outcome: z.enum(['open', 'committed', 'voided']), scrapped: z.boolean() }), 'its outcome') },
  });
  api.openapi(outcome, async c => c.json(await outcomeOfUnit(ctx, c.var.machine.id, c.req.valid('param').grantId), 200));
  const renewed = z.object({ expiresAt: z.string(), spdm: wirePolicySchema });
  api.openapi(
    step('renew', 'More time for a grant that has expired, and what the line asks of its devices by now', nothing, renewed),
    async c => {
      const { expiresAt, spdm } = await renewGrant(ctx, c.var.machine.id, c.req.valid('param').grantId, actor(c));
      return c.json({ expiresAt, spdm: wirePolicyView(spdm) }, 200);
    },
  );
  const why = z.strictObject({
    reason: reasonField,
    otpTouched: z.boolean(),
    ledger: ledgerField,
    receipt: bytesField(maxReceiptBytes).optional().describe('the chip signs that nothing is burned'),
  });
  api.openapi(step('void', 'The unit is given up', why, countsSchema.extend({ scrapped: z.boolean() })), async c => {
    const given = c.req.valid('json');
    return c.json(await voidByProgrammer(parts, c.var.machine.id, c.req.valid('param').grantId, given, actor(c)), 200);
  });
  api.openapi(body, async c => {
    const bytes = await imageBody(parts, c.var.machine.id, c.req.valid('param').sha256);
    return c.body(new Uint8Array(bytes), 200, { 'Content-Type': 'application/octet-stream' });
  });
  api.openapi(zeroise, async c => {
    const ledger = c.req.valid('json').ledger;
    await zeroiseJob(parts, c.var.machine.id, c.req.valid('param').jobId, ledger, actor(c));
    return c.json({ done: true as const }, 200);
  });
};

function imageView({ publicKey, trailer, ...facts }: SignedImage) {
  return { ...facts, publicKey: toBase64url(publicKey), trailer: toBase64url(trailer) };
}
