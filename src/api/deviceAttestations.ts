import { createRoute, z } from '@hono/zod-openapi';
import { tokenCallers } from '../domain/attestationPolicy.ts';
import type { AttestationProof } from '../evidence/attestationProof.ts';
import { attestationProof } from '../services/field/attestationProofs.ts';
import { deviceEvidence, deviceRow } from '../services/field/devices.ts';
import { bytesAnswer, jsonAnswer, maxPageRows, sha256Field, uidField, wholeNumber } from './fields.ts';
import type { Resource } from './resource.ts';
import { within } from './scopes.ts';

/** Attestation of devices and the evidence of it: now, every one before, and one file that proves a device's history (R83–R86). */

const negotiatedSchema = z
  .object({
    version: z.string().openapi({ description: 'of SPDM', example: '1.2' }),
    signature: z.string(),
    hash: z.string(),
    slot: z.number().openapi({ description: 'of the certificate; 15: known by its public key' }),
    capabilities: z.string().openapi({ description: 'flags of the device, hex' }),
  })
  .openapi('Negotiated');

const tokenSchema = z
  .object({
    profile: z.string(),
    algorithm: z.string().openapi({ example: 'ES256' }),
    lifeCycle: z.string().openapi({ example: 'secured' }),
    implementationId: z.string().openapi({ description: 'hex' }),
    instanceId: z.string().openapi({ description: 'hex' }),
  })
  .openapi('PsaToken');
/** What the device has spoken, where it has signed. */
const spoken = { negotiated: negotiatedSchema.optional(), token: tokenSchema.optional() };

const attestationSchema = z
  .object({
    result: z.enum(['passed', 'failed', 'unproven', 'unsupported']).openapi({
      description:
        'unproven: a gateway brought what the device has not signed; unsupported: the device does not speak what it was asked. Neither is a failure of the device',
    }),
    reason: z.string().optional(),
    evidenceSha256: sha256Field.optional(),
    via: z.enum(['mqtt', 'gateway', 'programmer']),
    imageHash: z.string().optional(),
    version: z.string().optional(),
    ...spoken,
  })
  .openapi('AttestationResult');

const attestedSchema = z
  .object({
    id: z.number(),
    at: z.string(),
    via: z.string(),
    nonceHex: z.string().openapi({ description: 'of the server; the evidence is verified with it' }),
    result: z.enum(['passed', 'failed', 'unproven', 'unsupported']),
    reason: z.string().optional(),
    evidenceSha256: sha256Field.optional(),
    verdictSha256: sha256Field.optional(),
    ...spoken,
  })
  .openapi('Attestation');

const proofSchema = z
  .object({
    format: z.literal('nusec-attestation/1'),
    uid: uidField,
    line: z.string(),
    at: z.string(),
    via: z.string(),
    nonceHex: z.string(),
    result: z.string(),
    reason: z.string().optional(),
    evidence: z.string().openapi({ description: 'what the device has signed, base64url' }),
    token: z
      .object({
        caller: z.enum(tokenCallers),
        instanceId: z.string(),
        implementationId: z.string().optional(),
        certificates: z.array(z.string()).optional().openapi({ description: 'DER, base64url, leaf first; absent for an enrolled key' }),
      })
      .optional()
      .openapi({ description: 'of a PSA attestation token: what the line asked of it, and the certificates of its key' }),
    references: z
      .array(z.object({ index: z.number(), value: z.string(), releaseId: z.string().optional(), version: z.string().optional() }))
      .openapi({ description: 'what the measurements had to be, by what the registry knew then' }),
  })
  .openapi('AttestationProof');

/** The lists of the answer may be changed. */
function asAnswer({ token, references, ...facts }: AttestationProof): z.infer<typeof proofSchema> {
  if (token === undefined) return { ...facts, references: [...references] };
  const { certificates, ...asked } = token;
  const shown = certificates === undefined ? asked : { ...asked, certificates: [...certificates] };
  return { ...facts, references: [...references], token: shown };
}

export type AttestedAnswer = z.infer<typeof attestedSchema>;

/** Which way; the device’s own connection before a gateway when not given. */
const attestSchema = z.strictObject({ via: z.enum(['mqtt', 'gateway']).optional() });
const params = z.object({ uid: uidField });

export const deviceAttestationsResource: Resource = (api, { ctx, field, attestations, evidence: evidenceOf }, auth) => {
  const inScope = within(ctx, 'device', 'uid');
  const officer = auth.personWithin(inScope, 'securityOfficer');
  const reader = auth.personWithin(inScope);

  const evidenceFile = createRoute({
    method: 'get',
    path: '/v1/devices/{uid}/evidence',
    summary: 'One file that proves the history of a device to a holder of the root certificate: `nusec verify FILE --trust root.pem`',
    middleware: reader,
    request: { params },
    responses: { 200: bytesAnswer('nusec-evidence/1, JSON (docs/evidence.md)', 'application/json') },
  });
  api.openapi(evidenceFile, async c => {
    const { uid } = c.req.valid('param');
    const headers = { 'Content-Type': 'application/json', 'Content-Disposition': `attachment; filename="${uid}.evidence.json"` };
    return c.body(JSON.stringify(await evidenceOf.export(uid)), 200, headers);
  });

  const evidence = createRoute({
    method: 'get',
    path: '/v1/devices/{uid}/evidence/{sha256}',
    summary: 'What the device signed, for anybody to verify again',
    middleware: reader,
    request: { params: params.extend({ sha256: sha256Field }) },
    responses: { 200: bytesAnswer('the raw messages of SPDM, JSON with base64url; a PSA attestation token, COSE', 'application/json') },
  });
  api.openapi(evidence, async c => {
    const { uid, sha256 } = c.req.valid('param');
    return c.body(new Uint8Array(await deviceEvidence(ctx, attestations, uid, sha256)), 200, { 'Content-Type': 'application/json' });
  });

  const history = createRoute({
    method: 'get',
    path: '/v1/devices/{uid}/attestations',
    summary: 'Every attestation of a device, newest first, also those that changed nothing',
    middleware: reader,
    request: {
      params,
      query: z.strictObject({
        before: wholeNumber(1).optional(),
        limit: wholeNumber(1, maxPageRows).default(100),
      }),
    },
    responses: { 200: jsonAnswer(z.object({ attestations: z.array(attestedSchema), next: z.number().optional() }), 'attestations') },
  });
  api.openapi(history, async c => {
    const { uid } = c.req.valid('param');
    await deviceRow(ctx, uid);
    const { before: beforeId, limit } = c.req.valid('query');
    const rows = attestations.page(uid, { beforeId, limit });
    const next = rows.length === limit ? { next: rows.at(-1)?.id ?? 0 } : {};
    const shown = rows.map(({ atMs, uid: _, line: __, ...row }) => ({ ...row, at: new Date(atMs).toISOString() }));
    return c.json({ attestations: shown, ...next }, 200);
  });

  const proof = createRoute({
    method: 'get',
    path: '/v1/devices/{uid}/attestations/{id}',
    summary: 'One attestation as a file that a holder of the root certificate verifies: `nusec evidence verify FILE --trust root.pem`',
    middleware: reader,
    request: { params: params.extend({ id: wholeNumber(1) }) },
    responses: { 200: jsonAnswer(proofSchema, 'the attestation, nusec-attestation/1 (docs/attestation.md)') },
  });
  api.openapi(proof, async c => {
    const { uid, id } = c.req.valid('param');
    await deviceRow(ctx, uid);
    const made = await attestationProof(ctx, attestations, uid, id);
    return c.json(asAnswer(made), 200);
  });

  const attest = createRoute({
    method: 'post',
    path: '/v1/devices/{uid}/attest',
    summary: 'Attests a connected device now, with a fresh nonce',
    middleware: officer,
    request: { params, body: { content: { 'application/json': { schema: attestSchema } } } },
    responses: { 200: jsonAnswer(attestationSchema, 'what the evidence shows') },
  });
  api.openapi(attest, async c => {
    const { via } = (c.req.valid('json') ?? {}) as z.infer<typeof attestSchema>;
    return c.json(await field.attestation.attest(c.req.valid('param').uid, { via }), 200);
  });
};
