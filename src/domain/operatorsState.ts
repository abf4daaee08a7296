import type { Actor, IsoTime } from './actor.ts';
import type { Role, Scope } from './roles.ts';

/** The events of the people, and their fold. */

export type Operator = {
  readonly name: string;
  readonly roles: readonly Role[];
  readonly tokenSha256: string;
  readonly expiresAt: IsoTime;
  readonly scope?: Scope;
};

/** What one person proposes and another approves. */
export type OperatorChange =
  | { readonly type: 'add'; readonly name: string; readonly roles: readonly Role[]; readonly scope?: Scope; readonly tokenSha256?: string }
  | { readonly type: 'setRoles'; readonly name: string; readonly roles: readonly Role[]; readonly scope?: Scope }
  | { readonly type: 'resetToken'; readonly name: string; readonly tokenSha256?: string }
  | { readonly type: 'remove'; readonly name: string };

export type OperatorsEvent =
  | { readonly type: 'OperatorAdded'; readonly data: Operator }
  | {
      readonly type: 'OperatorTokenRotated';
      readonly data: { readonly name: string; readonly tokenSha256: string; readonly expiresAt: IsoTime };
    }
  | {
      readonly type: 'OperatorRolesSet';
      readonly data: { readonly name: string; readonly roles: readonly Role[]; readonly scope?: Scope };
    }
  | { readonly type: 'OperatorRemoved'; readonly data: { readonly name: string } }
  | {
      readonly type: 'OperatorChangeProposed';
      readonly data: {
        readonly id: string;
        readonly change: OperatorChange;
        readonly by: Actor;
        readonly at: IsoTime;
        /** Earliest time of execution: a recovery waits for objections. */
        readonly notBefore?: string;
      };
    }
  /** `contentSha256`: SHA-256 of the content (`operatorChangeContent`) that was approved. */
  | {
      readonly type: 'OperatorChangeApproved';
      readonly data: { readonly id: string; readonly by: Actor; readonly at: IsoTime; readonly contentSha256?: string };
    }
  | { readonly type: 'OperatorChangeWithdrawn'; readonly data: { readonly id: string; readonly by: Actor; readonly at: IsoTime } };

export type KnownChange = {
  readonly id: string;
  readonly status: 'PROPOSED' | 'DONE' | 'WITHDRAWN';
  readonly change: OperatorChange;
  readonly proposedBy: string;
  readonly proposedAt: string;
  readonly notBefore?: string;
  readonly approvedBy?: string;
};

export type OperatorsState = {
  readonly byName: ReadonlyMap<string, Operator>;
  /** Of people who are gone: a name in the log means one person. */
  readonly formerNames: ReadonlySet<string>;
  /** SHA-256 of tokens that no longer count. */
  readonly formerTokens: ReadonlySet<string>;
  readonly changes: ReadonlyMap<string, KnownChange>;
};

export const noOperators: OperatorsState = { byName: new Map(), formerNames: new Set(), formerTokens: new Set(), changes: new Map() };

export function evolveOperators(state: OperatorsState, event: OperatorsEvent): OperatorsState {
  switch (event.type) {
    case 'OperatorAdded':
      return withOperator(state, event.data.name, event.data);
    case 'OperatorTokenRotated': {
      const operator = state.byName.get(event.data.name);
      return operator === undefined ? state : withOperator(state, operator.name, { ...operator, ...event.data });
    }
    case 'OperatorRolesSet': {
      const operator = state.byName.get(event.data.name);
      if (operator === undefined) return state;
      const { scope: _, ...rest } = operator;
      return withOperator(state, operator.name, { ...rest, ...event.data });
    }
    case 'OperatorRemoved':
      return withoutOperator(state, event.data.name);
    case 'OperatorChangeProposed': {
      const { id, change, by, at, notBefore } = event.data;
      const known = {
        id,
        status: 'PROPOSED',
        change,
        proposedBy: by,
        proposedAt: at,
        ...(notBefore !== undefined && { notBefore }),
      } as const;
      return { ...state, changes: new Map(state.changes).set(id, known) };
    }
    case 'OperatorChangeApproved':
      return withChange(state, event.data.id, { status: 'DONE', approvedBy: event.data.by });
    case 'OperatorChangeWithdrawn':
      return withChange(state, event.data.id, { status: 'WITHDRAWN' });
    default:
      return state;
  }
}

function withOperator(state: OperatorsState, name: string, operator: Operator): OperatorsState {
  const before = state.byName.get(name)?.tokenSha256;
  const ended = before === undefined || before === operator.tokenSha256 ? [] : [before];
  return { ...state, byName: new Map(state.byName).set(name, operator), formerTokens: new Set([...state.formerTokens, ...ended]) };
}

function withoutOperator(state: OperatorsState, name: string): OperatorsState {
  const operator = state.byName.get(name);
  if (operator === undefined) return state;
  const byName = new Map(state.byName);
  byName.delete(name);
  return {
    ...state,
    byName,
    formerNames: new Set([...state.formerNames, name]),
    formerTokens: new Set([...state.formerTokens, operator.tokenSha256]),
  };
}

function withChange(state: OperatorsState, id: string, news: Partial<KnownChange>): OperatorsState {
  const known = state.changes.get(id);
  return known === undefined ? state : { ...state, changes: new Map(state.changes).set(id, { ...known, ...news }) };
}
