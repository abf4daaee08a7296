import { rmSync } from 'node:fs';
import type { StateSettings } from '../../config.ts';
import { sha256Hex } from '../../digest.ts';
import { operatorByToken } from '../../domain/operatorCredentials.ts';
import { operators, operatorsStream } from '../../domain/operators.ts';
import type { NewOperator, OperatorsState } from '../../domain/operatorsState.ts';
import { requireOtherPerson } from '../../domain/rules.ts';
import { NusecError } from '../../errors.ts';
import { eraseAgain } from '../administration/subjects.ts';
import { authorityOf } from '../authority/authority.ts';
import { publishTrustBundle } from '../authority/trustBundle.ts';
import type { Alarms } from '../base/alarms.ts';
import { type Context, nowIso, stateOf } from '../base/context.ts';
import { type CheckpointPlaces, requireCheckpoints } from '../proof/knownCheckpoints.ts';
import { issueCrl } from '../revocation/crl.ts';
import { listIdsOf } from '../revocation/crlPartitions.ts';
import { type KnownMark, readMark } from '../revocation/markFile.ts';
import { keepRevocationMark, lackOf } from '../revocation/revocationMark.ts';
import type { Revocations } from '../revocation/revocations.ts';
import { besideFile, markPlaceOf } from './markedStore.ts';
import { restoreAuthority } from './restoreAuthority.ts';
import { restoreFloors, restorePeople } from './restorePeople.ts';
import { restoreRevocations } from './restoreRevocations.ts';

/** Takes up a store that has less than was known of it, because two administrators want it so (T34). Nothing becomes valid again by that: what was revoked
 *  is revoked again, who was gone is gone, and no number goes back. */

export type AcceptParts = { readonly ctx: Context; readonly alarms: Alarms; readonly revocations: Revocations };
export type Accepted = {
  /** Who wanted it; empty when there was nothing to accept. */
  readonly by: readonly string[];
  /** Events in the store when it was taken up. */
  readonly events: number;
  readonly lack?: string;
  /** Certificates that were revoked again. */
  readonly revokedAgain: number;
  /** People whose keys were destroyed again; `unknown` where this machine does not know who was erased since. */
  readonly erasedAgain: number | 'unknown';
};

/** @param tokens of two administrators, as this machine has known them last
 *  @throws NusecError STORE_OLDER without tokens, UNAUTHENTICATED, TOKEN_EXPIRED, FORBIDDEN, FOUR_EYES_REQUIRED */
export async function acceptStore(
  parts: AcceptParts,
  settings: StateSettings,
  checkpoints: CheckpointPlaces,
  tokens: readonly string[],
): Promise<Accepted> {
  const { ctx, alarms } = parts;
  const events = await ctx.store.head();
  const place = await markPlaceOf(ctx, settings);
  const known = (await readMark(ctx, place.file)) ?? (await readMark(ctx, besideFile(settings)));
  const lack = known && (await lackOf(ctx, known));
  const by = tokens.length === 0 ? [] : await approversOf(ctx, known, tokens);
  const isFitting = lack === undefined && (await fitsCheckpoint(parts, checkpoints));
  if (isFitting) return { by: [], events, revokedAgain: 0, erasedAgain: known === undefined ? 'unknown' : 0 };
  if (by.length === 0)
    throw new NusecError(
      'STORE_OLDER',
      `${lack ?? 'the store does not fit its checkpoint'}; two administrators may accept it: the same command with --token-file and --second-token-file (nusec restore)`,
    );
  await requireCheckpoints({ ctx, alarms }, checkpoints, true);
  const erasedAgain = known?.old === undefined ? await eraseAgain(ctx, known?.facts.erased ?? []) : 0;
  const revokedAgain = known?.old === undefined && known !== undefined ? await restoreFromMark(parts, known) : 0;
  await signAnew(ctx);
  const detail = `${by.join(' and ')} accepted it: ${lack ?? 'it does not fit its checkpoint'}; ${revokedAgain} certificates were revoked again, ${erasedAgain} people erased again`;
  await alarms.raise({ code: 'OLDER_STORE_ACCEPTED', subject: 'store', detail }, 'always');
  if (place.file !== besideFile(settings)) rmSync(besideFile(settings), { force: true });
  await (await keepRevocationMark(ctx, place.file)).close();
  return { by, events, ...(lack !== undefined && { lack }), revokedAgain, erasedAgain };
}

async function fitsCheckpoint({ ctx, alarms }: AcceptParts, checkpoints: CheckpointPlaces): Promise<boolean> {
  try {
    await requireCheckpoints({ ctx, alarms }, checkpoints, false);
    return true;
  } catch (error) {
    if (error instanceof NusecError && (error.code === 'STORE_OLDER' || error.code === 'STORE_DAMAGED')) return false;
    throw error;
  }
}

/** The people are those of the mark: a person who was removed after the backup approves nothing. */
async function approversOf(ctx: Context, known: KnownMark | undefined, tokens: readonly string[]): Promise<readonly string[]> {
  const state = await stateOf(ctx, operators, operatorsStream);
  const people = known === undefined || known.old !== undefined ? state : { ...state, byName: peopleOf(known) };
  const [first = '', second = ''] = tokens.map(token => {
    const { name, roles } = operatorByToken(people, sha256Hex(token), nowIso(ctx));
    if (!roles.includes('administrator')) throw new NusecError('FORBIDDEN', `${name} is no administrator`);
    return name;
  });
  requireOtherPerson(first, second, 'accepting an older store');
  return [first, second];
}

const peopleOf = ({ facts }: Extract<KnownMark, { readonly old?: undefined }>): OperatorsState['byName'] =>
  new Map(facts.people.map(({ credentials: _, ...person }) => [person.name, person as NewOperator]));

async function restoreFromMark(parts: AcceptParts, { facts, revoked }: Extract<KnownMark, { readonly old?: undefined }>): Promise<number> {
  await restorePeople(parts.ctx, facts);
  await restoreFloors(parts.ctx, facts.floors);
  await restoreAuthority(parts.ctx, facts);
  return restoreRevocations(parts, revoked);
}

/** Machines with an earlier list or bundle accept these as newer: their numbers follow the time. */
async function signAnew(ctx: Context): Promise<void> {
  const { roots, issuingCas } = await authorityOf(ctx);
  await publishTrustBundle(ctx);
  const signing = issuingCas.filter(({ status }) => status !== 'COMPROMISED').map(({ icaId }) => icaId);
  for (const id of [...roots.map(({ rootId }) => rootId), ...signing])
    for (const listId of await listIdsOf(ctx, id))
      await issueCrl(ctx, listId, true).catch(error =>
        ctx.log.warn({ listId, error: (error as Error).message }, 'the CRL was not signed anew'),
      );
}
