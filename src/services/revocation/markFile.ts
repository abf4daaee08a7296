import { createHash, createPublicKey, verify } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { fromBase64url, toBase64url, toHex, utf8 } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import { certificateKinds } from '../../domain/storeEvents.ts';
import { NusecError } from '../../errors.ts';
import { replaceFile } from '../../keystore/durableFile.ts';
import { secretFileMode } from '../../keystore/secretFile.ts';
import { ensureSigningKey } from '../authority/issuingCa.ts';
import type { Context } from '../base/context.ts';

/** Reads and writes the high-water mark: a small signed note, and a list of everything that is revoked, one JSON object a line. The note names the
 *  list with its length and SHA-256, so the list only grows between two notes. */

const markKeyId = 'mark/1';

/** Made with the project, so that it is in every backup of the keystore. */
export const ensureMarkKey = (ctx: Context): Promise<Uint8Array> => ensureSigningKey(ctx, markKeyId);

const count = z.number().int().min(0);

const entrySchema = z.strictObject({
  serial: z.string(),
  kind: z.enum(certificateKinds),
  subject: z.string(),
  icaId: z.string(),
  sha256: z.string(),
  issuedAt: z.string(),
  notAfter: z.string(),
  /** RFC 5280 reason; null when it is no longer on hold. */
  reason: z.string().nullable(),
  revokedAt: z.string().nullable(),
  crlPartition: z.number().int().min(1).optional(),
});
/** A certificate that is or was revoked or on hold. */
export type MarkEntry = z.infer<typeof entrySchema>;

const personSchema = z.strictObject({
  name: z.string(),
  roles: z.array(z.string()),
  tokenSha256: z.string(),
  expiresAt: z.string(),
  scope: z.record(z.string(), z.unknown()).optional(),
  /** Ids of what the person has besides the main token; marks of earlier versions have none. */
  credentials: z.array(z.string()).optional(),
});

const factsSchema = z.strictObject({
  /** Events that were stored, and the root of the tree over all of them: so the mark covers the whole history. */
  size: count,
  root: z.string(),
  /** Certificates revoked or on hold then. */
  revoked: count,
  people: z.array(personSchema),
  /** Names of people who are gone. */
  gone: z.array(z.string()),
  /** Public keys, base64url, that sign nothing any more. */
  compromisedKeys: z.array(z.string()),
  /** SHA-256 of root certificates that are not trusted any more. */
  retiredRoots: z.array(z.string()),
  /** Ids of people in the log who were erased; marks of earlier versions have none. */
  erased: z.array(z.string()).optional(),
  /** Rollback floor of each product line. */
  floors: z.record(z.string(), count),
  at: z.string(),
});
/** What a mark says besides its list. */
export type MarkFacts = z.infer<typeof factsSchema>;

const markSchema = factsSchema.extend({ list: z.strictObject({ name: z.string(), bytes: count, sha256: z.string() }) });
type Mark = z.infer<typeof markSchema>;
/** As earlier versions wrote it: position and hash of the newest revocation. */
const oldMarkSchema = z.strictObject({ position: count, hash: z.string(), revoked: count, at: z.string() });
export type OldMark = z.infer<typeof oldMarkSchema>;
const fileSchema = z.strictObject({ mark: z.union([markSchema, oldMarkSchema]), signature: z.string() });

export type KnownMark =
  | { readonly old?: undefined; readonly facts: MarkFacts; readonly revoked: ReadonlyMap<string, MarkEntry> }
  | { readonly old: OldMark };

/** @returns undefined when there is none
 *  @throws NusecError STORE_DAMAGED (not a mark of this project, or its list was changed) */
export async function readMark(ctx: Context, file: string): Promise<KnownMark | undefined> {
  if (!existsSync(file)) return undefined;
  const parsed = fileSchema.safeParse(jsonOf(readFileSync(file, 'utf8')));
  const spki = await ensureMarkKey(ctx);
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  if (!parsed.success || !verify('sha256', signedBytes(parsed.data.mark), key, fromBase64url(parsed.data.signature)))
    throw new NusecError('STORE_DAMAGED', `${file} is not a revocation mark of this project`);
  const { mark } = parsed.data;
  if (!('list' in mark)) return { old: mark };
  const { list, ...facts } = mark;
  return { facts, revoked: readList(join(dirname(file), list.name), list) };
}

function readList(file: string, { bytes, sha256 }: Mark['list']): ReadonlyMap<string, MarkEntry> {
  const content = existsSync(file) ? readFileSync(file).subarray(0, bytes) : Buffer.alloc(0);
  if (content.length !== bytes || sha256Hex(content) !== sha256)
    throw new NusecError('STORE_DAMAGED', `${file} is not the list that the revocation mark names`);
  const revoked = new Map<string, MarkEntry>();
  for (const line of content.toString('utf8').split('\n').filter(Boolean)) {
    const entry = entrySchema.parse(JSON.parse(line));
    if (entry.reason === null) revoked.delete(entry.serial);
    else revoked.set(entry.serial, entry);
  }
  return revoked;
}

export type MarkWriter = {
  /** Adds to the list and signs the next note. Durable when it resolves. @param facts up to which the list is whole with `changed` */
  write(changed: readonly MarkEntry[], facts: MarkFacts): Promise<void>;
  close(): Promise<void>;
};

/** Begins a list of its own, so that a former leader that still writes to its list spoils nothing. The mark in place counts until the first note. */
export async function beginMark(ctx: Context, file: string): Promise<MarkWriter> {
  await ensureMarkKey(ctx);
  const [folder, name] = [dirname(file), `${basename(file)}-${toHex(ctx.randomBytes(4))}`];
  const before = existsSync(file) ? listNameIn(readFileSync(file, 'utf8')) : undefined;
  const handle = await open(join(folder, name), 'wx', secretFileMode);
  const hash = createHash('sha256');
  let [bytes, isFirst] = [0, true];
  return {
    async write(changed, facts) {
      const text = utf8(changed.map(entry => `${JSON.stringify(entry)}\n`).join(''));
      if (text.length > 0) await handle.write(text, 0, text.length, bytes);
      await handle.sync();
      hash.update(text);
      bytes += text.length;
      const mark: Mark = { ...facts, list: { name, bytes, sha256: hash.copy().digest('hex') } };
      const signature = toBase64url(await ctx.keystore.sign(markKeyId, signedBytes(mark)));
      await replaceFile(file, utf8(`${JSON.stringify({ mark, signature })}\n`));
      if (isFirst) removeLists(file, [name, before]);
      isFirst = false;
    },
    close: () => handle.close(),
  };
}

/** Those of leaders before the last one. */
function removeLists(file: string, kept: readonly (string | undefined)[]): void {
  const isList = (name: string): boolean => name.startsWith(`${basename(file)}-`) && /-[0-9a-f]{8}$/.test(name);
  const old = readdirSync(dirname(file)).filter(name => isList(name) && !kept.includes(name));
  for (const name of old) rmSync(join(dirname(file), name), { force: true });
}

function listNameIn(text: string): string | undefined {
  const parsed = fileSchema.safeParse(jsonOf(text));
  return parsed.success && 'list' in parsed.data.mark ? parsed.data.mark.list.name : undefined;
}

function signedBytes(mark: Mark | OldMark): Uint8Array {
  if (!('list' in mark)) return utf8(JSON.stringify(['nusec-revocation-mark', mark.position, mark.hash, mark.revoked, mark.at]));
  return utf8(JSON.stringify(['nusec-revocation-mark/2', markSchema.parse(mark)]));
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
