import { createPublicKey, verify } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { fromBase64url, toBase64url, utf8 } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { replaceFile } from '../../keystore/durableFile.ts';
import { certificateQueries } from '../../projections/certificates.ts';
import { ensureSigningKey } from '../authority/issuingCa.ts';
import type { Alarms } from '../base/alarms.ts';
import type { Context } from '../base/context.ts';
import type { Revocations } from './revocations.ts';

/** The high-water mark of revocations (T34): a signed note, beside the event store or better on another disk, of the newest revocation this
 *  server has known. A store that does not have it is an old backup, in which revoked certificates would be good again: it is refused. */

export type MarkParts = { readonly ctx: Context; readonly alarms: Alarms; readonly revocations: Revocations };

const markKeyId = 'mark/1';
const gatherMs = 100;

const markSchema = z.strictObject({
  /** Of the newest event that changed what is revoked, or of any when the mark began; 0 in an empty store. */
  position: z.number().int().min(0),
  /** Its hash in the chain of its stream; empty at 0. */
  hash: z.string(),
  /** Certificates revoked or on hold then. */
  revoked: z.number().int().min(0),
  at: z.string(),
});
type Mark = z.infer<typeof markSchema>;
const fileSchema = z.strictObject({ mark: markSchema, signature: z.string() });

/** Checks the store against the mark; the mark of an older store that is accepted begins anew.
 *  @param acceptOlder an operator's word that the older store is meant to be used: an alarm
 *  @throws NusecError STORE_OLDER (a revocation that was known is not in the store), STORE_DAMAGED (the mark is not one of this project) */
export async function checkRevocationMark(parts: MarkParts, file: string, acceptOlder: boolean): Promise<void> {
  const { ctx, alarms } = parts;
  const known = await readMark(ctx, file);
  const isOlder = known !== undefined && known.position > 0 && (await hashAt(ctx, known.position)) !== known.hash;
  if (isOlder && !acceptOlder) throw new NusecError('STORE_OLDER', olderText(known));
  if (isOlder) await alarms.raise({ code: 'OLDER_STORE_ACCEPTED', subject: 'store', detail: olderText(known) });
  if (isOlder) await parts.revocations.known;
  if (isOlder || (known === undefined && parts.revocations.isKnown())) await write(parts, file, ctx.store.head());
}

/** Keeps a mark that was checked up from here on; one process does it. It begins when it is known what is revoked. */
export async function keepRevocationMark(parts: MarkParts, file: string): Promise<{ close(): Promise<void> }> {
  const { ctx, alarms, revocations } = parts;
  const mark = await readMark(ctx, file);
  let newest = mark?.position ?? 0;
  let isClosed = false;
  let gathering: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();
  const flush = (): void => {
    gathering = undefined;
    running = running
      .then(() => write(parts, file, newest))
      .catch(error =>
        alarms.raise({ code: 'REVOCATION_MARK', subject: 'store', detail: error instanceof Error ? error.message : 'not written' }),
      );
  };
  const stopListening = revocations.onChange(({ position }) => {
    newest = Math.max(newest, position);
    if (revocations.isKnown()) gathering ??= setTimeout(flush, gatherMs);
  });
  const begin = async (): Promise<void> => {
    newest = Math.max(newest, await certificateQueries(ctx.reads.db).newestChange());
    if (!isClosed && (mark === undefined || newest > mark.position)) flush();
  };
  const begun = revocations.known.then(begin);
  begun.catch(error => ctx.log.error({ error: String(error) }, 'the revocation mark was not brought up'));
  if (revocations.isKnown()) await begun;
  return {
    async close() {
      isClosed = true;
      stopListening();
      if (gathering !== undefined) {
        clearTimeout(gathering);
        flush();
      }
      await running;
    },
  };
}

async function write({ ctx, revocations }: MarkParts, file: string, position: number): Promise<void> {
  const mark: Mark = { position, hash: await hashAt(ctx, position), revoked: revocations.count(), at: ctx.clock().toISOString() };
  await writeMark(ctx, file, mark);
}

const olderText = ({ position, at }: Mark): string =>
  `the event store does not have the revocation that was recorded at position ${position} by ${at}: it is an old backup`;

/** Hash of the event at a position; empty when the store has none there. */
async function hashAt(ctx: Context, position: number): Promise<string> {
  const [event] = position === 0 ? [] : await ctx.store.readAll(position - 1, 1);
  return event?.position === position ? event.hash : '';
}

async function readMark(ctx: Context, file: string): Promise<Mark | undefined> {
  if (!existsSync(file)) return undefined;
  const parsed = fileSchema.safeParse(jsonOf(readFileSync(file, 'utf8')));
  const spki = await ensureSigningKey(ctx, markKeyId);
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  if (!parsed.success || !verify('sha256', signedBytes(parsed.data.mark), key, fromBase64url(parsed.data.signature)))
    throw new NusecError('STORE_DAMAGED', `${file} is not a revocation mark of this project`);
  return parsed.data.mark;
}

async function writeMark(ctx: Context, file: string, mark: Mark): Promise<void> {
  await ensureSigningKey(ctx, markKeyId);
  const signature = toBase64url(await ctx.keystore.sign(markKeyId, signedBytes(mark)));
  await replaceFile(file, utf8(`${JSON.stringify({ mark, signature })}\n`));
}

const signedBytes = ({ position, hash, revoked, at }: Mark): Uint8Array =>
  utf8(JSON.stringify(['nusec-revocation-mark', position, hash, revoked, at]));

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
