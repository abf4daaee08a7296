import { z } from '@hono/zod-openapi';
import { fromBase64url, isBase64url, utf8 } from '../bytes.ts';
import { faultOfEventType } from '../domain/eventTypes.ts';
import { parseVersion } from '../domain/version.ts';

/** Fields that many requests and answers share, in the one form they have on the wire. */

export const uidField = z
  .string()
  .regex(/^[0-9a-f]{32}$/, 'a UID is 32 lower-case hex digits')
  .openapi({ example: '00112233445566778899aabbccddeeff' });
export const idField = z.string().regex(/^[0-9a-f]{32}$/, 'an id is 32 lower-case hex digits');
export const sha256Field = z.string().regex(/^[0-9a-f]{64}$/, 'a SHA-256 is 64 lower-case hex digits');
export const lineField = z.string().regex(/^[a-z][a-z0-9.-]{0,39}$/, 'a line is 1 to 40 of a–z, 0–9, . and - and begins with a letter');
/** A manufacturer, as programmers are shipped to it. */
export const siteField = z.string().min(1).max(64).openapi({ example: 'Example CM' });
/** Of a text that names a type of events, or the beginning of some: one that none can have would wait for ever. */
export function isEventType(pattern: string, { addIssue }: z.RefinementCtx<string>): void {
  const message = faultOfEventType(pattern);
  if (message !== undefined) addIssue({ code: 'custom', message });
}
/** A word that people sort devices by. */
export const tagField = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,39}$/, 'a tag is 1 to 40 of a–z, 0–9, ., _ and -');
export const reasonField = z.string().min(1).max(200);
export const countField = z.number().int().min(0).max(0xffff_ffff);
/** Bytes that stay text, base64url without padding. @param form what else it has to fit */
export const base64urlField = (form = z.string()) => form.refine(isBase64url, 'bytes are base64url without padding');

/** Bytes, base64url without padding on the wire. */
export const bytesField = (maxBytes: number, exactly?: number) =>
  base64urlField(z.string().max(Math.ceil((maxBytes * 4) / 3)))
    .transform(fromBase64url)
    .refine(bytes => exactly === undefined || bytes.length === exactly, `exactly ${exactly} bytes`);

/** An image's version, as text on the wire. */
export const versionField = z
  .string()
  .regex(/^\d{1,3}\.\d{1,3}\.\d{1,5}(\+\d{1,10})?$/, 'a version reads 1.2.3 or 1.2.3+4')
  .transform(parseVersion);

/** A whole number in an address: plain digits, without sign, exponent, blanks. */
export const wholeNumber = (least: number, most = Number.MAX_SAFE_INTEGER) =>
  z.preprocess(
    text => (typeof text === 'string' && /^\d{1,16}$/.test(text) ? Number(text) : text),
    z.number({ error: 'a whole number in plain digits' }).int().min(least).max(most),
  );

export const maxPageRows = 500;
/** Unknown parameters are refused: a filter that is misspelt must not answer with everything. */
export const pageQuery = z.strictObject({
  cursor: z.string().max(128).optional(),
  limit: wholeNumber(1, maxPageRows).default(100),
});

export const jsonAnswer = <Schema extends z.ZodType>(schema: Schema, description: string) => ({
  description,
  content: { 'application/json': { schema } },
});
/** A page of a list whose cursor is the id of the last row before: another text would be an end that there is none of. */
export const pageAfter = <Place extends z.ZodType>(place: Place) => pageQuery.extend({ cursor: place.optional() });
export const jsonBody = <Schema extends z.ZodType>(schema: Schema) => ({
  body: { required: true, content: { 'application/json': { schema } } },
});
/** A JSON file of another standard: the service reads it as it came (`fileIn`). */
export const fileBody = { body: { required: true, content: { 'application/json': { schema: z.looseObject({}) } } } };
export const fileIn = async (request: { text(): Promise<string> }): Promise<Uint8Array> => utf8(await request.text());
/** The content that an approver looked at; without it, what is there at that moment is approved. */
export const lookBody = {
  body: { content: { 'application/json': { schema: z.strictObject({ contentSha256: sha256Field.optional() }) } } },
};
export const seenIn = (body: unknown): { readonly seenSha256: string | undefined } => ({
  seenSha256: (body as { contentSha256?: string } | undefined)?.contentSha256,
});
export const bytesAnswer = (description: string, type = 'application/octet-stream') => ({
  description,
  content: { [type]: { schema: z.any() } },
});
export const bytesBody = { body: { required: true, content: { 'application/octet-stream': { schema: z.any() } } } };
