import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Action, Form } from '../../../src/api/console/actions.ts';
import { actions } from '../../../src/api/console/pages.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { makeKey } from '../../pki/support.ts';
import { exchange } from '../../support/http.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { rights } from '../rights.ts';

/** What people may do by the API they may do in the console, and are asked there for what the API asks for. */

type Schema = { readonly $ref?: string; readonly properties?: Readonly<Record<string, Schema>>; readonly anyOf?: readonly Schema[] };
type Operation = { readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema?: Schema }>> } };
type Description = {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
};

let server: TestServer;
let description: Description;
beforeAll(async () => {
  server = await startTestServer();
  description = (await exchange(`${server.url}/openapi.json`, { ca: server.rootPem })).json as Description;
});
afterAll(() => server.close());

/** Done elsewhere than in the console. */
const elsewhere: Readonly<Record<string, string>> = {
  'POST /v1/programmers/{uid}/csr': 'nusec programmer prepare, on the PC that the programmer is connected to',
  'POST /v1/programmers/{uid}/boot-key': 'the same',
  'POST /v1/programmers/{uid}/firmware': 'the same',
  'POST /v1/programmers/{uid}/locked': 'the same',
  'POST /v1/gateways/{id}/csr': 'nusec gateway register, on the box itself',
  'POST /v1/operators/me/authenticators/begin': 'by the page for a new authenticator',
  'POST /v1/operators/me/confirmations': 'by the page that confirms an approval',
};

/** Every field of every form, filled in with something that its action can read. */
const key = toPem('PUBLIC KEY', makeKey().spki);
const filledIn: Readonly<Record<string, string>> = {
  publicKey: key,
  selector: 'tag=x',
  windows: '22:00-04:00 Europe/Berlin',
  groups: '1',
  unitData: 'serial meter-serial sealed',
  configWords: 'ffffffff,ffffffff,ffffffff,ffffffff',
  registration: Buffer.from('{"challenge":"","response":{}}').toString('base64url'),
};
const form = (isEmpty: (name: string) => boolean = () => false): Form => ({
  text: name => (isEmpty(name) ? undefined : (filledIn[name] ?? 'true')),
  number: name => (isEmpty(name) ? undefined : 1),
  list: name => (isEmpty(name) ? [] : ['x']),
  file: () => new Uint8Array(1),
  texts: () => [],
});

/** Forms of which one field takes the place of another. */
const withoutOther: readonly ((name: string) => boolean)[] = [() => false, name => ['devices', 'jobId', 'publicKey'].includes(name)];
const requestsOf = (action: Action) =>
  withoutOther.flatMap(isEmpty => {
    try {
      return [action.request(['one', 'two'], form(isEmpty))];
    } catch {
      return [];
    }
  });

function routeOf(method: string, path: string): string | undefined {
  const [bare = ''] = path.split('?');
  const isIt = (route: string): boolean => new RegExp(`^${route.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(`${method} ${bare}`);
  const found = Object.keys(rights).filter(isIt);
  return found.toSorted((a, b) => a.split('{').length - b.split('{').length)[0];
}

const done = Object.entries(actions).flatMap(([name, action]) =>
  requestsOf(action).map(({ method, path, body }) => ({ name, route: routeOf(method, path), body })),
);
const commands = Object.entries(rights).flatMap(([route, [who]]) =>
  route.startsWith('GET ') || who === 'open' || who === 'machine' ? [] : [route],
);

describe('actions of the console', () => {
  it('are requests that the API has', () => {
    expect(done.filter(({ route }) => route === undefined)).toEqual([]);
    expect(new Set(done.map(({ name }) => name))).toEqual(new Set(Object.keys(actions)));
  });

  it('are all that people may do by the API', () => {
    const here = new Set(done.map(({ route }) => route));
    expect(commands.filter(route => !here.has(route) && elsewhere[route] === undefined)).toEqual([]);
    expect(Object.keys(elsewhere).filter(route => here.has(route))).toEqual([]);
  });

  it('are offered to the roles that the API lets do it', () => {
    const roles = (name: string) => [...(actions[name]?.roles ?? [])].filter(role => role !== 'administrator').toSorted();
    const wrong = done.flatMap(({ name, route = '' }) => {
      const [who = []] = rights[route] ?? [];
      const allowed = typeof who === 'string' ? [] : who.filter(role => role !== 'service' && role !== 'administrator').toSorted();
      const offered = roles(name).filter(role => role !== 'service');
      return offered.join() === allowed.join() ? [] : [`${name}: offered to ${offered.join()}, allowed to ${allowed.join()}`];
    });
    expect(new Set(wrong)).toEqual(new Set());
  });

  it('send every field that the request has', () => {
    const missing = new Map<string, readonly string[]>();
    for (const route of new Set(done.flatMap(one => one.route ?? []))) {
      const sent = new Set(
        done.flatMap(one => (one.route === route && !(one.body instanceof Uint8Array) ? Object.keys(one.body ?? {}) : [])),
      );
      const left = fieldsOf(route).filter(field => !sent.has(field) && notAsked[route]?.[field] === undefined);
      if (left.length > 0) missing.set(route, left);
    }
    expect(missing).toEqual(new Map());
  });
});

/** Fields that no form asks for, with the reason. */
const shownOnce = { tokenSha256: 'the console shows the token that the server has made' };
const notAsked: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'POST /v1/operators/me/token': shownOnce,
  'POST /v1/operators/me/tokens': shownOnce,
};

function fieldsOf(route: string): readonly string[] {
  const [method = '', path = ''] = route.split(' ');
  const resolved = (schema: Schema | undefined): Schema =>
    schema?.$ref === undefined ? (schema ?? {}) : resolved(description.components.schemas[schema.$ref.split('/').at(-1) ?? '']);
  const body = resolved(description.paths[path]?.[method.toLowerCase()]?.requestBody?.content['application/json']?.schema);
  return [body, ...(body.anyOf ?? []).map(resolved)].flatMap(({ properties = {} }) => Object.keys(properties));
}
