import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exchange } from '../support/http.ts';
import { limitOfProcesses } from '../support/limits.ts';
import { startServerProcesses, startTestServer, type TestServer } from '../support/server.ts';
import { startWebhookReceiver } from '../support/webhookReceiver.ts';

/** Events on their way to another system: real servers on both sides. */

type Receiver = Awaited<ReturnType<typeof startWebhookReceiver>>;
const settings = { webhooks: { privateNetworks: ['127.0.0.0/8'], firstPauseMs: 10, giveUpSeconds: 1 } };

const askOf =
  ({ url, rootPem, alice }: Pick<TestServer, 'url' | 'rootPem' | 'alice'>, token = alice) =>
  (method: string, path: string, body?: object) =>
    exchange(`${url}${path}`, {
      ca: rootPem,
      method,
      headers: { Authorization: `Bearer ${token}`, ...(body && { 'Content-Type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
    });

let server: TestServer;
let receiver: Receiver;
let ask: ReturnType<typeof askOf>;
let gateways = 0;
const happen = async (): Promise<string> => {
  const id = `hall-${++gateways}`;
  expect((await ask('POST', '/v1/gateways', { id })).status).toBe(201);
  return `gateway-${id}`;
};
const subjects = () => receiver.received.map(({ event }) => event.subject);
const add = async (name: string, more: object = {}) => {
  const wish = { name, url: receiver.url, types: ['GatewayRegistered'], caCertificates: receiver.certificate, ...more };
  const { status, json } = await ask('POST', '/v1/webhooks', wish);
  expect(json).toMatchObject({ name });
  expect(status).toBe(201);
  receiver.useSecret(json.secret as string);
  return json;
};
const show = async (name: string) => (await ask('GET', `/v1/webhooks/${name}`)).json;
const letters = async (name: string) =>
  (await ask('GET', `/v1/webhooks/${name}/dead-letters`)).json.deadLetters as readonly Record<string, unknown>[];
const alarmCodes = async () => {
  const { cases } = (await ask('GET', '/v1/alarm-cases?state=open')).json as { readonly cases: readonly { readonly code: string }[] };
  return cases.map(({ code }) => code);
};

beforeAll(async () => {
  [server, receiver] = await Promise.all([startTestServer(undefined, undefined, settings), startWebhookReceiver()]);
  ask = askOf(server);
});
afterAll(() => Promise.all([server?.close(), receiver?.close()]));

describe('a webhook', () => {
  it('brings what fits its filter, in order, once, signed and in an envelope', async () => {
    const added = await add('mes');
    expect(added.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    const happened = [await happen(), await happen(), await happen()];
    await expect.poll(subjects).toEqual(happened);
    for (const { id, isSigned, ageSeconds, contentType, event } of receiver.received) {
      expect({ isSigned, contentType }).toEqual({ isSigned: true, contentType: 'application/cloudevents+json; charset=utf-8' });
      expect(Math.abs(ageSeconds)).toBeLessThan(300);
      expect(event).toMatchObject({
        specversion: '1.0',
        id,
        source: 'urn:nusec:nusec',
        type: 'nusec.GatewayRegistered',
        by: 'operator:alice',
      });
    }
    expect(await alarmCodes()).toContain('WEBHOOK_CHANGED');
  });

  it('shows its secret once, and the log has none', async () => {
    const added = await add('secretive');
    const texts = [(await ask('GET', '/v1/webhooks')).text, (await ask('GET', '/v1/events?limit=500')).text];
    for (const text of texts) expect(text).not.toContain((added.secret as string).slice(6));
    expect((await ask('POST', '/v1/webhooks', { name: 'secretive', url: receiver.url })).json.code).toBe('CONFLICT');
    expect((await ask('DELETE', '/v1/webhooks/secretive')).status).toBe(204);
    receiver.useSecret((await ask('POST', '/v1/webhooks/mes/secret')).json.secret as string);
    const happened = await happen();
    await expect.poll(() => receiver.received.at(-1)).toMatchObject({ isSigned: true, event: { subject: happened } });
  });

  it('with another secret signs with the one before too', async () => {
    const before = (await ask('POST', '/v1/webhooks/mes/secret')).json.secret as string;
    expect((await ask('POST', '/v1/webhooks/mes/secret')).json.formerSecretUntil).toBeDefined();
    receiver.useSecret(before);
    expect((await ask('POST', '/v1/webhooks/mes/test')).json).toEqual({ isDelivered: true, status: 204 });
    expect(receiver.received.at(-1)).toMatchObject({ isSigned: true, event: { type: 'nusec.WebhookTested' } });
  });

  it('tries again what was not taken, and keeps the order', async () => {
    let left = 3;
    receiver.answer(() => ({ status: left-- > 0 ? 503 : 200, headers: { 'retry-after': '0' } }));
    const from = receiver.received.length;
    const happened = [await happen(), await happen()];
    await expect.poll(() => subjects().slice(from)).toEqual(happened);
    expect(await letters('mes')).toEqual([]);
  });

  it('gives up what is refused, goes on, raises an alarm; a replay brings it', async () => {
    receiver.answer(({ event }) => ({ status: event.subject === unwanted ? 422 : 200 }));
    const from = receiver.received.length;
    const unwanted = `gateway-hall-${gateways + 1}`;
    expect(await happen()).toBe(unwanted);
    const next = await happen();
    await expect.poll(() => subjects().slice(from)).toEqual([next]);
    expect(await letters('mes')).toEqual([
      expect.objectContaining({ eventType: 'GatewayRegistered', attempts: 5, failure: 'the receiver answered 422', isOrdered: false }),
    ]);
    expect(await show('mes')).toMatchObject({ deadLetters: 1 });
    expect(await alarmCodes()).toContain('WEBHOOK_DEAD_LETTERS');

    expect((await ask('POST', '/v1/webhooks/mes/replay', {})).json).toEqual({ events: 1 });
    await expect.poll(async () => (await letters('mes'))[0]).toMatchObject({ attempts: 6, isOrdered: false });
    receiver.answer(() => ({ status: 200 }));
    const [letter] = await letters('mes');
    expect((await ask('POST', '/v1/webhooks/mes/replay', { events: [letter?.eventId] })).json).toEqual({ events: 1 });
    await expect.poll(() => letters('mes')).toEqual([]);
    expect(subjects().slice(from)).toEqual([next, unwanted]);
    expect((await ask('POST', '/v1/webhooks/mes/replay', { events: [letter?.eventId] })).json.code).toBe('NOT_FOUND');
  });

  it('waits for a receiver that is away until its time is over; what was given up can be dropped', async () => {
    receiver.answer(() => ({ status: 500 }));
    await happen();
    await expect.poll(() => letters('mes')).toHaveLength(1);
    receiver.answer(() => ({ status: 200 }));
    expect((await ask('POST', '/v1/webhooks/mes/drop', { reason: 'not needed' })).json).toEqual({ events: 1 });
    expect(await show('mes')).toMatchObject({ deadLetters: 0 });
    const happened = await happen();
    await expect.poll(() => subjects().at(-1)).toBe(happened);
  });

  it('follows no redirect, and trusts no certificate of somebody else', async () => {
    receiver.answer(() => ({ status: 302, headers: { location: `${server.url}/healthz` } }));
    expect((await ask('POST', '/v1/webhooks/mes/test')).json).toMatchObject({ isDelivered: false, status: 302 });
    receiver.answer(() => ({ status: 200 }));
    await add('stranger', { caCertificates: undefined, types: ['KeystoreMigrated'] });
    const { json } = await ask('POST', '/v1/webhooks/stranger/test');
    expect(json).toMatchObject({ isDelivered: false, failure: expect.stringContaining('self-signed certificate') });
  });

  it('is not added for a type that no event has', async () => {
    const wish = { name: 'typo', url: receiver.url, types: ['Unit*', 'UnitComitted'] };
    const { status, json } = await ask('POST', '/v1/webhooks', wish);
    expect([status, json.detail]).toEqual([400, expect.stringContaining('no event has the type UnitComitted: there are UnitCommitted')]);
  });

  it.each([
    ['http://mes.example.com/', 'BAD_REQUEST'],
    ['https://user:word@mes.example.com/', 'BAD_REQUEST'],
    ['https://10.0.0.1/', 'FORBIDDEN'],
    ['https://2852039166/', 'FORBIDDEN'],
    ['https://[::ffff:a00:1]/', 'FORBIDDEN'],
  ])('is not sent to %s', async (url, code) => {
    expect((await ask('POST', '/v1/webhooks', { name: 'wrong', url })).json.code).toBe(code);
  });

  it('is an administrator’s to add', async () => {
    const { token } = (await ask('POST', '/v1/operators', { name: 'audrey', roles: ['auditor'] })).json as { readonly token: string };
    const asAuditor = askOf(server, token);
    expect((await asAuditor('GET', '/v1/webhooks')).status).toBe(200);
    expect((await asAuditor('POST', '/v1/webhooks/mes/test')).json.code).toBe('FORBIDDEN');
  });
});

describe('a webhook of two server processes', () => {
  it('is told once, and goes on where it was when the leader is killed', { timeout: limitOfProcesses(3) }, async () => {
    const own = await startWebhookReceiver();
    process.env.NUSEC_WEBHOOKS = JSON.stringify(settings.webhooks);
    const processes = await startServerProcesses(2);
    try {
      const [first, second] = processes.first;
      if (first === undefined || second === undefined) throw new Error('two processes');
      const target = { url: own.url, types: ['GatewayRegistered'], caCertificates: own.certificate };
      expect((await askOf(second)('POST', '/v1/webhooks', { name: 'mes', ...target })).status).toBe(201);
      const register = async (one: typeof first, id: string) => expect((await askOf(one)('POST', '/v1/gateways', { id })).status).toBe(201);
      for (let i = 0; i < 6; i++) await register(i % 2 === 0 ? first : second, `a-${i}`);
      const names = () => own.received.map(({ event }) => event.subject.replace('gateway-', ''));
      await expect.poll(names).toEqual(['a-0', 'a-1', 'a-2', 'a-3', 'a-4', 'a-5']);
      await first.kill();
      await register(second, 'b-0');
      await expect.poll(() => names().at(-1)).toBe('b-0');
      // The progress of the last minute was not recorded: the same events come again, under the same ids.
      const ids = new Map(own.received.map(({ id, event }) => [event.subject, id]));
      expect(own.received.every(({ id, event }) => ids.get(event.subject) === id)).toBe(true);
      expect(new Set(names())).toEqual(new Set(['a-0', 'a-1', 'a-2', 'a-3', 'a-4', 'a-5', 'b-0']));
      const third = await processes.startOne();
      const before = names().length;
      await second.close();
      await register(third, 'c-0');
      await expect.poll(() => names().slice(before)).toEqual(['c-0']);
    } finally {
      delete process.env.NUSEC_WEBHOOKS;
      await processes.close();
      await own.close();
    }
  });
});
