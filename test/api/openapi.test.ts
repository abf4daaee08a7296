import { createConfig, lintFromString } from '@redocly/openapi-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { operationName } from '../../src/api/openapi/describe.ts';
import { tags } from '../../src/api/openapi/texts.ts';
import { errorCodes } from '../../src/errors.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** The description of the API as other systems read it. */

type Operation = {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly security: readonly object[];
  readonly parameters?: readonly { readonly name: string; readonly description: string }[];
  readonly responses: Readonly<Record<string, { readonly description: string }>>;
};
type Document = {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly tags: readonly { name: string }[];
};

let server: TestServer;
let text = '';
let operations: readonly (readonly [string, Operation])[] = [];
beforeAll(async () => {
  server = await startTestServer();
  text = (await exchange(`${server.url}/openapi.json`, { ca: server.rootPem })).text;
  const { paths } = JSON.parse(text) as Document;
  operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => [`${method} ${path}`, operation] as const),
  );
});
afterAll(() => server?.close());

describe('the description of the API', () => {
  it('is clean by the recommended rules of Redocly', async () => {
    const config = await createConfig({ extends: ['recommended'] });
    const problems = await lintFromString({ source: text, absoluteRef: 'openapi.json', config });
    expect(problems.map(({ ruleId, message, location }) => `${ruleId}: ${message} ${location[0]?.pointer}`)).toEqual([]);
  });

  it('names each operation once, and says what it belongs to, who may ask and what each parameter is', () => {
    expect(operations.length).toBeGreaterThan(110);
    expect(new Set(operations.map(([, { operationId }]) => operationId)).size).toBe(operations.length);
    for (const [route, operation] of operations) {
      expect(Object.keys(tags), route).toContain(operation.tags[0]);
      expect(operation.security, route).toBeDefined();
      for (const { name, description } of operation.parameters ?? []) expect(description, `${route} ${name}`).not.toBe(name);
    }
  });

  it('says with which codes each is refused', () => {
    for (const [route, { responses, security }] of operations) {
      const codes = Object.values(responses).flatMap(({ description }) =>
        [...description.matchAll(/`([A-Z_]+)`/g)].map(([, code = '']) => code),
      );
      expect(codes, route).toContain('BAD_REQUEST');
      if (security.length > 0)
        expect(
          codes.filter(code => /UNAUTHENTICATED|CLIENT_CERTIFICATE_REQUIRED/.test(code)),
          route,
        ).toHaveLength(1);
      expect(
        codes.filter(code => !(errorCodes as readonly string[]).includes(code)),
        route,
      ).toEqual([]);
    }
  });

  it('has EST in it', () => {
    expect(operations.map(([route]) => route)).toContain('post /.well-known/est/simpleenroll');
  });
});

it.each([
  ['get', '/v1/devices', 'listDevices'],
  ['get', '/v1/devices/{uid}', 'getDevice'],
  ['post', '/v1/devices/{uid}/revoke', 'revokeDevice'],
  ['post', '/v1/jobs', 'createJob'],
  ['get', '/v1/devices/{uid}/events', 'listDeviceEvents'],
  ['delete', '/v1/gateways/{id}/devices/{uid}', 'detachDevice'],
  ['get', '/v1/authority', 'getAuthority'],
])('names %s %s %s', (method, path, name) => expect(operationName(method, path)).toBe(name));

it('is a page for people too, with nothing from outside', async () => {
  const { status, text: page } = await exchange(`${server.url}/docs`, { ca: server.rootPem });
  expect(status).toBe(200);
  expect(page).toContain('/v1/devices/{uid}/revoke');
  expect([...page.matchAll(/(?:src|href)="(https?:)?\/\//g)]).toEqual([]);
});
