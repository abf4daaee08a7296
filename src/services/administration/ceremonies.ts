import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { requireApproved } from '../../domain/approval.ts';
import { authorityStream } from '../../domain/authority.ts';
import { type CaUse, firstRootId } from '../../domain/authorityEvents.ts';
import type { CreatedAuthority } from '../../domain/authorityState.ts';
import {
  type CeremonyAction,
  ceremonies,
  ceremoniesStream,
  ceremonyContent,
  ceremonyOf,
  type KnownCeremony,
} from '../../domain/ceremonies.ts';
import { generationOf, type SigningUse, signingKeyId } from '../../domain/signingUse.ts';
import type { Curve } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { historyOf } from '../../eventstore/recorded.ts';
import { authorityOf } from '../authority/authority.ts';
import { nextIcaId } from '../authority/issuingCa.ts';
import type { Alarms } from '../base/alarms.ts';
import { type Approval, approve } from '../base/approval.ts';
import { type Context, execute, newHexId, nowIso, stateOf } from '../base/context.ts';
import { carryOut, certificateOutcome, nextRootId } from './caGenerations.ts';

/** Key ceremonies: proposed by one administrator, approved by another, executed immediately and recorded for the file (I16). */

/** What may be proposed; the ids of what is to be made are found here. `curve` of its key; default: what the newest root says, and for the
 *  next root that of the newest; `icaCurve`; default: its own curve. */
export type CeremonyWish =
  | { readonly type: 'establishIssuingCa'; readonly use: CaUse; readonly line?: string | undefined; readonly curve?: Curve | undefined }
  | { readonly type: 'establishPackageKey'; readonly use?: SigningUse | undefined }
  | { readonly type: 'rollRoot'; readonly curve?: Curve | undefined; readonly icaCurve?: Curve | undefined }
  | Exclude<CeremonyAction, { readonly type: 'establishIssuingCa' | 'establishPackageKey' | 'rollRoot' }>;

/** @throws NusecError NOT_FOUND, CONFLICT (proposed already), STATE (already so) */
export async function proposeCeremony(ctx: Context, wish: CeremonyWish, by: Actor): Promise<KnownCeremony> {
  const id = newHexId(ctx);
  const action = await actionOf(ctx, wish);
  const { state } = await execute(
    ctx,
    ceremonies,
    ceremoniesStream(ctx.project),
    { type: 'ProposeCeremony', id, action, by, now: nowIso(ctx) },
    by,
  );
  return ceremonyOf(state, id);
}

/** Approves and executes. Repeated by anybody but the proposer: completes an interrupted ceremony, or gives the result.
 *  @throws NusecError FOUR_EYES_REQUIRED, STATE (withdrawn), CONFLICT (not what was seen), and what carrying it out refuses */
export async function approveCeremony(ctx: Context, alarms: Alarms, id: string, by: Actor, approval?: Approval): Promise<KnownCeremony> {
  const stream = ceremoniesStream(ctx.project);
  const { state } = await approve(
    ctx,
    {
      decider: ceremonies,
      stream,
      content: async () => ceremonyContent(ceremonyOf(await stateOf(ctx, ceremonies, stream), id)),
      command: content => ({ type: 'ApproveCeremony' as const, id, by, now: nowIso(ctx), content }),
    },
    by,
    approval,
  );
  const ceremony = ceremonyOf(state, id);
  if (ceremony.status === 'DONE') return ceremony;
  requireApproved(ceremony.approvedSha256, sha256Hex(ceremonyContent(ceremony)));
  const outcome = await carryOut(ctx, ceremony.action, [ceremony.proposedBy, ceremony.approvedBy ?? by]);
  const { state: after } = await execute(ctx, ceremonies, stream, { type: 'FinishCeremony', id, outcome, now: nowIso(ctx) }, by);
  const done = ceremonyOf(after, id);
  if (done.action.type === 'compromiseIssuingCa')
    await alarms.raise({
      code: 'CA_COMPROMISED',
      subject: done.action.icaId,
      detail: `nothing under ${done.action.icaId} is believed any more`,
    });
  return done;
}

export async function withdrawCeremony(ctx: Context, id: string, by: Actor): Promise<KnownCeremony> {
  const command = { type: 'WithdrawCeremony', id, by, now: nowIso(ctx) } as const;
  return ceremonyOf((await execute(ctx, ceremonies, ceremoniesStream(ctx.project), command, by)).state, id);
}

/** All of them, newest first. */
export async function listCeremonies(ctx: Context): Promise<readonly KnownCeremony[]> {
  return [...(await stateOf(ctx, ceremonies, ceremoniesStream(ctx.project))).byId.values()].reverse();
}

function nextSigningKey(use: SigningUse | undefined, { packageKeys }: CreatedAuthority): CeremonyAction {
  const generation = Math.max(0, ...packageKeys.map(({ keyId }) => generationOf(keyId))) + 1;
  return { type: 'establishPackageKey', keyId: signingKeyId(use ?? 'package', generation), ...(use !== undefined && { use }) };
}

/** The record for the file: who, what, when, fingerprints, and lines to sign. @throws NusecError NOT_FOUND, STATE (not done) */
export async function ceremonyRecord(ctx: Context, id: string): Promise<string> {
  if (id === firstRootId) return firstRootRecord(ctx);
  const ceremony = ceremonyOf(await stateOf(ctx, ceremonies, ceremoniesStream(ctx.project)), id);
  if (ceremony.status !== 'DONE') throw new NusecError('STATE', `the ceremony is ${ceremony.status}`);
  const { action, proposedBy, proposedAt, approvedBy = '', approvedAt = '', doneAt = '', outcome = {} } = ceremony;
  const { root } = await authorityOf(ctx);
  const { type, ...wish } = action;
  const fields = {
    project: ctx.project,
    'root SHA-256': root.sha256,
    ceremony: id,
    action: type,
    ...wish,
    'proposed by': `${proposedBy}, ${proposedAt}`,
    'approved by': `${approvedBy}, ${approvedAt}`,
    'carried out': doneAt,
    ...outcome,
  };
  return recordText(fields, [proposedBy, approvedBy]);
}

/** The record of the ceremony that began the project. */
async function firstRootRecord(ctx: Context): Promise<string> {
  const [made] = await historyOf(ctx.store, authorityStream(ctx.project), 'RootCaEstablished');
  const [first] = (await authorityOf(ctx)).roots;
  if (made === undefined || first === undefined) throw new NusecError('NOT_FOUND', 'the project has no root');
  const approvers = made.data.approvers.map(name => `operator:${name}`);
  const fields = {
    project: ctx.project,
    action: 'establishRoot',
    'carried out': made.at,
    'event hash': made.hash,
    ...certificateOutcome(first),
    icaCurve: first.icaCurve,
  };
  return recordText(fields, approvers);
}

function recordText(fields: Readonly<Record<string, unknown>>, people: readonly string[]): string {
  const lines = Object.entries(fields).map(([name, value]) => `${name.padEnd(22)} ${groups(String(value))}`);
  const signatures = people.map(who => `\n${who}\ndate and signature: ______________________________\n`);
  return ['KEY CEREMONY RECORD', '===================', '', ...lines, ...signatures].join('\n');
}

/** Fingerprints in groups of eight, as people compare them. */
const groups = (value: string): string => (/^[0-9a-f]{32,}$/.test(value) ? (value.match(/.{1,8}/g) ?? []).join(' ') : value);

async function actionOf(ctx: Context, wish: CeremonyWish): Promise<CeremonyAction> {
  const state = await authorityOf(ctx);
  switch (wish.type) {
    case 'establishIssuingCa': {
      const { use, line, curve = state.root.icaCurve } = wish;
      if ((use === 'device') !== (line !== undefined))
        throw new NusecError('BAD_REQUEST', 'a device CA belongs to a line, and only a device CA');
      const isKnown = state.issuingCas.some(ca => ca.use === use && ca.line === line);
      if (!isKnown) throw new NusecError('NOT_FOUND', `there is no ${use} CA${line === undefined ? '' : ` of line ${line}`} to follow`);
      return { type: wish.type, icaId: nextIcaId(state, use, line), use, ...(line !== undefined && { line }), curve };
    }
    case 'establishPackageKey':
      return nextSigningKey(wish.use, state);
    case 'rollRoot': {
      const { curve = state.root.curve, icaCurve = curve } = wish;
      return { type: wish.type, rootId: nextRootId(state.roots), curve, icaCurve };
    }
    default:
      return wish;
  }
}
