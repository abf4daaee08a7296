import type { Actor, IsoTime } from './actor.ts';
import type { Role, Scope } from './roles.ts';

/** The events of the people, and their fold. */

/** `tokenSha256` and `expiresAt` are those of the main token: another one ends every session. */
export type NewOperator = {
  readonly name: string;
  readonly roles: readonly Role[];
  readonly tokenSha256: string;
  readonly expiresAt: IsoTime;
  readonly scope?: Scope;
};
export type Operator = NewOperator & { readonly credentials?: readonly Credential[] };

/** A further token, by name, for a program or a machine of the same person. It may do less: only these of the roles, and within this scope too. */
export type NamedToken = {
  readonly id: string;
  readonly label: string;
  readonly tokenSha256: string;
  readonly expiresAt: IsoTime;
  readonly roles?: readonly Role[];
  readonly scope?: Scope;
};
/** Who somebody is for an OpenID provider: the issuer and its `sub`, never an address or a name, which it may give to another. */
export type Identity = { readonly issuer: string; readonly subject: string };
/** A key of WebAuthn with which a person confirms approvals. `publicKey`: COSE_Key, base64url; `rpId`: host of the console where it was registered;
 *  `signCount`: of its newest use, 0 always for those that do not count. */
export type Authenticator = {
  readonly id: string;
  readonly label: string;
  readonly credentialId: string;
  readonly publicKey: string;
  readonly rpId: string;
  readonly signCount: number;
};
/** What a person has besides the main token. */
export type Credential =
  | ({ readonly kind: 'token' } & NamedToken)
  | ({ readonly kind: 'identity'; readonly id: string; readonly label: string } & Identity)
  | ({ readonly kind: 'authenticator' } & Authenticator);

/** What one person proposes and another approves. */
export type OperatorChange =
  | {
      readonly type: 'add';
      readonly name: string;
      readonly roles: readonly Role[];
      readonly scope?: Scope;
      readonly tokenSha256?: string;
      readonly identity?: Identity;
    }
  | { readonly type: 'setRoles'; readonly name: string; readonly roles: readonly Role[]; readonly scope?: Scope }
  | { readonly type: 'resetToken'; readonly name: string; readonly tokenSha256?: string }
  | { readonly type: 'endAuthenticator'; readonly name: string; readonly authenticatorId: string }
  | { readonly type: 'remove'; readonly name: string };

export type OperatorsEvent =
  | { readonly type: 'OperatorAdded'; readonly data: NewOperator }
  | {
      readonly type: 'OperatorTokenRotated';
      readonly data: { readonly name: string; readonly tokenSha256: string; readonly expiresAt: IsoTime };
    }
  | {
      readonly type: 'OperatorRolesSet';
      readonly data: { readonly name: string; readonly roles: readonly Role[]; readonly scope?: Scope };
    }
  | { readonly type: 'OperatorRemoved'; readonly data: { readonly name: string } }
  | { readonly type: 'OperatorTokenAdded'; readonly data: NamedToken & { readonly name: string } }
  | { readonly type: 'OperatorIdentityBound'; readonly data: Identity & { readonly name: string; readonly id: string } }
  | { readonly type: 'OperatorAuthenticatorAdded'; readonly data: Authenticator & { readonly name: string } }
  /** An approval was confirmed: SHA-256 of the request, with the content that was looked at. */
  | {
      readonly type: 'OperatorAuthenticatorUsed';
      readonly data: { readonly name: string; readonly id: string; readonly signCount: number; readonly requestSha256: string };
    }
  /** A named token ends before its time, or an identity is not the person's any more. */
  | { readonly type: 'OperatorCredentialEnded'; readonly data: { readonly name: string; readonly id: string } }
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
  /** Of people who are gone: they do not come back by signing in. */
  readonly formerIdentities: readonly Identity[];
  readonly changes: ReadonlyMap<string, KnownChange>;
};

export const noOperators: OperatorsState = {
  byName: new Map(),
  formerNames: new Set(),
  formerTokens: new Set(),
  formerIdentities: [],
  changes: new Map(),
};

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
    case 'OperatorTokenAdded': {
      const { name, ...token } = event.data;
      return withCredentials(state, name, before => [...before, { kind: 'token', ...token }]);
    }
    case 'OperatorIdentityBound': {
      const { name, id, issuer, subject } = event.data;
      return withCredentials(state, name, before => [...before, { kind: 'identity', id, label: issuer, issuer, subject }]);
    }
    case 'OperatorAuthenticatorAdded': {
      const { name, ...added } = event.data;
      return withCredentials(state, name, before => [...before, { kind: 'authenticator', ...added }]);
    }
    case 'OperatorAuthenticatorUsed': {
      const { name, id, signCount } = event.data;
      return withCredentials(state, name, before =>
        before.map(one => (one.kind === 'authenticator' && one.id === id ? { ...one, signCount } : one)),
      );
    }
    case 'OperatorCredentialEnded':
      return withCredentials(state, event.data.name, before => before.filter(({ id }) => id !== event.data.id));
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

/** Tokens that the operator had and has no more are never taken again. */
function withOperator(state: OperatorsState, name: string, operator: Operator): OperatorsState {
  const present = tokensOf(operator);
  const ended = tokensOf(state.byName.get(name)).filter(token => !present.includes(token));
  const formerTokens = ended.length === 0 ? state.formerTokens : new Set([...state.formerTokens, ...ended]);
  return { ...state, byName: new Map(state.byName).set(name, operator), formerTokens };
}

/** SHA-256 of every token of a person. */
export const tokensOf = (operator: Operator | undefined): readonly string[] =>
  operator === undefined ? [] : [operator.tokenSha256, ...namedTokensOf(operator).map(({ tokenSha256 }) => tokenSha256)];

export const namedTokensOf = (operator: Operator): readonly NamedToken[] =>
  credentialsOf(operator).flatMap(one => (one.kind === 'token' ? [one] : []));

export const identitiesOf = (operator: Operator): readonly (Identity & { readonly id: string })[] =>
  credentialsOf(operator).flatMap(one => (one.kind === 'identity' ? [one] : []));

export const authenticatorsOf = (operator: Operator): readonly Authenticator[] =>
  credentialsOf(operator).flatMap(one => (one.kind === 'authenticator' ? [one] : []));

export const isSameIdentity = (one: Identity, other: Identity): boolean => one.issuer === other.issuer && one.subject === other.subject;

export const credentialsOf = ({ credentials = [] }: Operator): readonly Credential[] => credentials;

function withCredentials(
  state: OperatorsState,
  name: string,
  change: (before: readonly Credential[]) => readonly Credential[],
): OperatorsState {
  const operator = state.byName.get(name);
  return operator === undefined ? state : withOperator(state, name, { ...operator, credentials: change(credentialsOf(operator)) });
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
    formerTokens: new Set([...state.formerTokens, ...tokensOf(operator)]),
    formerIdentities: [...state.formerIdentities, ...identitiesOf(operator)],
  };
}

function withChange(state: OperatorsState, id: string, news: Partial<KnownChange>): OperatorsState {
  const known = state.changes.get(id);
  return known === undefined ? state : { ...state, changes: new Map(state.changes).set(id, { ...known, ...news }) };
}
