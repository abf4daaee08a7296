import { dayMs } from '../times.ts';
import type { IsoTime } from './actor.ts';
import { endCredentials, operatorOf, requireFreshToken } from './operatorEffects.ts';
import {
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
import { bothScopes, type Role, type Scope } from './roles.ts';
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
};

export type CredentialCommand =
  | ({ readonly type: 'AddOperatorToken'; readonly name: string; readonly now: IsoTime } & NamedToken)
  | ({ readonly type: 'BindOperatorIdentity'; readonly name: string; readonly id: string } & Identity)
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

function signedIn({ name, roles, scope }: Operator, token: Limits, now: IsoTime): Pick<SignedIn, 'name' | 'roles' | 'scope'> {
  if (isPast(token.expiresAt, now)) refuse('TOKEN_EXPIRED', `the token expired at ${token.expiresAt}`);
  const within = bothScopes(scope, token.scope);
  const held = roles.filter(role => role === 'service' || (token.roles?.includes(role) ?? true));
  return { name, roles: held, ...(within !== undefined && { scope: within }) };
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
    case 'EndOperatorCredential':
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
): SignedIn | undefined {
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
