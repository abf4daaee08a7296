import { createRoute, z } from '@hono/zod-openapi';
import { definedOf } from '../defined.ts';
import { sha256Hex } from '../digest.ts';
import type { Actor } from '../domain/actor.ts';
import {
  evidenceKinds,
  maxEveryHours,
  maxPerMinute,
  spdmCapabilityNames,
  spdmSignatureNames,
  spdmVersionNames,
  tokenCallers,
} from '../domain/attestationPolicy.ts';
import { type DefinedLine, layoutOf, lineStream, policyOf } from '../domain/line.ts';
import { type LineChange, proposalContent } from '../domain/lineChange.ts';
import { isInScope } from '../domain/roles.ts';
import { earlierApprover, newestIn } from '../services/administration/approvals.ts';
import { attestationProgress } from '../services/field/attestationSchedule.ts';
import { approveLineChange, changeLine } from '../services/firmware/lineChanges.ts';
import {
  attestAll,
  defineLine,
  lineCounters,
  lineOf,
  listLines,
  setAttestationPolicy,
  setSupportPeriod,
} from '../services/firmware/lines.ts';
import { base64urlField, countField, jsonAnswer, jsonBody, lineField, lookBody, seenIn, sha256Field } from './fields.ts';
import { actor, type Resource } from './resource.ts';
import { within } from './scopes.ts';

/** Product lines. */

const encryptionSchema = z.strictObject({
  scheme: z
    .enum(['device', 'line'])
    .openapi({ description: 'whose key: one of each device, or one that the line’s bootloader is built with' }),
  bits: z.literal([128, 256]),
  only: z.boolean().openapi({ description: 'no device of the line gets a plain image any more; never taken back' }),
  uidBound: z.boolean().openapi({ description: 'the image of a device names its UID; needs `only`' }),
  publicKey: base64urlField(z.string().length(87)).optional().openapi({ description: 'point of the line’s key, 65 bytes, base64url' }),
});
const policySchema = z
  .strictObject({
    leastVersion: z.enum(spdmVersionNames).openapi({ description: 'no version of SPDM before it' }),
    signatures: z.array(z.enum(spdmSignatureNames)).openapi({ description: 'signature algorithms of devices, by their key' }),
    requires: z.array(z.enum(spdmCapabilityNames)).openapi({ description: 'capabilities that every device must have' }),
    evidence: z
      .enum(evidenceKinds)
      .openapi({ description: 'what devices prove themselves with: SPDM, or PSA attestation tokens (RFC 9783)' }),
    caller: z.enum(tokenCallers).openapi({ description: 'which side of a device asks for tokens' }),
    implementationId: z
      .string()
      .regex(/^([0-9a-f]{64})?$/)
      .optional()
      .openapi({ description: 'implementation id of the tokens of every device, hex; empty: any' }),
    publicKey: z.boolean().openapi({ description: 'whether a device without certificates may be known by its public key (slot 0xFF)' }),
    everyHours: z
      .number()
      .int()
      .min(0)
      .max(maxEveryHours)
      .optional()
      .openapi({ description: 'each connected device proves itself so often; 0: no schedule' }),
    perMinute: z
      .number()
      .int()
      .min(0)
      .max(maxPerMinute)
      .optional()
      .openapi({ description: 'devices that the schedule asks in a minute; 600 when not set' }),
  })
  .openapi('AttestationPolicy');

const lineSchema = z
  .object({
    line: lineField,
    vendorUuid: z.string(),
    classUuid: z.string(),
    counterMaximum: z.number(),
    rollbackFloor: z.number(),
    oem: z.string(),
    supportUntil: z.string().optional(),
    attestationDays: z.number().optional(),
    encryption: encryptionSchema.optional(),
    attestation: policySchema,
    proposed: z
      .object({
        floor: z.number().optional(),
        encryption: encryptionSchema.optional(),
        attestationDays: z.number().optional(),
        by: z.string(),
        at: z.string(),
        contentSha256: sha256Field,
      })
      .optional()
      .openapi({ description: 'a lasting change that waits for another release manager, for seven days' }),
    layout: z.object({
      appSlotBytes: z.number(),
      bl2SlotBytes: z.number(),
      trailerBytes: z.number(),
      headerAlignment: z.number(),
      counterStep: z.number(),
      blockBytes: z.number(),
    }),
  })
  .openapi('Line');
export type LineAnswer = z.infer<typeof lineSchema>;
const layoutSchema = z
  .strictObject({
    appSlotBytes: countField,
    bl2SlotBytes: countField,
    trailerBytes: countField,
    headerAlignment: countField,
    counterStep: countField,
    blockBytes: countField,
  })
  .partial();
const wishSchema = z.strictObject({
  line: lineField,
  counterMaximum: countField.optional(),
  rollbackFloor: countField.optional(),
  /** How many days attestations are kept with their evidence. */
  attestationDays: countField.optional(),
  layout: layoutSchema.optional(),
});

const countersSchema = z
  .object({
    line: lineField,
    counterMaximum: z.number(),
    rollbackFloor: z.number(),
    used: z.number(),
    left: z.number(),
    devices: z.array(z.object({ counter: z.number(), count: z.number() })),
  })
  .openapi('LineCounters');
export type LineCountersAnswer = z.infer<typeof countersSchema>;

const count = z.number();
export const progressSchema = z
  .object({
    line: lineField,
    everyHours: count.optional(),
    perMinute: count,
    since: z.string().optional().openapi({ description: 'who was attested before it is due' }),
    inService: count,
    attested: count,
    left: count,
    overdueDevices: z.number().openapi({ description: 'in service, and not attested within two periods' }),
    overdue: z.boolean().openapi({ description: 'more than one of ten are overdue: alarm ATTESTATION_OVERDUE' }),
    results: z.object({ passed: count, failed: count, unproven: count, unsupported: count }),
  })
  .openapi('AttestationProgress');

export const linesResource: Resource = (api, { ctx, attestations }, auth) => {
  const define = createRoute({
    method: 'post',
    path: '/v1/lines',
    summary: 'Defines a product line and its device-issuing CA',
    middleware: auth.person('releaseManager'),
    request: jsonBody(wishSchema),
    responses: { 201: jsonAnswer(lineSchema, 'the line') },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/lines',
    summary: 'All product lines',
    middleware: auth.personInScope(),
    responses: { 200: jsonAnswer(z.object({ lines: z.array(lineSchema) }), 'lines') },
  });
  const one = createRoute({
    method: 'get',
    path: '/v1/lines/{line}',
    summary: 'One product line',
    middleware: auth.personWithin(within(ctx, 'line', 'line')),
    request: { params: z.object({ line: lineField }) },
    responses: { 200: jsonAnswer(lineSchema, 'the line') },
  });
  const inScope = auth.personWithin(within(ctx, 'line', 'line'), 'releaseManager');
  const params = z.object({ line: lineField });
  const changed = {
    200: jsonAnswer(lineSchema, 'the line'),
    202: jsonAnswer(lineSchema, 'the line as it was: another release manager approves the change'),
  };
  const floor = createRoute({
    method: 'post',
    path: '/v1/lines/{line}/floor',
    summary: 'Raises the lowest security counter that the line accepts',
    middleware: inScope,
    request: { params, ...jsonBody(z.strictObject({ floor: countField })) },
    responses: changed,
  });
  const change = async (name: string, wish: LineChange, by: Actor) => {
    const { line, isProposed } = await changeLine(ctx, name, wish, by);
    return [lineView(line), isProposed ? 202 : 200] as const;
  };
  api.openapi(floor, async c => c.json(...(await change(c.req.valid('param').line, c.req.valid('json'), actor(c)))));
  const encrypt = createRoute({
    method: 'post',
    path: '/v1/lines/{line}/encryption',
    summary: 'Says whether and how the images of the line are encrypted',
    middleware: inScope,
    request: { params, ...jsonBody(encryptionSchema) },
    responses: changed,
  });
  api.openapi(encrypt, async c => {
    const { publicKey, ...wish } = c.req.valid('json');
    const encryption = publicKey === undefined ? wish : { ...wish, publicKey };
    return c.json(...(await change(c.req.valid('param').line, { encryption }, actor(c))));
  });
  const approve = createRoute({
    method: 'post',
    path: '/v1/lines/{line}/approve',
    summary: 'Approves the lasting change that another release manager has proposed',
    middleware: inScope,
    request: { params, ...lookBody },
    responses: { 200: jsonAnswer(lineSchema, 'the line') },
  });
  api.openapi(approve, async c => {
    const { line } = c.req.valid('param');
    const condition = earlierApprover(ctx, c.var.person.name, ['releaseManager'], newestIn(lineStream(line), 'LineChangeProposed'));
    return c.json(lineView(await approveLineChange(ctx, line, actor(c), { condition, ...seenIn(c.req.valid('json')) })), 200);
  });
  const support = createRoute({
    method: 'post',
    path: '/v1/lines/{line}/support',
    summary: 'Says how long the line gets security updates',
    middleware: inScope,
    request: { params, ...jsonBody(z.strictObject({ until: z.iso.date() })) },
    responses: { 200: jsonAnswer(lineSchema, 'the line') },
  });
  api.openapi(support, async c =>
    c.json(lineView(await setSupportPeriod(ctx, c.req.valid('param').line, c.req.valid('json').until, actor(c))), 200),
  );
  const attestation = createRoute({
    method: 'post',
    path: '/v1/lines/{line}/attestation',
    summary: 'Says what devices of the line have to speak when they are attested; what is left out stays as it is',
    middleware: auth.personWithin(within(ctx, 'line', 'line'), 'securityOfficer'),
    request: { params, ...jsonBody(policySchema.partial()) },
    responses: { 200: jsonAnswer(lineSchema, 'the line') },
  });
  api.openapi(attestation, async c => {
    const wish = definedOf(c.req.valid('json'));
    return c.json(lineView(await setAttestationPolicy(ctx, c.req.valid('param').line, wish, actor(c))), 200);
  });
  const progress = createRoute({
    method: 'get',
    path: '/v1/lines/{line}/attestation',
    summary: 'How far the line is with the attestation of its devices',
    middleware: auth.personWithin(within(ctx, 'line', 'line')),
    request: { params },
    responses: { 200: jsonAnswer(progressSchema, 'the progress') },
  });
  const progressOf = (line: DefinedLine) => attestationProgress(ctx, attestations, line);
  api.openapi(progress, async c => c.json(await progressOf(await lineOf(ctx, c.req.valid('param').line)), 200));
  const all = createRoute({
    method: 'post',
    path: '/v1/lines/{line}/attest',
    summary: 'Has every device of the line prove itself once more, within the budget of the line',
    middleware: auth.personWithin(within(ctx, 'line', 'line'), 'securityOfficer'),
    request: { params },
    responses: { 200: jsonAnswer(progressSchema, 'the progress') },
  });
  api.openapi(all, async c => c.json(await progressOf(await attestAll(ctx, c.req.valid('param').line, actor(c))), 200));
  const counters = createRoute({
    method: 'get',
    path: '/v1/lines/{line}/counters',
    summary: 'What of the counter budget is used and left, and where the devices are',
    middleware: auth.personWithin(within(ctx, 'line', 'line')),
    request: { params },
    responses: { 200: jsonAnswer(countersSchema, 'the counters') },
  });
  api.openapi(counters, async c => c.json(await lineCounters(ctx, c.req.valid('param').line), 200));
  api.openapi(define, async c => {
    const { rollbackFloor, attestationDays, ...wish } = c.req.valid('json');
    let defined = await defineLine(ctx, wish, actor(c));
    if (rollbackFloor !== undefined) ({ line: defined } = await changeLine(ctx, wish.line, { floor: rollbackFloor }, actor(c)));
    if (attestationDays !== undefined) ({ line: defined } = await changeLine(ctx, wish.line, { attestationDays }, actor(c)));
    return c.json(lineView(defined), 201);
  });
  api.openapi(list, async c => {
    const { scope = {} } = c.var.person;
    const lines = (await listLines(ctx)).filter(({ line }) => isInScope(scope, { line }));
    return c.json({ lines: lines.map(lineView) }, 200);
  });
  api.openapi(one, async c => c.json(lineView(await lineOf(ctx, c.req.valid('param').line)), 200));
};

function lineView({ status: _, attestAllSince: __, proposal, ...line }: DefinedLine) {
  const policy = policyOf(line);
  const proposed = proposal && {
    ...proposal.change,
    by: proposal.by,
    at: proposal.at,
    contentSha256: sha256Hex(proposalContent(line.line, proposal)),
  };
  return {
    ...line,
    ...(proposed && { proposed }),
    attestation: { ...policy, signatures: [...policy.signatures], requires: [...policy.requires] },
    layout: layoutOf(line),
  };
}
