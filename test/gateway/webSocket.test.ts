import { once } from 'node:events';
import { connect as connectMqtt, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { decodeCbor } from '../../src/cbor/decode.ts';
import { encodeAs } from '../../src/cbor/schema.ts';
import { spdmMessage } from '../../src/mqttMessages.ts';
import { toPem } from '../../src/pki/pem.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { eventually, type Fleet, people, seedFleet, type Unit } from './fieldKit.ts';

/** MQTT over WebSocket on the HTTPS port: the same certificates, the same rights. */

let server: TestServer;
let fleet: Fleet;
let http: HttpClient;
beforeAll(async () => {
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 4);
  });
  http = people(server);
});
afterAll(async () => {
  await http?.close();
  await server?.close();
});

const keysOf = (unit: Unit) => ({
  key: unit.key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
  cert: toPem('CERTIFICATE', unit.certificate) + toPem('CERTIFICATE', unit.ica),
  ca: server.rootPem,
});

function open(unit: Unit, options: { clientId?: string; withCertificate?: boolean } = {}): MqttClient {
  const { ca, ...keys } = keysOf(unit);
  const { clientId = unit.uid, withCertificate = true } = options;
  const tls = { ca, servername: 'localhost', ...(withCertificate && keys) };
  const client = connectMqtt(`wss://localhost:${server.httpsPort}/mqtt`, { clientId, reconnectPeriod: 0, ...tls, wsOptions: tls });
  onTestFinished(() => void client.end(true));
  client.on('error', () => undefined);
  return client;
}
const heard = (client: MqttClient, event: 'connect' | 'close' | 'error' | 'message'): Promise<readonly unknown[]> =>
  new Promise(resolve => client.once(event as 'message', (...args) => resolve(args)));
const codeOf = async (client: MqttClient): Promise<unknown> => ((await heard(client, 'error')) as [{ code?: unknown }])[0].code;

describe('a client', () => {
  it('says what a device may say, and is answered; a message that is refused is acknowledged', async () => {
    const [unit] = fleet.units as [Unit];
    const client = open(unit);
    await heard(client, 'connect');
    await client.publishAsync(`n1/${unit.uid}/up/spdm`, Buffer.from(encodeAs(spdmMessage, { cid: 1, data: new Uint8Array(16) })), {
      qos: 1,
    });
    const told = heard(client, 'message');
    await client.publishAsync(`n1/${unit.uid}/up/hello`, 'no CBOR', { qos: 1 });
    const [topic, payload] = (await told) as [string, Buffer];
    expect(topic).toBe(`n1/${unit.uid}/dn/err`);
    expect((decodeCbor(new Uint8Array(payload)) as ReadonlyMap<number, unknown>).get(1)).toBe('CBOR_MALFORMED');
    expect(await http.json('GET', `/v1/devices/${unit.uid}/presence`)).toMatchObject({ connected: true });
  });

  it('without a certificate, or with the client id of another, is refused with a CONNACK (RULE-9)', async () => {
    covers('RULE-9');
    const [, unit, other] = fleet.units as [Unit, Unit, Unit];
    expect(await codeOf(open(unit, { withCertificate: false }))).toBe(5);
    expect(await codeOf(open(unit, { clientId: other.uid }))).toBe(2);
  });

  it('is cut off when its certificate is revoked (T23)', async () => {
    covers('T23');
    const [, , unit] = fleet.units as [Unit, Unit, Unit];
    const client = open(unit);
    await heard(client, 'connect');
    const ended = heard(client, 'close');
    await http.json('POST', `/v1/devices/${unit.uid}/revoke`, { reason: 'keyCompromise' });
    await ended;
    await eventually(async () => (await http.json<{ connected: boolean }>('GET', `/v1/devices/${unit.uid}/presence`)).connected === false);
    expect(await codeOf(open(unit))).toBe(5);
  });

  it('pushes out the connection of the same identity on the MQTT port, and the other way round', async () => {
    const [, , , unit] = fleet.units as [Unit, Unit, Unit, Unit];
    const first = open(unit);
    await heard(first, 'connect');
    const ended = heard(first, 'close');
    const tcp = connectMqtt(`mqtts://localhost:${server.mqttPort}`, {
      clientId: unit.uid,
      reconnectPeriod: 0,
      servername: 'localhost',
      ...keysOf(unit),
    });
    onTestFinished(() => void tcp.end(true));
    await heard(tcp, 'connect');
    await ended;
  });
});

describe('a WebSocket', () => {
  const webSocket = (protocols: readonly string[]): WebSocket => {
    const socket = new WebSocket(`wss://localhost:${server.httpsPort}/mqtt`, [...protocols], keysOf(fleet.units[1]!));
    onTestFinished(() => socket.terminate());
    socket.on('error', () => undefined);
    return socket;
  };

  it('of another subprotocol, or of none, is refused', async () => {
    for (const protocols of [[], ['chat']]) {
      const [, response] = (await once(webSocket(protocols), 'unexpected-response')) as [unknown, { statusCode?: number }];
      expect(response.statusCode).toBe(400);
    }
  });

  it('that sends text, or more than a packet may have, is ended [MQTT-6.0.0-1]', async () => {
    const texting = webSocket(['mqtt']);
    await once(texting, 'open');
    texting.send('text');
    await once(texting, 'close');
    const flooding = webSocket(['mqtt']);
    await once(flooding, 'open');
    flooding.send(Buffer.alloc(1024 * 1024));
    await once(flooding, 'close');
  });

  it('is not offered elsewhere: another path, and another upgrade, are requests as before', async () => {
    const headers = { Upgrade: 'websocket', Connection: 'Upgrade' };
    expect((await exchange(`${server.url}/healthz`, { ca: server.rootPem, headers })).text).toBe('ok');
    expect((await exchange(`${server.url}/healthz`, { ca: server.rootPem, headers: { Upgrade: 'h2c', Connection: 'Upgrade' } })).text).toBe(
      'ok',
    );
  });
});
