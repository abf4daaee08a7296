import { dayMs } from '../times.ts';
import type { IsoTime } from './actor.ts';
import { endCredentials, operatorOf, requireFreshToken } from './operatorEffects.ts';
import {
  type Authenticator,
  authenticatorsOf,
  credentialsOf,
  type Identity,
  identitiesOf,
  isSameIdentity,
  type NamedToken,
  namedTokensOf,
  type Operator,
  type OperatorsEvent,
  type OperatorsState,
} from './operatorsState.ts';
import { bothScopes, needsTwo, type Role, type Scope } from './roles.ts';
import { isPast, refuse } from './rules.ts';

/** What a person signs in with: the main token, and named tokens that may do less. */

/** Who presents a credential, and what that credential lets this person do. */
export type SignedIn = {
  readonly name: string;
  readonly roles: readonly Role[];
  readonly scope?: Scope;
  /** A named token does not look after the credentials of its person. */
  readonly isNamed: boolean;
  /** SHA-256 of the token, by which it is found again; in the session of a provider that of the main token. */
  readonly tokenSha256: string;
  /** When what was presented ends by itself. */
  readonly until: IsoTime;
};

export type CredentialCommand =
  | ({ readonly type: 'AddOperatorToken'; readonly name: string; readonly now: IsoTime } & NamedToken)
  | ({ readonly type: 'BindOperatorIdentity'; readonly name: string; readonly id: string } & Identity)
  | ({ readonly type: 'AddOperatorAuthenticator'; readonly name: string } & Authenticator)
  | {
      readonly type: 'UseOperatorAuthenticator';
      readonly name: string;
      readonly id: string;
      readonly signCount: number;
      readonly requestSha256: string;
    }
  | { readonly type: 'EndOperatorCredential'; readonly name: string; readonly id: string }
  /** All but those that are kept. */
  | { readonly type: 'EndOperatorCredentials'; readonly name: string; readonly kept: readonly string[] };

/** Of one person at the same time. */
const maxCredentials = 20;
export const maxTokenDays = 365;
const maxLabelChars = 60;

/** @throws NusecError UNAUTHENTICATED for an unknown token, TOKEN_EXPIRED */
export function operatorByToken({ byName }: Pick<OperatorsState, 'byName'>, tokenSha256: string, now: IsoTime): SignedIn {
  for (const operator of byName.values()) {
    if (operator.tokenSha256 === tokenSha256) return { ...signedIn(operator, operator, now), isNamed: false, tokenSha256 };
    const token = namedTokensOf(operator).find(each => each.tokenSha256 === tokenSha256);
    if (token !== undefined) return { ...signedIn(operator, token, now), isNamed: true, tokenSha256 };
  }
  return refuse('UNAUTHENTICATED', 'the token is not known');
}

type Limits = Pick<NamedToken, 'expiresAt' | 'roles' | 'scope'>;

function signedIn({ name, roles, scope }: Operator, token: Limits, now: IsoTime): Pick<SignedIn, 'name' | 'roles' | 'scope' | 'until'> {
  if (isPast(token.expiresAt, now)) refuse('TOKEN_EXPIRED', `the token expired at ${token.expiresAt}`);
  const within = bothScopes(scope, token.scope);
  const held = roles.filter(role => role === 'service' || (token.roles?.includes(role) ?? true));
  return { name, roles: held, ...(within !== undefined && { scope: within }), until: token.expiresAt };
}

export function decideCredential(command: CredentialCommand, state: OperatorsState): readonly OperatorsEvent[] {
  switch (command.type) {
    case 'AddOperatorToken': {
      const { type: _, now, ...token } = command;
      return addToken(token, now, state);
    }
    case 'BindOperatorIdentity': {
      const { type: _, ...bound } = command;
      return bindIdentity(bound, state);
    }
    case 'AddOperatorAuthenticator': {
      const { type: _, ...added } = command;
      return addAuthenticator(added, state);
    }
    case 'UseOperatorAuthenticator': {
      const { type: _, ...use } = command;
      return useAuthenticator(use, state);
    }
    case 'EndOperatorCredential':
      requireNoAuthenticator(operatorOf(state, command.name), command.id);
      return endCredentials(
        command.name,
        idsOf(command.name, state).filter(id => id !== command.id),
        state,
      );
    case 'EndOperatorCredentials':
      return endCredentials(command.name, command.kept, state);
  }
}

const idsOf = (name: string, state: OperatorsState): readonly string[] => credentialsOf(operatorOf(state, name)).map(({ id }) => id);

/** Tokens whose time is over make room for new ones. */
function addToken(token: NamedToken & { readonly name: string }, now: IsoTime, state: OperatorsState): readonly OperatorsEvent[] {
  const operator = operatorOf(state, token.name);
  const known = credentialsOf(operator);
  if (namedTokensOf(operator).some(({ id, tokenSha256 }) => id === token.id && tokenSha256 === token.tokenSha256)) return [];
  if (token.label === '' || token.label.length > maxLabelChars)
    refuse('BAD_REQUEST', `a token has a name of 1 to ${maxLabelChars} characters`);
  const livesMs = Date.parse(token.expiresAt) - Date.parse(now);
  if (!(livesMs > 0 && livesMs <= maxTokenDays * dayMs)) refuse('BAD_REQUEST', `a token lives 1 to ${maxTokenDays} days`);
  const beyond = token.roles?.find(role => !operator.roles.includes(role));
  if (beyond !== undefined) refuse('FORBIDDEN', `${token.name} has no role ${beyond}`);
  requireFreshToken(token.tokenSha256, state);
  const over = namedTokensOf(operator)
    .filter(({ expiresAt }) => isPast(expiresAt, now))
    .map(({ id }) => id);
  if (known.length - over.length >= maxCredentials) refuse('RATE_LIMITED', `at most ${maxCredentials} tokens: end one of them`);
  const ended =
    over.length === 0
      ? []
      : endCredentials(
          token.name,
          known.map(({ id }) => id).filter(id => !over.includes(id)),
          state,
        );
  return [...ended, { type: 'OperatorTokenAdded', data: token }];
}

function addAuthenticator(added: Authenticator & { readonly name: string }, state: OperatorsState): readonly OperatorsEvent[] {
  const operator = operatorOf(state, added.name);
  const same = authenticatorsOf(operator).find(({ credentialId }) => credentialId === added.credentialId);
  if (same?.id === added.id) return [];
  const isKnown = [...state.byName.values()].some(one =>
    authenticatorsOf(one).some(({ credentialId }) => credentialId === added.credentialId),
  );
  if (isKnown) refuse('CONFLICT', 'this authenticator is registered already');
  if (added.label === '' || added.label.length > maxLabelChars)
    refuse('BAD_REQUEST', `an authenticator has a name of 1 to ${maxLabelChars} characters`);
  if (credentialsOf(operator).length >= maxCredentials) refuse('RATE_LIMITED', `at most ${maxCredentials} tokens and authenticators`);
  return [{ type: 'OperatorAuthenticatorAdded', data: added }];
}

/** A count that does not grow comes from a copy (WebAuthn §6.1.1); 0 always comes from one that does not count. */
function useAuthenticator(
  use: { readonly name: string; readonly id: string; readonly signCount: number; readonly requestSha256: string },
  state: OperatorsState,
): readonly OperatorsEvent[] {
  const known = authenticatorsOf(operatorOf(state, use.name)).find(({ id }) => id === use.id);
  if (known === undefined) refuse('CONFIRMATION_REFUSED', 'this authenticator is not registered, or no longer');
  if ((use.signCount > 0 || known.signCount > 0) && use.signCount <= known.signCount)
    refuse('CONFIRMATION_REFUSED', 'the authenticator counts backwards: there may be a copy of it');
  return [{ type: 'OperatorAuthenticatorUsed', data: use }];
}

/** It would take the second factor away from somebody who approves. @throws NusecError FOUR_EYES_REQUIRED */
function requireNoAuthenticator(operator: Operator, id: string): void {
  if (needsTwo(operator.roles) && authenticatorsOf(operator).some(known => known.id === id))
    refuse('FOUR_EYES_REQUIRED', 'an authenticator of somebody who approves is ended by two administrators');
}

export const operatorByIdentity = ({ byName }: Pick<OperatorsState, 'byName'>, identity: Identity): Operator | undefined =>
  [...byName.values()].find(operator => identitiesOf(operator).some(known => isSameIdentity(known, identity)));

export function bindIdentity(
  { name, id, issuer, subject }: Identity & { readonly name: string; readonly id: string },
  state: OperatorsState,
): readonly OperatorsEvent[] {
  const operator = operatorOf(state, name);
  const holder = operatorByIdentity(state, { issuer, subject });
  if (holder?.name === name) return [];
  if (holder !== undefined) refuse('CONFLICT', 'this identity belongs to another person');
  if (state.formerIdentities.some(former => isSameIdentity(former, { issuer, subject })))
    refuse('CONFLICT', 'this identity was another person’s');
  if (identitiesOf(operator).length > 0) refuse('CONFLICT', `${name} signs in with another identity: end that one first`);
  return [{ type: 'OperatorIdentityBound', data: { name, id, issuer, subject } }];
}

/** What a person may do in a session that an OpenID provider has opened. @param mapped roles that the groups of the person stand for */
export function operatorInSession(
  { byName }: OperatorsState,
  name: string,
  tokenSha256: string,
  identityId: string,
  mapped: readonly Role[],
): Omit<SignedIn, 'until'> | undefined {
  const operator = byName.get(name);
  // Another main token ends every session; so does the end of the identity.
  if (operator?.tokenSha256 !== tokenSha256 || !identitiesOf(operator).some(({ id }) => id === identityId)) return undefined;
  const { scope } = operator;
  return {
    name,
    roles: operator.roles.filter(role => mapped.includes(role)),
    ...(scope !== undefined && { scope }),
    isNamed: false,
    tokenSha256,
  };
}
