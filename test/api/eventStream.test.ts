import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** The log as another system follows it. */

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.close());

type Sent = { readonly id: number; readonly event: string; readonly data: Record<string, unknown> };

/** Follows until so many events have come. */
async function follow(
  path: string,
  count: number,
  headers: Record<string, string> = {},
  begun: () => unknown = () => undefined,
): Promise<readonly Sent[]> {
  const outgoing = request(`${server.url}${path}`, {
    ca: server.rootPem,
    agent: false,
    headers: { Authorization: `Bearer ${server.alice}`, ...headers },
  });
  outgoing.end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  expect(response.headers['content-type']).toContain('text/event-stream');
  let text = '';
  let isBegun = false;
  for await (const chunk of response.setEncoding('utf8')) {
    text += chunk;
    if (!isBegun) begun();
    isBegun = true;
    const events = text
      .split('\n\n')
      .slice(0, -1)
      .flatMap(part => {
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(part)?.[1];
        const data = field('data');
        return data === undefined ? [] : [{ id: Number(field('id')), event: field('event') ?? '', data: JSON.parse(data) }];
      });
    if (events.length < count) continue;
    outgoing.destroy();
    return events;
  }
  throw new Error(`it ended after ${text}`);
}

const register = (id: string) =>
  exchange(`${server.url}/v1/gateways`, {
    ca: server.rootPem,
    method: 'POST',
    headers: { Authorization: `Bearer ${server.bob}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ id }),
  });

describe('the stream of events', () => {
  it('brings what happens as CloudEvents, and what fits the filter alone', async () => {
    const [first] = await follow('/v1/events/stream?type=Gateway*', 1, {}, () => register('hall-1'));
    expect(first?.event).toBe('GatewayRegistered');
    expect(first?.data).toMatchObject({
      specversion: '1.0',
      source: 'urn:nusec:nusec',
      type: 'nusec.GatewayRegistered',
      subject: 'gateway-hall-1',
      datacontenttype: 'application/json',
      position: first?.id,
      by: 'operator:bob',
      data: { name: 'hall-1' },
    });
  });

  it('goes on where it was: nothing is missed and nothing comes twice', async () => {
    const before = await follow('/v1/events/stream?after=0', 3);
    const [next] = await follow('/v1/events/stream', 1, { 'Last-Event-ID': String(before.at(2)?.id) });
    expect(before.map(({ id }) => id).slice(0, 3)).toEqual([1, 2, 3]);
    expect(next?.id).toBe(4);
  });

  it('is refused without a token, and with a parameter that is none', async () => {
    const ask = (path: string, headers = {}) => exchange(`${server.url}${path}`, { ca: server.rootPem, headers });
    expect((await ask('/v1/events/stream')).json.code).toBe('UNAUTHENTICATED');
    expect((await ask('/v1/events/stream?tpye=x', { Authorization: `Bearer ${server.alice}` })).json.code).toBe('BAD_REQUEST');
  });
});

it('refuses to go on at a place that is none of this log', async () => {
  for (const id of ['somewhere', '999999']) {
    const headers = { Authorization: `Bearer ${server.alice}`, 'Last-Event-ID': id };
    const { status, json } = await exchange(`${server.url}/v1/events/stream`, { ca: server.rootPem, headers });
    expect([id, status, json]).toEqual([id, 400, expect.objectContaining({ code: 'BAD_REQUEST' })]);
  }
});
