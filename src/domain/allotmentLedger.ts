import type { Actor } from './actor.ts';
import { type AllotmentCommand, liftableReasons } from './allotmentCommands.ts';
import { type AllotmentEvent, ledgerGenesisHex } from './allotmentEvents.ts';
import type { OpenedAllotment } from './allotmentState.ts';
import type { Of } from './decider.ts';
import { refuse } from './rules.ts';

/** Decisions about the ledger of an allotment: which segments continue it, and when it contradicts itself and freezes the share. */

/** I14: contiguous and hash-linked (the signatures were checked by the caller). A missing segment is asked for again (LEDGER_GAP);
 *  another history at a known place is tampering and freezes; more reserve records than grants is overbuild and freezes (T1). */
export function acceptSegment(command: Of<AllotmentCommand, 'AcceptLedgerSegment'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  const { from, to, headHash, counter, previousHash } = command;
  if (state.segments.some(segment => segment.to === to && segment.headHash === headHash)) return [];
  const newest = state.segments.at(-1) ?? { to: 0, headHash: ledgerGenesisHex };
  if (from > newest.to + 1) refuse('LEDGER_GAP', `the next ledger record is ${newest.to + 1}`);
  if (to < from) refuse('BAD_REQUEST', 'a segment ends before it begins');
  const fork = from <= newest.to || previousHash !== newest.headHash || contradictsQuote(to, headHash, state);
  if (fork) return recordGap(to, headHash, state);
  const accepted: AllotmentEvent = { type: 'LedgerSegmentAccepted', data: { from, to, headHash, counter } };
  if (counter <= state.reserved) return [accepted];
  return [accepted, ...frozen('overbuild-attempt', 'system:allotment', state)];
}

function contradictsQuote(to: number, headHash: string, state: OpenedAllotment): boolean {
  return to === state.ledger.number && headHash !== state.ledger.head;
}

function recordGap(quotedNumber: number, quotedHead: string, state: OpenedAllotment): readonly AllotmentEvent[] {
  if (state.ledgerGap && state.status === 'FROZEN' && !isLiftable(state.frozenReason))
    refuse('ALLOTMENT_FROZEN', 'the ledger of this allotment contradicts itself');
  const { number: acceptedNumber, head: acceptedHead } = state.ledger;
  const gap: AllotmentEvent = { type: 'LedgerGapDetected', data: { acceptedNumber, acceptedHead, quotedNumber, quotedHead } };
  return [gap, ...frozen('ledger-fork', 'system:allotment', state)];
}

/** A request that quotes an older or another ledger than the accepted one: the gap and the freeze (T2). @returns undefined when it fits */
export function ledgerGap(quotedNumber: number, quotedHead: string, state: OpenedAllotment): readonly AllotmentEvent[] | undefined {
  const { number: acceptedNumber, head: acceptedHead } = state.ledger;
  if (quotedNumber > acceptedNumber || (quotedNumber === acceptedNumber && quotedHead === acceptedHead)) return undefined;
  return [
    { type: 'LedgerGapDetected', data: { acceptedNumber, acceptedHead, quotedNumber, quotedHead } },
    { type: 'AllotmentFrozen', data: { reason: 'ledger-gap', by: 'system:allotment' } },
  ];
}

/** A permanent reason replaces a temporary one; otherwise the freeze would end with the first reason. */
export function frozen(reason: string, by: Actor, { status, frozenReason }: OpenedAllotment): readonly AllotmentEvent[] {
  const stays = status === 'FROZEN' && (!isLiftable(frozenReason) || isLiftable(reason));
  return stays || status === 'CLOSED' ? [] : [{ type: 'AllotmentFrozen', data: { reason, by } }];
}

const isLiftable = (reason: string | undefined): boolean => liftableReasons.some(liftable => liftable === reason);
