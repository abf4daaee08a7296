import { repeatedly } from '../../closing.ts';
import type { IsoTime } from '../../domain/actor.ts';
import type { Crl } from '../../domain/authorityEvents.ts';
import { listIdOf, listOf } from '../../domain/crlList.ts';
import { certificateQueries } from '../../projections/certificates.ts';
import { authorityOf, parsedAuthority } from '../authority/authority.ts';
import type { Alarms } from '../base/alarms.ts';
import { areCurrent, type Context, nowIso } from '../base/context.ts';
import { isDue, issueCrl } from './crl.ts';
import { listIdsOf } from './crlPartitions.ts';
import type { Revocations } from './revocations.ts';

/** Keeps every revocation list fresh: signed again when half of its life is over, and soon after every revocation. Trouble is an alarm, and a list
 *  that could not be signed is tried again: one that runs out makes strict clients refuse everything, one that lacks a revocation lets them accept it. */
export type CrlSchedule = {
  /** Looks at all lists now; resolves when those that were due, or lack a revocation from before the start, are signed or their alarm is raised. */
  check(): Promise<void>;
  close(): Promise<void>;
};

const checkEveryMs = 10 * 60_000;
/** Revocations that come together share one list. */
const gatherMs = 100;
/** The larger a list is, the less often it is signed: signing takes at most one part in so many of the time, and so many bytes of lists are
 *  written and fetched in a second at most. */
const signingShare = 20;
const listBytesPerSecond = 200_000;
const maxGatherMs = 30_000;
/** After a list could not be signed. */
const defaultRetryMs = 5_000;

/** What a compromised authority says counts no more, so it signs no list: nothing under it is believed anyway. */
const isBelieved = ({ status = 'ACTIVE' }: { readonly status?: string }): boolean => status === 'ACTIVE' || status === 'RETIRED';

/** One whose time is over signs no more either: nothing under it is valid. @param authority a root has no status */
export const signsLists = (authority: { readonly status?: string; readonly certificate: string }, now: IsoTime): boolean =>
  isBelieved(authority) && parsedAuthority(authority.certificate).notAfter > now;

export function startCrlSchedule(ctx: Context, revocations: Revocations, alarms: Alarms, retryMs = defaultRetryMs): CrlSchedule {
  /** List → newest revocation that it must have. */
  const waiting = new Map<string, number>();
  let gathering: NodeJS.Timeout | undefined;
  let pauseMs = gatherMs;
  let signing: Promise<void> = Promise.resolve();
  let isClosed = false;

  const logFailure = (error: unknown): void => ctx.log.error({ error: String(error) }, 'revocation lists');
  const gather = (ms: number): void => {
    if (isClosed) return;
    gathering ??= setTimeout(() => {
      gathering = undefined;
      signing = signing
        .then(signWaiting)
        .catch(error => (isClosed ? undefined : logFailure(error)))
        .then(() => (waiting.size > 0 ? gather(retryMs) : undefined));
    }, ms);
  };

  /** @returns bytes of the full list; undefined when it could not be signed */
  const sign = async (listId: string, newBase: boolean): Promise<number | undefined> => {
    try {
      const { full } = await issueCrl(ctx, listId, newBase);
      alarms.ended({ code: 'CRL_NOT_SIGNED', subject: listId }, 'it is signed');
      return full.length;
    } catch (error) {
      if (isClosed) throw error;
      const detail = `revocation list not signed: ${error instanceof Error ? error.message : 'unknown'}`;
      await alarms.raise({ code: 'CRL_NOT_SIGNED', subject: listId, detail }).catch(logFailure);
      return undefined;
    }
  };
  /** The process that led may have ended between a revocation and the list with it. */
  const lacksChange = async ({ position = 0, ...list }: Crl): Promise<boolean> =>
    (await certificateQueries(ctx.reads.db).listed(listOf(listIdOf(list)), { after: position, limit: 1 })).length > 0;
  const check = async (stop: AbortSignal): Promise<void> => {
    if (!revocations.isKnown() || !(await areCurrent(ctx, ['certificates']))) return;
    const { crls, roots, issuingCas } = await authorityOf(ctx);
    const authorities = [...roots.map(root => ({ ...root, icaId: root.rootId })), ...issuingCas];
    for (const { icaId } of authorities.filter(each => signsLists(each, nowIso(ctx)))) {
      if (stop.aborted) return;
      for (const listId of await listIdsOf(ctx, icaId)) {
        const newest = crls.find(crl => listIdOf(crl) === listId);
        if (newest?.delta === undefined || isDue(ctx, newest)) await sign(listId, true);
        else if (await lacksChange(newest)) await sign(listId, false);
      }
    }
  };
  const signWaiting = async (): Promise<void> => {
    const begun = performance.now();
    const { crls, issuingCas } = await authorityOf(ctx);
    let bytes = 0;
    for (const [listId, position] of [...waiting]) {
      if (isClosed) return;
      const issuer = issuingCas.find(({ icaId }) => icaId === listOf(listId).icaId);
      const isWanted = issuer === undefined || isBelieved(issuer);
      const known = crls.find(crl => listIdOf(crl) === listId)?.position ?? -1;
      const signed = isWanted && known < position ? await sign(listId, false) : 0;
      if (signed !== undefined && waiting.get(listId) === position) waiting.delete(listId);
      bytes += signed ?? 0;
    }
    const bySize = (bytes / listBytesPerSecond) * 1000;
    pauseMs = Math.min(maxGatherMs, Math.max(gatherMs, bySize, (performance.now() - begun) * signingShare));
  };
  const stopListening = revocations.onChange(({ list, position }) => {
    if (list === undefined) return;
    waiting.set(listIdOf(list), position);
    gather(pauseMs);
  });
  const checks = repeatedly(checkEveryMs, check, logFailure);
  return {
    check: checks.now,
    async close() {
      isClosed = true;
      stopListening();
      clearTimeout(gathering);
      await Promise.all([checks.close(), signing]);
    },
  };
}
