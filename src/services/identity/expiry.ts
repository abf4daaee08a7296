import { repeatedly } from '../../closing.ts';
import { device, deviceStream } from '../../domain/device.ts';
import { expiry, expiryNoticeDays, expiryStream } from '../../domain/expiry.ts';
import { issuingEndsMs } from '../../pki/lifetimes.ts';
import { type CertificateRow, certificateQueries } from '../../projections/certificates.ts';
import { dayMs, hourMs } from '../../times.ts';
import { authorityOf, parsedAuthority } from '../authority/authority.ts';
import type { Alarms } from '../base/alarms.ts';
import { type Context, execute, nowIso } from '../base/context.ts';
import { eachAlone, type Failed } from '../base/eachAlone.ts';

/** Looks through the inventory for certificates that end soon (R86, RULE-16): 90, 30 and 7 days before, an event for each and an alarm for those
 *  that share an authority; at the end, an event. What a newer certificate of the same subject has replaced ends without notice, and so does
 *  what is renewed within the threshold anyway. */
export type ExpiryScan = {
  /** Looks now; resolves when everything found is recorded. */
  check(): Promise<void>;
  close(): Promise<void>;
};

const checkEveryMs = 6 * hourMs;
const rowsAtOnce = 500;
const by = 'system:expiry';

export function startExpiryScan(ctx: Context, alarms: Alarms): ExpiryScan {
  const told = new Set<string>();
  const look = async (stop: AbortSignal): Promise<void> => {
    await scan(ctx, alarms, stop);
    if (!stop.aborted) await watchIssuing(ctx, alarms, told);
  };
  const { now, close } = repeatedly(checkEveryMs, look, error => ctx.log.error({ error: String(error) }, 'the expiry scan has stopped'));
  return { check: now, close };
}

async function scan(ctx: Context, alarms: Alarms, stop: AbortSignal): Promise<void> {
  await forAll(
    ctx,
    (queries, after) => queries.ended(nowIso(ctx), rowsAtOnce, after),
    row => end(ctx, row),
    stop,
  );
  for (const days of expiryNoticeDays.toReversed()) {
    const found: CertificateRow[] = [];
    const before = new Date(ctx.clock().getTime() + days * dayMs).toISOString();
    await forAll(
      ctx,
      (queries, after) => queries.endingBefore(before, days, rowsAtOnce, after),
      async row => {
        await notice(ctx, row, days);
        found.push(row);
      },
      stop,
    );
    if (stop.aborted) return;
    await raise(alarms, found, days);
  }
}

/** An issuing CA stops issuing while it has the whole life of a certificate left: the next generation must be there before. Each threshold is reported
 *  once by a process. */
async function watchIssuing(ctx: Context, alarms: Alarms, told: Set<string>): Promise<void> {
  const now = ctx.clock().getTime();
  for (const { icaId, use, status, certificate } of (await authorityOf(ctx)).issuingCas) {
    if (status !== 'ACTIVE') continue;
    const endsMs = issuingEndsMs(parsedAuthority(certificate), use);
    const days = [0, ...expiryNoticeDays.toReversed()].find(threshold => now >= endsMs - threshold * dayMs);
    if (days === undefined || told.has(`${icaId} ${days}`)) continue;
    told.add(`${icaId} ${days}`);
    const code = days === 0 ? 'ISSUING_STOPPED' : `ISSUING_STOPS_${days}_DAYS`;
    const detail = `${icaId} issues ${use} certificates until ${new Date(endsMs).toISOString()}: roll and activate the next generation`;
    await alarms.raise({ code, subject: icaId, detail });
  }
}

type Queries = ReturnType<typeof certificateQueries>;

/** Takes each row once. What cannot be recorded is tried again by the next scan. */
async function forAll(
  ctx: Context,
  find: (queries: Queries, after?: CertificateRow) => Promise<CertificateRow[]>,
  work: (row: CertificateRow) => Promise<unknown>,
  stop: AbortSignal,
): Promise<void> {
  const failed: Failed<CertificateRow>[] = [];
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['certificates'] });
  for (let rows = await find(certificateQueries(ctx.reads.db)); rows.length > 0 && !stop.aborted; ) {
    failed.push(...(await eachAlone(rows, work, { atOnce: rowsAtOnce, stop })));
    rows = await find(certificateQueries(ctx.reads.db), rows.at(-1));
  }
  const [first] = failed;
  if (first === undefined) return;
  const { kind, subject } = first.item;
  ctx.log.warn({ count: failed.length, first: `${kind} ${subject}: ${first.error}` }, 'the end of certificates is not recorded yet');
}

function notice(ctx: Context, { serial, kind, subject, not_after: notAfter }: CertificateRow, days: number) {
  return execute(ctx, expiry, expiryStream(serial), { type: 'NoticeExpiry', serial, kind, subject, days, notAfter }, by);
}

async function end(ctx: Context, { serial, kind, subject, not_after: notAfter }: CertificateRow): Promise<void> {
  const now = nowIso(ctx);
  if (kind === 'device') await execute(ctx, device, deviceStream(subject), { type: 'ExpireCertificate', serial, now }, by);
  else await execute(ctx, expiry, expiryStream(serial), { type: 'EndCertificate', serial, notAfter, now }, by);
}

/** One alarm per kind and authority, however many certificates end. */
async function raise(alarms: Alarms, found: readonly CertificateRow[], days: number): Promise<void> {
  for (const rows of Map.groupBy(found, ({ kind, ica_id }) => `${kind} ${ica_id}`).values()) {
    const [{ kind, subject, ica_id, not_after } = rows[0] as CertificateRow] = rows.toSorted((a, b) =>
      a.not_after < b.not_after ? -1 : 1,
    );
    const what = rows.length === 1 ? `the ${kind} certificate of ${subject} ends` : `${rows.length} ${kind} certificates of ${ica_id} end`;
    const detail = `${what} within ${days} days, first on ${not_after}`;
    await alarms.raise({ code: `CERTIFICATE_ENDS_${days}_DAYS`, subject: `${kind}-${ica_id}`, detail });
  }
}
