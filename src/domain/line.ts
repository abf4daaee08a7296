import type { Actor, IsoTime } from './actor.ts';
import { type ApprovedContent, contentOfApproval } from './approval.ts';
import { type AttestationPolicy, defaultAttestationPolicy, isSamePolicy, wishedPolicy } from './attestationPolicy.ts';
import { type Decider, type Of, requireStatus } from './decider.ts';
import type { LineEncryption } from './encryption.ts';
import { type LineChange, type LineProposal, proposalContent, requireProposal } from './lineChange.ts';
import { refuse, requireCount } from './rules.ts';

/** A product line: identity of its firmware, counter budget, support period. Stream `line-{line}`. NONE → DEFINED */

/** Bits the OTP keeps for the security counter of the application (one bit per step). */
export const maxCounterBudget = 255;

/** What the flash and the bootloader of a line's chips can take. */
export type LineLayout = {
  /** Size of a slot of the application, and of the bootloader's own, with the swap trailer at its end. */
  readonly appSlotBytes: number;
  readonly bl2SlotBytes: number;
  /** Bytes at the end of a slot that belong to the swap trailer. */
  readonly trailerBytes: number;
  /** The header is a multiple of it: alignment of the vector table. */
  readonly headerAlignment: number;
  /** Largest step of the security counter from one release to the next without two people's word. */
  readonly counterStep: number;
  /** Bytes of one block of an upgrade: a device holds as much until it has checked it. Larger ones cost the server and the line less. */
  readonly blockBytes: number;
};
/** As in a signed job (src/ota/otaJob.ts). */
const [minBlockBytes, maxBlockBytes, maxBlocks] = [256, 64 * 1024, 4096];
const defaultLayout: LineLayout = {
  appSlotBytes: 1024 * 1024,
  bl2SlotBytes: 128 * 1024,
  trailerBytes: 4096,
  headerAlignment: 32,
  counterStep: 16,
  blockBytes: 16 * 1024,
};
/** Lines that were defined before lines had a layout have the default one. */
export const layoutOf = ({ layout }: Pick<LineDefinition, 'layout'>): LineLayout => ({ ...defaultLayout, ...layout });

export type LineDefinition = {
  readonly line: string;
  readonly vendorUuid: string;
  readonly classUuid: string;
  /** Highest security counter the chips of this line can hold. */
  readonly counterMaximum: number;
  readonly oem: string;
  readonly supportUntil?: string;
  /** How many days attestations of its devices are kept with their evidence; `defaultAttestationDays` when not set. */
  readonly attestationDays?: number;
  readonly layout?: Partial<LineLayout>;
  /** What its devices have to speak when they are attested; `defaultAttestationPolicy` when not set. */
  readonly attestation?: AttestationPolicy;
};

/** A year and a month: what was a year ago can be shown. */
export const defaultAttestationDays = 396;
const maxAttestationDays = 10_000;

export type LineEvent =
  | { readonly type: 'LineDefined'; readonly data: LineDefinition }
  /** A newer one takes the place of the one before. */
  | { readonly type: 'LineChangeProposed'; readonly data: LineProposal }
  /** The change itself follows, in the name of who proposed it. `contentSha256`: of the content (`proposalContent`) that was approved. */
  | { readonly type: 'LineChangeApproved'; readonly data: { readonly by: Actor; readonly contentSha256?: string } }
  | { readonly type: 'RollbackFloorRaised'; readonly data: { readonly floor: number; readonly by: Actor } }
  | { readonly type: 'AttestationRetentionSet'; readonly data: { readonly days: number; readonly by: Actor } }
  | { readonly type: 'LineEncryptionSet'; readonly data: { readonly encryption: LineEncryption; readonly by: Actor } }
  /** Every device of the line is to prove itself that has not done so since then. */
  | { readonly type: 'AttestationOfAllAsked'; readonly data: { readonly since: IsoTime; readonly by: Actor } }
  | { readonly type: 'AttestationPolicySet'; readonly data: { readonly policy: AttestationPolicy; readonly by: Actor } }
  | { readonly type: 'SupportPeriodSet'; readonly data: { readonly supportUntil: string; readonly by: Actor } };

export type LineCommand =
  | ({ readonly type: 'DefineLine' } & LineDefinition)
  | { readonly type: 'ProposeLineChange'; readonly change: LineChange; readonly by: Actor; readonly now: IsoTime }
  | { readonly type: 'ApproveLineChange'; readonly by: Actor; readonly now: IsoTime; readonly content: ApprovedContent }
  | { readonly type: 'RaiseRollbackFloor'; readonly floor: number; readonly by: Actor }
  | { readonly type: 'SetAttestationRetention'; readonly days: number; readonly by: Actor }
  | { readonly type: 'SetLineEncryption'; readonly encryption: LineEncryption; readonly by: Actor }
  | { readonly type: 'AskForAttestationOfAll'; readonly now: IsoTime; readonly by: Actor }
  /** What is not wished stays as it is. */
  | { readonly type: 'SetAttestationPolicy'; readonly wish: Partial<AttestationPolicy>; readonly by: Actor }
  | { readonly type: 'SetSupportPeriod'; readonly supportUntil: string; readonly by: Actor };

export type DefinedLine = LineDefinition & {
  readonly status: 'DEFINED';
  readonly rollbackFloor: number;
  readonly encryption?: LineEncryption;
  readonly attestAllSince?: IsoTime;
  readonly proposal?: LineProposal;
};
export type LineState = { readonly status: 'NONE' } | DefinedLine;

export const policyOf = ({ attestation }: Pick<LineDefinition, 'attestation'>): AttestationPolicy =>
  attestation ?? defaultAttestationPolicy;

export const lineStream = (name: string): string => `line-${name}`;

function decide(command: LineCommand, state: LineState): readonly LineEvent[] {
  switch (command.type) {
    case 'DefineLine':
      return define(command, state);
    case 'ProposeLineChange':
      return proposeChange(command, state);
    case 'ApproveLineChange':
      return approveChange(command, state);
    case 'RaiseRollbackFloor':
      return raiseFloor(command, state);
    case 'SetAttestationRetention': {
      requireStatus(state, ['DEFINED'], 'setting how long attestations are kept');
      const { days, by } = command;
      requireCount(days, 1, 'the days that attestations are kept');
      if (days > maxAttestationDays) refuse('BAD_REQUEST', `attestations are kept for at most ${maxAttestationDays} days`);
      return state.attestationDays === days ? [] : [{ type: 'AttestationRetentionSet', data: { days, by } }];
    }
    case 'SetLineEncryption':
      return setEncryption(command, state);
    case 'AskForAttestationOfAll':
      requireStatus(state, ['DEFINED'], 'attesting its devices');
      return [{ type: 'AttestationOfAllAsked', data: { since: command.now, by: command.by } }];
    case 'SetAttestationPolicy': {
      requireStatus(state, ['DEFINED'], 'setting how devices are attested');
      const before = policyOf(state);
      const policy = wishedPolicy(before, command.wish);
      return isSamePolicy(before, policy) ? [] : [{ type: 'AttestationPolicySet', data: { policy, by: command.by } }];
    }
    case 'SetSupportPeriod': {
      requireStatus(state, ['DEFINED'], 'setting the support period');
      const { supportUntil, by } = command;
      return state.supportUntil === supportUntil ? [] : [{ type: 'SupportPeriodSet', data: { supportUntil, by } }];
    }
  }
}

function define({ type: _, ...data }: Of<LineCommand, 'DefineLine'>, state: LineState): readonly LineEvent[] {
  if (state.status !== 'NONE') {
    const sameName = state.vendorUuid === data.vendorUuid && state.classUuid === data.classUuid;
    const [before, now] = [layoutOf(state), layoutOf(data)];
    const sameLayout = (Object.keys(now) as (keyof LineLayout)[]).every(name => before[name] === now[name]);
    return sameName && sameLayout && state.counterMaximum === data.counterMaximum
      ? []
      : refuse('CONFLICT', 'this line is defined otherwise');
  }
  requireCount(data.counterMaximum, 1, 'the counter maximum');
  if (data.counterMaximum > maxCounterBudget) refuse('BAD_REQUEST', `the counter maximum is at most ${maxCounterBudget}`);
  for (const [name, value] of Object.entries(data.layout ?? {})) requireCount(value, 1, name);
  const { blockBytes, appSlotBytes } = layoutOf(data);
  if (blockBytes < minBlockBytes || blockBytes > maxBlockBytes || appSlotBytes > blockBytes * maxBlocks)
    refuse('BAD_REQUEST', `a block has ${minBlockBytes} to ${maxBlockBytes} bytes, and a slot at most ${maxBlocks} blocks`);
  return [{ type: 'LineDefined', data }];
}

/** The change as its own command decides it. */
function changed(change: LineChange, by: Actor, state: LineState): readonly LineEvent[] {
  if ('floor' in change) return decide({ type: 'RaiseRollbackFloor', floor: change.floor, by }, state);
  if ('encryption' in change) return decide({ type: 'SetLineEncryption', encryption: change.encryption, by }, state);
  return decide({ type: 'SetAttestationRetention', days: change.attestationDays, by }, state);
}

/** What is so already, or is refused now, is not proposed. */
function proposeChange({ change, by, now }: Of<LineCommand, 'ProposeLineChange'>, state: LineState): readonly LineEvent[] {
  if (changed(change, by, state).length === 0) return [];
  return [{ type: 'LineChangeProposed', data: { change, by, at: now } }];
}

/** What was proposed is decided once more, as the line is now. */
function approveChange({ by, now, content }: Of<LineCommand, 'ApproveLineChange'>, state: LineState): readonly LineEvent[] {
  requireStatus(state, ['DEFINED'], 'approving a change');
  const proposal = requireProposal(state.proposal, by, now);
  const approved = contentOfApproval(content, proposalContent(state.line, proposal));
  return [{ type: 'LineChangeApproved', data: { by, ...approved } }, ...changed(proposal.change, proposal.by, state)];
}

/** The floor only rises, within the budget (RULE-11). */
function raiseFloor({ floor, by }: Of<LineCommand, 'RaiseRollbackFloor'>, state: LineState): readonly LineEvent[] {
  requireStatus(state, ['DEFINED'], 'raising the rollback floor');
  requireCount(floor, 0, 'the floor');
  if (floor === state.rollbackFloor) return [];
  if (floor < state.rollbackFloor) refuse('ROLLBACK', `the floor of this line is ${state.rollbackFloor}`);
  if (floor > state.counterMaximum) refuse('COUNTER_EXHAUSTED', `the counter of this line ends at ${state.counterMaximum}`);
  return [{ type: 'RollbackFloorRaised', data: { floor, by } }];
}

const pointPattern = /^[A-Za-z0-9_-]{87}$/;

/** Set once, as images in the field depend on it; `only` may follow later, and is never taken back. */
function setEncryption({ encryption, by }: Of<LineCommand, 'SetLineEncryption'>, state: LineState): readonly LineEvent[] {
  requireStatus(state, ['DEFINED'], 'setting the encryption');
  const { scheme, only, uidBound, publicKey } = encryption;
  if ((scheme === 'line') !== (publicKey !== undefined))
    refuse('BAD_REQUEST', 'the scheme `line` comes with its public key, no other one does');
  if (publicKey !== undefined && !pointPattern.test(publicKey)) refuse('KEY_REFUSED', 'the key of a line is a point of P-256');
  if (uidBound && !only) refuse('BAD_REQUEST', 'images are bound to UIDs on lines that accept encrypted images only');
  const before = state.encryption;
  if (before !== undefined) {
    const isSame = (['scheme', 'bits', 'uidBound', 'publicKey'] as const).every(name => before[name] === encryption[name]);
    if (!isSame) refuse('CONFLICT', 'the images of this line are encrypted otherwise');
    if (before.only && !only) refuse('CONFLICT', 'a line that accepts encrypted images only keeps to it');
    if (before.only === only) return [];
  }
  return [{ type: 'LineEncryptionSet', data: { encryption, by } }];
}

function evolve(state: LineState, event: LineEvent): LineState {
  if (event.type === 'LineDefined') return { ...event.data, status: 'DEFINED', rollbackFloor: 0 };
  if (state.status === 'NONE') return state;
  switch (event.type) {
    case 'LineChangeProposed':
      return { ...state, proposal: event.data };
    case 'LineChangeApproved': {
      const { proposal: _, ...rest } = state;
      return rest;
    }
    case 'RollbackFloorRaised':
      return { ...state, rollbackFloor: event.data.floor };
    case 'AttestationRetentionSet':
      return { ...state, attestationDays: event.data.days };
    case 'LineEncryptionSet':
      return { ...state, encryption: event.data.encryption };
    case 'AttestationOfAllAsked':
      return { ...state, attestAllSince: event.data.since };
    case 'AttestationPolicySet':
      // Policies of before say nothing of what came later.
      return { ...state, attestation: { ...defaultAttestationPolicy, ...event.data.policy } };
    case 'SupportPeriodSet':
      return { ...state, supportUntil: event.data.supportUntil };
    default:
      return state;
  }
}

export const line: Decider<LineCommand, LineState, LineEvent> = { initialState: { status: 'NONE' }, decide, evolve };
