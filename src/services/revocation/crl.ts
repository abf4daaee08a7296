import { setImmediate as nextTurn } from 'node:timers/promises';
import type { IsoTime } from '../../domain/actor.ts';
import { authority, authorityStream } from '../../domain/authority.ts';
import type { Crl } from '../../domain/authorityEvents.ts';
import { listIdOf, listOf, partitionFact } from '../../domain/crlList.ts';
import { nextNumber } from '../../domain/numbers.ts';
import { NusecError } from '../../errors.ts';
import { isContentLost } from '../../eventstore/blobs.ts';
import type { EventStore } from '../../eventstore/port.ts';
import { buildCrl, encodeCrlEntry } from '../../pki/crl.ts';
import { isRevocationReason } from '../../pki/revocationReasons.ts';
import { certificateQueries } from '../../projections/certificates.ts';
import { dayMs } from '../../times.ts';
import { type Authorities, authorityOf, crlUrlOf, deltaCrlUrlOf } from '../authority/authority.ts';
import { caById } from '../authority/issuingCa.ts';
import { backdatedIso, type Context, execute } from '../base/context.ts';
import { retriedOn } from '../base/retry.ts';
import { formerCrlUrls, listIdsOf } from './crlPartitions.ts';

/** Revocation lists of every issuing CA and root (RFC 5280 §5; R86, RULE-16), one for each partition of its certificates: a full list and the delta
 *  list of the same number, signed together and recorded in one event. Entries are kept encoded, so one more revocation costs a copy, a hash and a signature. */

const crlLifetimeDays = 7;
/** An entry stays for so long after its certificate has expired: it has then been on a list from after that (RFC 5280 §3.3), since lists are
 *  replaced when half of their life is over. It leaves with the next new base, so that no delta list has to say so. */
const entryDaysAfterExpiry = crlLifetimeDays;
/** A delta list that would grow beyond this starts again with the next full list as its base. */
const maxDeltaEntries = 5000;
/** Chunks of encoded entries before they are put together. */
const maxChunks = 2048;
/** Replaced lists that are kept as blobs for those who are just fetching them. */
const keptReplacedLists = 2;
/** Taken into a list between two turns of others. */
const rowsAtOnce = 125;
/** Addresses of one list: of this server, and under its earlier names. */
const maxUrls = 16;

export type CrlPair = Crl & { readonly full: Uint8Array; readonly deltaList: Uint8Array };

/** Signs and records the next full and delta list. Calls that come while one waits to be signed share it.
 *  @param listId of an issuing CA or root, and partition (see listIdOf) @param newBase the full list becomes what later delta lists complete
 *  @throws NusecError NOT_FOUND, CA_NOT_ACTIVE (compromised), CERTIFICATE_EXPIRED (the authority itself), and what the keystore throws */
export function issueCrl(ctx: Context, listId: string, newBase = false): Promise<CrlPair> {
  const { lists } = memoryOf(ctx.store);
  const list = lists.get(listId) ?? newList(listId);
  lists.set(listId, list);
  list.wantsBase ||= newBase;
  list.next ??= list.running.then(() => {
    const running = sign(ctx, list, list.wantsBase);
    list.running = running.catch(() => undefined);
    delete list.next;
    list.wantsBase = false;
    return running;
  });
  return list.next;
}

/** The newest lists, signed again when there are none or half of their life is over. An authority that cannot sign any more keeps its last ones.
 *  @throws NusecError as issueCrl when there is no list yet */
export async function currentCrl(ctx: Context, listId: string): Promise<CrlPair> {
  const facts = (await authorityOf(ctx)).crls.find(candidate => listIdOf(candidate) === listId);
  if (facts === undefined || facts.delta === undefined) {
    await requireList(ctx, listId);
    return issueCrl(ctx, listId, true);
  }
  if (isDue(ctx, facts)) {
    const renewed = await issueCrl(ctx, listId, true).catch(error => ctx.log.warn({ listId, error: String(error) }, 'CRL not signed anew'));
    if (renewed) return renewed;
  }
  const { lists } = memoryOf(ctx.store);
  const known = lists.get(listId)?.newest;
  if (known?.sha256 === facts.sha256) return known;
  try {
    const [full, deltaList] = await Promise.all([ctx.blobs.get(facts.sha256), ctx.blobs.get(facts.delta.sha256)]);
    return { ...facts, full, deltaList };
  } catch (error) {
    if (!isContentLost(error)) throw error;
    // It follows from the events: no client is left without a list because a file is gone.
    return issueCrl(ctx, listId, true);
  }
}

/** Nobody makes a list by asking for it: there is one for a partition that has certificates. @throws NusecError NOT_FOUND */
async function requireList(ctx: Context, listId: string): Promise<void> {
  const { icaId, crlPartition } = listOf(listId);
  if (crlPartition === 0) return;
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['certificates'] });
  if (!(await listIdsOf(ctx, icaId)).includes(listId)) throw new NusecError('NOT_FOUND', `there is no revocation list ${listId}`);
}

/** Whether the newest lists are to be replaced: half of their life is over, or certificates that are issued now name another address. */
export function isDue(ctx: Context, crl: Crl): boolean {
  if (crl.urls?.includes(crlUrlOf(ctx, listIdOf(crl))) === false) return true;
  const [from, to] = [Date.parse(crl.thisUpdate), Date.parse(crl.nextUpdate)];
  return ctx.clock().getTime() >= from + (to - from) / 2;
}

/** What is kept of an authority's list between two signatures. */
type List = {
  readonly listId: string;
  /** Everything up to this position of the event store is in `entries`. */
  position: number;
  readonly entries: Map<string, { readonly der: Uint8Array; readonly notAfter: IsoTime }>;
  /** All entries end to end, in few chunks; undefined when one of them changed. */
  chunks: Uint8Array[] | undefined;
  newest?: CrlPair;
  replaced: string[];
  running: Promise<unknown>;
  next?: Promise<CrlPair>;
  wantsBase: boolean;
};
const newList = (listId: string): List => ({
  listId,
  position: -1,
  entries: new Map(),
  chunks: [],
  replaced: [],
  running: Promise.resolve(),
  wantsBase: false,
});

const memories = new WeakMap<EventStore, { readonly lists: Map<string, List> }>();

function memoryOf(store: EventStore) {
  const memory = memories.get(store) ?? { lists: new Map<string, List>() };
  memories.set(store, memory);
  return memory;
}

/** Another process may have signed the next list meanwhile: then ours, with what that one has too, comes after it. */
const sign = (ctx: Context, list: List, newBase: boolean): Promise<CrlPair> => retriedOn('CONFLICT', () => signNext(ctx, list, newBase));

async function signNext(ctx: Context, list: List, newBase: boolean): Promise<CrlPair> {
  const { listId } = list;
  const { icaId, crlPartition } = listOf(listId);
  // First the list before ours, then what ours says: so it says all that that one says.
  const authorities = await authorityOf(ctx);
  const ca = await caById(ctx, authorities, icaId);
  const now = ctx.clock();
  const thisUpdate = backdatedIso(ctx);
  if (ca.certificate.notAfter <= now.toISOString())
    throw new NusecError('CERTIFICATE_EXPIRED', `${icaId} was valid until ${ca.certificate.notAfter}`);
  const before = authorities.crls.find(crl => listIdOf(crl) === listId);
  if (crlPartition > 0) await limitFirstList(ctx, authorities.crls, icaId);
  await bringUp(ctx, list);
  const urls = await urlsOf(ctx, authorities, list, before);
  const { position } = list;
  const number = nextNumber(before?.number, now.getTime());
  const wanted = new Date(now.getTime() + crlLifetimeDays * dayMs).toISOString();
  const nextUpdate = wanted < ca.certificate.notAfter ? wanted : ca.certificate.notAfter;
  // A delta list is of the same certificates as its base (§5.2.4).
  const known = newBase || (urls === undefined) !== (before?.urls === undefined) ? undefined : before?.delta;
  const changes = known && (await entriesSince(ctx, list, known.basePosition, thisUpdate));
  const base = changes === undefined || known === undefined ? { baseNumber: number, basePosition: position } : known;
  if (changes === undefined) dropExpired(list, now);
  const fields = { issuer: ca.certificate, number, thisUpdate, nextUpdate, urls };
  const full = await buildCrl({ ...fields, entries: chunksOf(list), deltaUrl: deltaCrlUrlOf(ctx, listId) }, ca.signer, nextTurn);
  const deltaList = await buildCrl({ ...fields, entries: changes ?? [], baseNumber: base.baseNumber }, ca.signer, nextTurn);
  const [sha256, deltaSha256] = await Promise.all([ctx.blobs.put(full), ctx.blobs.put(deltaList)]);
  const { baseNumber, basePosition } = base;
  const scope = { icaId, ...partitionFact(crlPartition), ...(urls && { urls }) };
  const delta = { sha256: deltaSha256, baseNumber, basePosition };
  const facts: Crl = { ...scope, number, sha256, thisUpdate, nextUpdate, position, delta };
  await execute(ctx, authority, authorityStream(ctx.project), { type: 'IssueCrl', after: before?.number ?? 0, ...facts }, 'system:crl');
  if (before !== undefined) await discard(ctx, list, [before.sha256, ...(before.delta ? [before.delta.sha256] : [])]);
  list.newest = { ...facts, full, deltaList };
  return list.newest;
}

/** Before anything is on another list, the first one no longer claims to be that of all certificates. */
async function limitFirstList(ctx: Context, crls: readonly Crl[], icaId: string): Promise<void> {
  const first = crls.find(crl => listIdOf(crl) === icaId);
  if (first !== undefined && first.urls === undefined) await issueCrl(ctx, icaId, true);
}

/** Names of the distribution point of a list of one partition: every address that its certificates name it by. The only list of an authority is that of
 *  all its certificates and needs none. */
async function urlsOf(
  ctx: Context,
  authorities: Authorities,
  { listId }: List,
  before: Crl | undefined,
): Promise<readonly string[] | undefined> {
  const { icaId, crlPartition } = listOf(listId);
  if (crlPartition === 0 && (await listIdsOf(ctx, icaId)).length === 1) return undefined;
  const known = before?.urls ?? (crlPartition === 0 ? formerCrlUrls(authorities, listId) : []);
  return [...new Set([...known, crlUrlOf(ctx, listId)])].slice(-maxUrls);
}

type Row = { readonly serial: string; readonly reason: string | null; readonly revoked_at: string | null; readonly not_after: string };

/** Takes in what changed since the last signature, with turns of others in between. */
async function bringUp(ctx: Context, list: List): Promise<void> {
  const head = await ctx.store.head();
  await ctx.reads.waitFor(head, { projections: ['certificates'] });
  for await (const { rows, upTo } of changedSince(ctx, list, list.position)) {
    takeIn(list, rows);
    list.position = upTo;
  }
  list.position = Math.max(head, list.position);
}

/** Of a delta list; undefined when they are too many for one. */
async function entriesSince(ctx: Context, list: List, after: number, now: IsoTime): Promise<readonly Uint8Array[] | undefined> {
  const entries: Uint8Array[] = [];
  for await (const { rows } of changedSince(ctx, list, after)) {
    for (const row of rows) entries.push(entryOf(row, now));
    if (entries.length > maxDeltaEntries) return undefined;
  }
  return entries;
}

/** Rows that changed after a position, oldest first, a page at a time, with turns of others in between. @property upTo up to there all are read */
async function* changedSince(ctx: Context, { listId }: List, after: number): AsyncGenerator<{ rows: readonly Row[]; upTo: number }> {
  const { listed } = certificateQueries(ctx.reads.db);
  const which = listOf(listId);
  for (let upTo = after; ; await nextTurn()) {
    const rows = await listed(which, { after: upTo, limit: rowsAtOnce });
    const end = rows.at(-1)?.position ?? upTo;
    if (rows.length < rowsAtOnce) return yield { rows, upTo: end };
    // One event may have changed several rows: those of the last one are read again, all of them.
    const whole = rows.filter(({ position }) => position < end);
    const page = whole.length > 0 ? whole : await listed(which, { after: upTo, upTo: end });
    upTo = whole.length > 0 ? end - 1 : end;
    yield { rows: page, upTo };
  }
}

function takeIn(list: List, rows: readonly Row[]): void {
  const added: Uint8Array[] = [];
  for (const row of rows) {
    if (row.reason === null || list.entries.has(row.serial)) list.chunks = undefined;
    if (row.reason === null) list.entries.delete(row.serial);
    else {
      const entry = entryOf(row, '');
      list.entries.set(row.serial, { der: entry, notAfter: row.not_after });
      added.push(entry);
    }
  }
  if (added.length > 0) list.chunks?.push(join(added));
}

/** Takes off what nobody asks for any more. */
function dropExpired(list: List, now: Date): void {
  const since = new Date(now.getTime() - entryDaysAfterExpiry * dayMs).toISOString();
  for (const [serial, { notAfter }] of list.entries) {
    if (notAfter >= since) continue;
    list.entries.delete(serial);
    list.chunks = undefined;
  }
}

function chunksOf(list: List): readonly Uint8Array[] {
  if (list.chunks === undefined) list.chunks = [join([...list.entries.values()].map(({ der }) => der))];
  else if (list.chunks.length > maxChunks) list.chunks = [join(list.chunks)];
  return list.chunks;
}

const join = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

/** A row without a reason is no longer on hold (RFC 5280 §5.3.1). */
function entryOf({ serial: serialHex, reason, revoked_at }: Row, now: IsoTime): Uint8Array {
  if (reason === null) return encodeCrlEntry({ serialHex, revokedAt: now, reason: 'removeFromCRL' });
  return encodeCrlEntry({ serialHex, revokedAt: revoked_at ?? now, reason: isRevocationReason(reason) ? reason : 'unspecified' });
}

/** Old lists follow from the events; only the last ones are kept. */
async function discard(ctx: Context, list: List, sha256s: readonly string[]): Promise<void> {
  list.replaced.push(...sha256s);
  while (list.replaced.length > keptReplacedLists * 2) await ctx.blobs.delete(list.replaced.shift() as string);
}
