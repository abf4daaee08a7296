import { createHash } from 'node:crypto';
import { concat, fromHex, toHex, utf8 } from '../../bytes.ts';
import { definedOf } from '../../defined.ts';
import type { Actor } from '../../domain/actor.ts';
import type { AttestationPolicy } from '../../domain/attestationPolicy.ts';
import { type DefinedLine, type LineLayout, line, lineStream, maxCounterBudget } from '../../domain/line.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import { parseCertificate } from '../../pki/parse.ts';
import { deviceQueries } from '../../projections/deviceQueries.ts';
import { releaseQueries } from '../../projections/releases.ts';
import { authorityOf, rootDer } from '../authority/authority.ts';
import { establishIssuingCa } from '../authority/issuingCa.ts';
import { type Context, execute, nowIso, reader } from '../base/context.ts';

/** Product lines: what their firmware is called by (vendor and class UUID), how far its counter goes, who certifies its devices. */

export type LineWish = {
  readonly line: string;
  readonly counterMaximum?: number | undefined;
  readonly layout?: { readonly [Name in keyof LineLayout]?: number | undefined } | undefined;
};

/** Name space of domain names (RFC 9562 §6.6), in which a vendor's UUID is made (RFC 9124 §3.4 and MCUboot's imgtool do the same). */
const dnsNamespace = fromHex('6ba7b8109dad11d180b400c04fd430c8');

/** Defines a line and its device-issuing CA; doing it again finishes what was cut off. Floor and retention: `changeLine`.
 *  @throws NusecError CONFLICT (defined otherwise), BAD_REQUEST */
export async function defineLine(ctx: Context, wish: LineWish, by: Actor): Promise<DefinedLine> {
  const oem = await organizationOf(ctx);
  const vendorUuid = vendorUuidOf(oem);
  const definition = {
    line: wish.line,
    vendorUuid: toHex(vendorUuid),
    classUuid: toHex(classUuidOf(vendorUuid, wish.line)),
    counterMaximum: wish.counterMaximum ?? maxCounterBudget,
    oem,
    ...(wish.layout !== undefined && { layout: definedOf(wish.layout) }),
  };
  await execute(ctx, line, lineStream(wish.line), { type: 'DefineLine', ...definition }, by);
  const { issuingCas } = await authorityOf(ctx);
  if (!issuingCas.some(ca => ca.use === 'device' && ca.line === wish.line && ca.status === 'ACTIVE')) {
    await establishIssuingCa(ctx, 'device', wish.line);
  }
  return lineOf(ctx, wish.line);
}

/** How long the line gets security updates (RFC 3339 date). @throws NusecError NOT_FOUND, BAD_REQUEST */
export async function setSupportPeriod(ctx: Context, name: string, supportUntil: string, by: Actor): Promise<DefinedLine> {
  await lineOf(ctx, name);
  await execute(ctx, line, lineStream(name), { type: 'SetSupportPeriod', supportUntil, by }, by);
  return lineOf(ctx, name);
}

/** What its devices have to speak when they are attested; what is not wished stays as it is. @throws NusecError NOT_FOUND, BAD_REQUEST */
export async function setAttestationPolicy(ctx: Context, name: string, wish: Partial<AttestationPolicy>, by: Actor): Promise<DefinedLine> {
  await lineOf(ctx, name);
  await execute(ctx, line, lineStream(name), { type: 'SetAttestationPolicy', wish, by }, by);
  return lineOf(ctx, name);
}

/** Every device of the line is to prove itself once more, within the budget of the line. @throws NusecError NOT_FOUND */
export async function attestAll(ctx: Context, name: string, by: Actor): Promise<DefinedLine> {
  await lineOf(ctx, name);
  await execute(ctx, line, lineStream(name), { type: 'AskForAttestationOfAll', now: nowIso(ctx), by }, by);
  return lineOf(ctx, name);
}

/** The budget of the line's security counter: what releases have used of it, and where its devices are, by what they last proved.
 *  @throws NusecError NOT_FOUND */
export async function lineCounters(ctx: Context, name: string) {
  const { counterMaximum, rollbackFloor } = await lineOf(ctx, name);
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['releases', 'devices'] });
  const used = await releaseQueries(ctx.reads.db).highestCounter(name, 'app');
  const devices = await deviceQueries(ctx.reads.db).counters(name);
  return { line: name, counterMaximum, rollbackFloor, used, left: counterMaximum - used, devices };
}

/** @throws NusecError NOT_FOUND */
export const lineOf = (ctx: Context, name: string): Promise<DefinedLine> => lineIn(reader(ctx), name);

/** @throws NusecError NOT_FOUND */
export async function lineIn(read: Read, name: string): Promise<DefinedLine> {
  const state = await read(line, lineStream(name));
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no product line ${name}`);
  return state;
}

export async function listLines(ctx: Context): Promise<readonly DefinedLine[]> {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['releases'] });
  const names = await releaseQueries(ctx.reads.db).lines();
  return Promise.all(names.map(name => lineOf(ctx, name)));
}

/** Vendor and class of the programmers' own firmware: a class that no product line can have. */
export async function programmerProduct(ctx: Context): Promise<{ readonly vendorUuid: Uint8Array; readonly classUuid: Uint8Array }> {
  const vendorUuid = vendorUuidOf(await organizationOf(ctx));
  return { vendorUuid, classUuid: classUuidOf(vendorUuid, '@programmer') };
}

async function organizationOf(ctx: Context): Promise<string> {
  return parseCertificate(rootDer(await authorityOf(ctx))).subject.organization ?? ctx.project;
}

const vendorUuidOf = (organization: string): Uint8Array => uuid5(dnsNamespace, organization);
const classUuidOf = (vendorUuid: Uint8Array, name: string): Uint8Array => uuid5(vendorUuid, name);

/** RFC 9562 §5.5. @returns 16 bytes */
function uuid5(namespace: Uint8Array, name: string): Uint8Array {
  const digest = createHash('sha1')
    .update(concat(namespace, utf8(name)))
    .digest();
  const uuid = new Uint8Array(digest.subarray(0, 16));
  uuid[6] = ((uuid[6] ?? 0) & 0x0f) | 0x50;
  uuid[8] = ((uuid[8] ?? 0) & 0x3f) | 0x80;
  return uuid;
}
