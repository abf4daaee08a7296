import { createRoute, z } from '@hono/zod-openapi';
import type { Context as HonoContext } from 'hono';
import { equalBytes, toBase64url } from '../bytes.ts';
import type { EffectKind } from '../domain/effects.ts';
import type { RegisteredProgrammer } from '../domain/programmer.ts';
import { programmerStream } from '../domain/programmer.ts';
import { NusecError } from '../errors.ts';
import { maxCsrBytes, readCsr } from '../pki/csr.ts';
import { counted } from '../services/administration/effects.ts';
import { watchKey } from '../services/base/alarms.ts';
import { certifyProgrammer } from '../services/identity/enrolment.ts';
import {
  listProgrammers,
  programmerBootKey,
  programmerOf,
  recordProgrammerLock,
  registerProgrammer,
  reportStolen,
  resumeProgrammer,
  retireProgrammer,
  returnProgrammer,
  revokeProgrammer,
  shipProgrammer,
  signProgrammerFirmware,
  suspendProgrammer,
} from '../services/production/programmers.ts';
import type { ApiEnv } from './auth.ts';
import { dryRunQuery } from './dryRun.ts';
import { bytesAnswer, bytesBody, bytesField, jsonAnswer, jsonBody, pageAfter, reasonField, uidField, versionField } from './fields.ts';
import { actor, type Resource } from './resource.ts';
import { within } from './scopes.ts';

/** Programmers as the OEM's security officer sees them (R3–R34). */

const maxReceiptBytes = 2048;
const programmerSchema = z
  .object({
    uid: uidField,
    name: z.string(),
    status: z.string(),
    firmwareVersion: z.string().optional(),
    kekEpoch: z.number(),
    shippedTo: z.string().optional(),
  })
  .openapi('Programmer');
export type ProgrammerAnswer = z.infer<typeof programmerSchema>;
const chainSchema = z.object({ certificate: z.string(), ica: z.string(), root: z.string() });
const params = z.object({ uid: uidField });
const nameField = z.string().min(1).max(64);

export const programmersResource: Resource = (api, { ctx, alarms, revocations }, auth) => {
  /** A programmer that is prepared is at no site yet. */
  const officer = auth.person('securityOfficer');
  const inScope = within(ctx, 'programmer', 'uid');
  const keeper = auth.personWithin(inScope, 'securityOfficer');
  const answer = { 200: jsonAnswer(programmerSchema, 'the programmer') };
  const route = <Name extends string, Body extends z.ZodType>(name: Name, summary: string, body: Body) =>
    createRoute({
      method: 'post',
      path: `/v1/programmers/{uid}/${name}`,
      summary,
      middleware: name === 'locked' || name === 'ship' ? officer : keeper,
      request: { params, query: dryRunQuery, ...jsonBody(body) },
      responses: answer,
    });
  const register = createRoute({
    method: 'post',
    path: '/v1/programmers',
    summary: 'Registers a blank programmer',
    middleware: officer,
    request: jsonBody(z.strictObject({ uid: uidField, name: nameField })),
    responses: { 201: jsonAnswer(programmerSchema, 'the programmer') },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/programmers',
    summary: 'Programmers, by page',
    middleware: auth.personInScope(),
    request: { query: pageAfter(uidField) },
    responses: { 200: jsonAnswer(z.object({ programmers: z.array(programmerSchema), next: z.string().optional() }), 'programmers') },
  });
  const one = createRoute({
    method: 'get',
    path: '/v1/programmers/{uid}',
    summary: 'One programmer',
    middleware: auth.personWithin(inScope),
    request: { params },
    responses: answer,
  });
  const csr = createRoute({
    method: 'post',
    path: '/v1/programmers/{uid}/csr',
    summary: 'Certifies the key that was generated in its KeyStore',
    middleware: officer,
    request: {
      params,
      ...jsonBody(z.strictObject({ publicKey: bytesField(65, 65).optional(), csr: bytesField(maxCsrBytes) })),
    },
    responses: { 200: jsonAnswer(chainSchema, 'certificate, issuing CA and root, DER') },
  });
  const bootKey = createRoute({
    method: 'post',
    path: '/v1/programmers/{uid}/boot-key',
    summary: 'The public half of its secure-boot key',
    middleware: officer,
    request: { params },
    responses: { 200: jsonAnswer(z.object({ publicKey: z.string() }), 'SubjectPublicKeyInfo, 91 bytes') },
  });
  const firmware = createRoute({
    method: 'post',
    path: '/v1/programmers/{uid}/firmware',
    summary: 'Signs firmware with its secure-boot key',
    middleware: officer,
    request: { params, query: z.strictObject({ version: versionField }), ...bytesBody },
    responses: { 200: bytesAnswer('MCUboot image') },
  });
  const locked = z.strictObject({ receipt: bytesField(maxReceiptBytes), nonce: bytesField(16, 16) });
  const reason = z.strictObject({ reason: reasonField });
  const nothing = z.strictObject({});
  /** As for devices: how many a person takes out of use, or brings back, alone within a day is limited. */
  const count = async <Result>(c: HonoContext<ApiEnv>, effect: EffectKind, deed: (uid: string) => Promise<Result>): Promise<Result> => {
    const { uid } = await programmerOf(ctx, c.req.param('uid') ?? '');
    const counting = { name: c.var.person.name, effect, subject: programmerStream(uid) };
    return counted({ ctx, alarms }, counting, () => deed(uid));
  };

  api.openapi(register, async c => {
    const { uid, name } = c.req.valid('json');
    return c.json(programmerView(await registerProgrammer(ctx, uid, name, actor(c))), 201);
  });
  api.openapi(list, async c => {
    const { cursor, limit } = c.req.valid('query');
    const rows = await listProgrammers(ctx, { after: cursor, limit, scope: c.var.person.scope });
    const programmers = rows.map(row => ({
      uid: row.uid,
      name: row.name,
      status: row.status,
      kekEpoch: row.kek_epoch,
      ...(row.firmware_version !== null && { firmwareVersion: row.firmware_version }),
      ...(row.shipped_to !== null && { shippedTo: row.shipped_to }),
    }));
    const last = rows.length === limit ? rows.at(-1)?.uid : undefined;
    return c.json({ programmers, ...(last !== undefined && { next: last }) }, 200);
  });
  api.openapi(one, async c => c.json(programmerView(await programmerOf(ctx, c.req.valid('param').uid)), 200));
  api.openapi(csr, async c => {
    const { csr: request, publicKey } = c.req.valid('json');
    requireKey(request, publicKey);
    const { uid } = c.req.valid('param');
    const issued = await watchKey(alarms, `programmer-${uid}`, () => certifyProgrammer(ctx, uid, request, actor(c)));
    const { certificate, ica, root } = issued;
    return c.json({ certificate: toBase64url(certificate), ica: toBase64url(ica), root: toBase64url(root) }, 200);
  });
  api.openapi(bootKey, async c =>
    c.json({ publicKey: toBase64url(await programmerBootKey(ctx, c.req.valid('param').uid, actor(c))) }, 200),
  );
  api.openapi(firmware, async c => {
    const upload = new Uint8Array(await c.req.arrayBuffer());
    const image = await signProgrammerFirmware(ctx, c.req.valid('param').uid, c.req.valid('query').version, upload, actor(c));
    return c.body(new Uint8Array(image), 200, { 'Content-Type': 'application/octet-stream' });
  });
  api.openapi(route('locked', 'Records the proven lock', locked), async c => {
    const proof = c.req.valid('json');
    return c.json(programmerView(await recordProgrammerLock(ctx, c.req.valid('param').uid, proof, actor(c))), 200);
  });
  api.openapi(
    route('ship', 'Shipped to a contract manufacturer', z.strictObject({ to: nameField.default('contract manufacturer') })),
    async c => c.json(programmerView(await shipProgrammer(ctx, c.req.valid('param').uid, c.req.valid('json').to, actor(c))), 200),
  );
  api.openapi(route('suspend', 'Certificate on hold, allotments frozen', reason), async c => {
    const state = await count(c, 'quarantine', uid => suspendProgrammer(ctx, uid, c.req.valid('json').reason, actor(c)));
    await revocations.caughtUp(await ctx.store.head());
    return c.json(programmerView(state), 200);
  });
  api.openapi(route('resume', 'Active again', nothing), async c => {
    const state = await count(c, 'release', uid => resumeProgrammer(ctx, uid, actor(c)));
    await revocations.caughtUp(await ctx.store.head());
    return c.json(programmerView(state), 200);
  });
  api.openapi(
    route('stolen', 'Ends certificate, allotments and grants immediately', z.strictObject({ note: reasonField.optional() })),
    async c => {
      const state = await count(c, 'quarantine', uid => reportStolen(ctx, uid, c.req.valid('json').note, actor(c)));
      await revocations.caughtUp(await ctx.store.head());
      return c.json(programmerView(state), 200);
    },
  );
  api.openapi(route('revoke', 'Revokes its certificate', reason), async c => {
    const state = await count(c, 'quarantine', uid => revokeProgrammer(ctx, uid, c.req.valid('json').reason, actor(c)));
    await revocations.caughtUp(await ctx.store.head());
    return c.json(programmerView(state), 200);
  });
  api.openapi(route('return', 'Back at the OEM', nothing), async c =>
    c.json(programmerView(await count(c, 'quarantine', uid => returnProgrammer(ctx, uid, actor(c)))), 200),
  );
  api.openapi(route('retire', 'Out of use for ever', nothing), async c =>
    c.json(programmerView(await count(c, 'quarantine', uid => retireProgrammer(ctx, uid, actor(c)))), 200),
  );
};

/** @throws NusecError KEY_REFUSED unless the request is for the key that the tool read from the KeyStore (R10, R75) */
function requireKey(csr: Uint8Array, publicKey: Uint8Array | undefined): void {
  if (publicKey === undefined || equalBytes(readCsr(csr).point, publicKey)) return;
  throw new NusecError('KEY_REFUSED', 'the request is for another key');
}

function programmerView({ uid, model, status, firmware, kek, shippedTo }: RegisteredProgrammer) {
  return {
    uid,
    name: model,
    status,
    kekEpoch: kek?.epoch ?? 0,
    ...(firmware !== undefined && { firmwareVersion: firmware.version }),
    ...(shippedTo !== undefined && { shippedTo }),
  };
}
