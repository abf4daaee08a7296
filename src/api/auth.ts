import type { TLSSocket } from 'node:tls';
import type { HttpBindings } from '@hono/node-server';
import type { Context as HonoContext, Next } from 'hono';
import { createMiddleware } from 'hono/factory';
import { emptyScope, roles as everyRole, type Role, readers, type Scope } from '../domain/roles.ts';
import { NusecError } from '../errors.ts';
import { type Expectation, expecting } from '../eventstore/expectation.ts';
import type { Machine } from '../services/identity/machines.ts';
import type { Answers } from './answers.ts';
import type { Person } from './sessions.ts';

/** Who calls: a person by bearer token, a machine by its client certificate, or nobody. */
/** `console` is the person of a page of our own that asks on behalf of the person who is signed in: no request from outside can set it. */
export type ApiEnv = {
  Bindings: HttpBindings & { readonly console?: Person };
  Variables: { person: Person; machine: Machine; revision: number; trace: Trace };
};
export type Trace = { readonly traceId: string; readonly requestId: string };

/** @returns how the caller saw what the path names (`If-Match`) @throws NusecError NOT_FOUND when it is beyond the scope */
export type ScopeCheck = (c: HonoContext<ApiEnv>, scope: Scope | undefined) => Promise<Expectation | undefined>;

type Authenticators = {
  /** @throws UNAUTHENTICATED, TOKEN_EXPIRED */
  readonly person: (token: string, address: string | undefined) => Promise<Person>;
  /** Chain, validity, purpose, revocation and record of a leaf. @throws CLIENT_CERTIFICATE_REFUSED, CHAIN_REFUSED, CERTIFICATE_REVOKED … */
  readonly machine: (certificate: Uint8Array) => Promise<Machine>;
};

/** Who a middleware lets in, for the description of the API. */
export type Who = { readonly roles: readonly Role[] } | { readonly machine: Machine['kind'] };
const marks = new WeakMap<object, Who>();
export const whoMayPass = (middleware: object): Who | undefined => marks.get(middleware);

function marked(who: Who, handler: Parameters<typeof createMiddleware<ApiEnv>>[0]) {
  const middleware = createMiddleware<ApiEnv>(handler);
  marks.set(middleware, who);
  return middleware;
}

export type Auth = ReturnType<typeof createAuth>;

/** What is approved with an authenticator. @throws NusecError CONFIRMATION_REQUIRED, CONFIRMATION_REFUSED */
export type Confirmations = {
  /** On paths where somebody approves. */
  require(c: HonoContext<ApiEnv>): Promise<void>;
  /** For a request that turns out to agree to what another person has proposed. */
  confirm(c: HonoContext<ApiEnv>, name: string): Promise<void>;
};

/** @param answers to requests of people that carry an Idempotency-Key; the header is ignored without them */
export function createAuth(authenticators: Authenticators, answers?: Answers, confirmations?: Confirmations) {
  const byToken = (c: HonoContext<ApiEnv>): Promise<Person> => {
    const token = /^Bearer +([A-Za-z0-9_.-]{1,2048})$/i.exec(c.req.header('Authorization') ?? '')?.[1];
    if (token === undefined) throw new NusecError('UNAUTHENTICATED', 'send the header Authorization: Bearer <token>');
    return authenticators.person(token, c.env.incoming?.socket?.remoteAddress);
  };
  const person = (roles: readonly Role[], knowsScopes: boolean, check?: ScopeCheck) =>
    marked({ roles }, async (c, next) => {
      const person = c.env.console ?? (await byToken(c));
      const fitting = person.roles.filter(role => role === 'administrator' || roles.includes(role));
      if (fitting.length === 0) throw new NusecError('FORBIDDEN', `${person.name} needs the role ${roles.join(' or ')}`);
      if (person.scope !== undefined && !knowsScopes)
        throw new NusecError('FORBIDDEN', `${person.name} is limited to some lines, jobs or sites, and this is about all of them`);
      // A line operator is there for a site: without a scope there is nothing for it.
      const isLineOperator = fitting.every(role => role === 'lineOperator');
      c.set('person', isLineOperator && person.scope === undefined ? { ...person, scope: emptyScope } : person);
      const seen = await check?.(c, c.var.person.scope);
      return once(c, answers, async () => {
        await confirmations?.require(c);
        await expecting(seen, next);
      });
    });
  return {
    /** The route is for people with one of these roles, without any for all who read; an administrator has all of them. A person who is limited to a
     *  scope is refused. */
    person: (...roles: readonly Role[]) => person(roles.length === 0 ? readers : roles, false),
    /** The same for a route that looks at `c.var.person.scope` itself, and shows and changes nothing beyond it (scopes.ts). */
    personInScope: (...roles: readonly Role[]) => person(roles.length === 0 ? readers : roles, true),
    /** The same for a route that is about one thing: the check refuses what is beyond the scope. */
    personWithin: (check: ScopeCheck, ...roles: readonly Role[]) => person(roles.length === 0 ? readers : roles, true, check),
    /** For everybody with a token: what is about the caller alone. */
    anybody: () => person(everyRole, true),
    confirm: async (c: HonoContext<ApiEnv>, name: string): Promise<void> => confirmations?.confirm(c, name),
    /** The route is for machines of one kind (RULE-9). */
    machine: (kind: Machine['kind']) =>
      marked({ machine: kind }, async (c, next) => {
        const peer = peerOf(c.env.incoming.socket as TLSSocket);
        if (peer === undefined) throw new NusecError('CLIENT_CERTIFICATE_REQUIRED', `this endpoint is for a ${kind} with its certificate`);
        const machine = await authenticators.machine(peer);
        if (machine.kind !== kind)
          throw new NusecError('CLIENT_CERTIFICATE_REFUSED', `this endpoint is for a ${kind}, not a ${machine.kind}`);
        c.set('machine', machine);
        await next();
      }),
  };
}

/** A named token that somebody has stolen must not make others, of its owner or by way of new people, nor end them. @throws NusecError FORBIDDEN */
export function requireOwnHands({ isNamed }: Person): void {
  if (isNamed) throw new NusecError('FORBIDDEN', 'a named token does not look after people and their tokens: use your main token');
}

const peers = new WeakMap<TLSSocket, Uint8Array>();

/** The client's certificate, DER: that of the handshake, for as long as the connection lasts. */
function peerOf(socket: TLSSocket): Uint8Array | undefined {
  const known = peers.get(socket);
  if (known !== undefined) return known;
  const raw = socket.getPeerX509Certificate?.()?.raw;
  if (raw === undefined) return undefined;
  const certificate = new Uint8Array(raw);
  peers.set(socket, certificate);
  return certificate;
}

/** Answers that may hold a token are never written down, however the path is spelled: it is the decoded one that leads to a route. */
const secretPath = /^\/v1\/(operators(\/[^/]+\/tokens?)?|webhooks(\/[^/]+\/secret)?)$/;

/** Runs a POST with an `Idempotency-Key` once; whatever has none just runs. */
async function once(c: HonoContext<ApiEnv>, answers: Answers | undefined, next: Next): Promise<Response | undefined> {
  const key = c.req.header('Idempotency-Key');
  if (key === undefined || answers === undefined || c.req.method !== 'POST') {
    await next();
    return undefined;
  }
  if (!/^[\x21-\x7e]{1,200}$/.test(key)) throw new NusecError('BAD_REQUEST', 'an Idempotency-Key is 1 to 200 visible ASCII characters');
  const { pathname, search } = new URL(c.req.url);
  const body = new Uint8Array(await c.req.arrayBuffer());
  const request = { person: c.var.person.name, key, target: `POST ${pathname}${search}`, body, isKept: !secretPath.test(c.req.path) };
  return answers.once(request, async () => {
    await next();
    return c.res;
  });
}
