import type { Curve } from '../ecKey.ts';
import type { Actor, IsoTime } from './actor.ts';
import { type ApprovedContent, contentOfApproval } from './approval.ts';
import type { CaUse } from './authorityEvents.ts';
import { contentText } from './contentText.ts';
import type { Decider, Of } from './decider.ts';
import { isWaiting, requireWaiting } from './proposals.ts';
import { refuse, requireOtherPerson } from './rules.ts';
import type { SigningUse } from './signingUse.ts';

/** Key ceremonies: what changes the authorities of a project is proposed by one person and executed when another approves (I16).
 *  Stream `ceremonies-{project}`; each ceremony: PROPOSED → APPROVED → DONE, or PROPOSED → WITHDRAWN. */

/** Ceremonies waiting for an approval at the same time. */
export const maxOpenCeremonies = 20;
const maxCeremonies = 10_000;

/** The ids of what is made are fixed with the proposal: a ceremony that is executed twice makes nothing twice. So are the curves of new keys
 *  (see RootCa); a proposal from before they could be chosen has none. */
export type CeremonyAction =
  | { readonly type: 'establishIssuingCa'; readonly icaId: string; readonly use: CaUse; readonly line?: string; readonly curve?: Curve }
  | { readonly type: 'activateIssuingCa'; readonly icaId: string }
  | { readonly type: 'retireIssuingCa'; readonly icaId: string }
  | { readonly type: 'compromiseIssuingCa'; readonly icaId: string; readonly reason: string }
  /** Without `use` it makes a key for each use, of the generation that `keyId` has. */
  | { readonly type: 'establishPackageKey'; readonly keyId: string; readonly use?: SigningUse }
  | { readonly type: 'compromisePackageKey'; readonly keyId: string; readonly reason: string }
  | { readonly type: 'rollRoot'; readonly rootId: string; readonly curve?: Curve; readonly icaCurve?: Curve }
  | { readonly type: 'retireRoot'; readonly rootId: string };

/** What came of it, as the printed record shows it: name → text. */
export type CeremonyOutcome = { readonly [name: string]: string };

export type CeremoniesEvent =
  | {
      readonly type: 'CeremonyProposed';
      readonly data: { readonly id: string; readonly action: CeremonyAction; readonly by: Actor; readonly at: IsoTime };
    }
  /** `contentSha256`: SHA-256 of the content (`ceremonyContent`) that was approved. */
  | {
      readonly type: 'CeremonyApproved';
      readonly data: { readonly id: string; readonly by: Actor; readonly at: IsoTime; readonly contentSha256?: string };
    }
  | { readonly type: 'CeremonyDone'; readonly data: { readonly id: string; readonly at: IsoTime; readonly outcome: CeremonyOutcome } }
  | { readonly type: 'CeremonyWithdrawn'; readonly data: { readonly id: string; readonly by: Actor; readonly at: IsoTime } };
export type CeremoniesCommand =
  | { readonly type: 'ProposeCeremony'; readonly id: string; readonly action: CeremonyAction; readonly by: Actor; readonly now: IsoTime }
  | {
      readonly type: 'ApproveCeremony';
      readonly id: string;
      readonly by: Actor;
      readonly now: IsoTime;
      readonly content?: ApprovedContent;
    }
  | { readonly type: 'FinishCeremony'; readonly id: string; readonly outcome: CeremonyOutcome; readonly now: IsoTime }
  | { readonly type: 'WithdrawCeremony'; readonly id: string; readonly by: Actor; readonly now: IsoTime };

export type KnownCeremony = {
  readonly id: string;
  readonly status: 'PROPOSED' | 'APPROVED' | 'DONE' | 'WITHDRAWN';
  readonly action: CeremonyAction;
  readonly proposedBy: string;
  readonly proposedAt: string;
  readonly approvedBy?: string;
  readonly approvedAt?: string;
  readonly approvedSha256?: string;
  readonly doneAt?: string;
  readonly outcome?: CeremonyOutcome;
};
export type CeremoniesState = { readonly byId: ReadonlyMap<string, KnownCeremony> };

export const ceremoniesStream = (project: string): string => `ceremonies-${project}`;

/** What an approval approves, as one text. Equal texts are equal content. */
export function ceremonyContent({ id, action, proposedBy }: KnownCeremony): string {
  return contentText([id, proposedBy, Object.entries(action).sort(([a], [b]) => (a < b ? -1 : 1))]);
}

/** @throws NusecError NOT_FOUND */
export function ceremonyOf(state: CeremoniesState, id: string): KnownCeremony {
  return state.byId.get(id) ?? refuse('NOT_FOUND', 'there is no such ceremony');
}

function decide(command: CeremoniesCommand, state: CeremoniesState): readonly CeremoniesEvent[] {
  if (command.type === 'ProposeCeremony') return propose(command, state);
  const ceremony = ceremonyOf(state, command.id);
  const { id, now: at } = command;
  switch (command.type) {
    case 'ApproveCeremony':
      return approve(command, ceremony);
    case 'FinishCeremony':
      if (ceremony.status === 'DONE') return [];
      if (ceremony.status !== 'APPROVED') refuse('FOUR_EYES_REQUIRED', 'the ceremony is not approved');
      return [{ type: 'CeremonyDone', data: { id, at, outcome: command.outcome } }];
    case 'WithdrawCeremony':
      if (ceremony.status === 'WITHDRAWN') return [];
      if (ceremony.status !== 'PROPOSED') refuse('STATE', `the ceremony is ${ceremony.status}`);
      return [{ type: 'CeremonyWithdrawn', data: { id, by: command.by, at } }];
  }
}

function propose(
  { id, action, by, now: at }: Of<CeremoniesCommand, 'ProposeCeremony'>,
  state: CeremoniesState,
): readonly CeremoniesEvent[] {
  if (state.byId.has(id)) return [];
  const open = [...state.byId.values()].filter(({ status, proposedAt }) => status === 'PROPOSED' && isWaiting(proposedAt, at));
  const same = open.find(ceremony => subjectOf(ceremony.action) === subjectOf(action));
  if (same !== undefined) refuse('CONFLICT', `ceremony ${same.id} proposes the same`);
  if (open.length >= maxOpenCeremonies || state.byId.size >= maxCeremonies) refuse('RATE_LIMITED', 'too many ceremonies');
  return [{ type: 'CeremonyProposed', data: { id, action, by, at } }];
}

/** What two proposals must not both be about: one id is made once, on whatever curve. */
const subjectOf = (action: CeremonyAction): string => contentText({ ...action, curve: undefined, icaCurve: undefined });

/** The same approver may ask again: an interrupted ceremony is then completed. */
function approve(
  { id, by, now: at, content }: Of<CeremoniesCommand, 'ApproveCeremony'>,
  ceremony: KnownCeremony,
): readonly CeremoniesEvent[] {
  requireOtherPerson(ceremony.proposedBy, by, 'approving a ceremony');
  if (ceremony.status === 'WITHDRAWN') refuse('STATE', 'the ceremony is withdrawn');
  const approved = contentOfApproval(content, ceremonyContent(ceremony));
  if (ceremony.status !== 'PROPOSED') return [];
  requireWaiting(ceremony.proposedAt, at, 'the ceremony');
  return [{ type: 'CeremonyApproved', data: { id, by, at, ...approved } }];
}

function evolve(state: CeremoniesState, event: CeremoniesEvent): CeremoniesState {
  const { data } = event;
  const byId = new Map(state.byId);
  if (event.type === 'CeremonyProposed') {
    const { id, action, by, at } = event.data;
    return { byId: byId.set(id, { id, status: 'PROPOSED', action, proposedBy: by, proposedAt: at }) };
  }
  const known = state.byId.get(data.id);
  if (known === undefined) return state;
  switch (event.type) {
    case 'CeremonyApproved': {
      const { by: approvedBy, at: approvedAt, contentSha256 } = event.data;
      const content = contentSha256 === undefined ? {} : { approvedSha256: contentSha256 };
      return { byId: byId.set(known.id, { ...known, status: 'APPROVED', approvedBy, approvedAt, ...content }) };
    }
    case 'CeremonyDone':
      return { byId: byId.set(known.id, { ...known, status: 'DONE', doneAt: event.data.at, outcome: event.data.outcome }) };
    case 'CeremonyWithdrawn':
      return { byId: byId.set(known.id, { ...known, status: 'WITHDRAWN' }) };
    default:
      return state;
  }
}

export const ceremonies: Decider<CeremoniesCommand, CeremoniesState, CeremoniesEvent> = {
  initialState: { byId: new Map() },
  decide,
  evolve,
};
