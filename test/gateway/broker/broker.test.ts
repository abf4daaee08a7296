import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connectMqtt, type NusecMqttClient } from '../../../gateway-device/link/mqttClient.ts';
import { encodeCbor } from '../../../src/cbor/encode.ts';
import { type Credentials, createTestPki, serverName, type TestPki } from '../certificates.ts';
import { type Harness, startBroker, uidOf, until } from './harness.ts';

let pki: TestPki;
let device: Credentials;
let harness: Harness;
const clients: NusecMqttClient[] = [];
const uid = uidOf(1);

beforeAll(() => {
  pki = createTestPki();
  device = pki.device(uid);
});
afterAll(() => pki.remove());
beforeEach(async () => {
  harness = await startBroker(pki);
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map(client => client.close()));
  await harness.broker.close();
});

function connectDevice(): NusecMqttClient {
  const client = connectMqtt({
    host: '127.0.0.1',
    port: harness.port,
    servername: serverName,
    tls: { key: device.key, cert: device.cert, ca: pki.rootPem },
    identity: { kind: 'device', uid },
  });
  clients.push(client);
  return client;
}

describe('broker with the device client', () => {
  it('connects a device by its certificate, hears it and answers', async () => {
    const client = connectDevice();
    await client.connected();
    const got: Uint8Array[] = [];
    client.on('order', payload => got.push(payload));
    await client.publish('hello', encodeCbor(new Map([[0, 7]])));
    await until(() => got.length === 1);
    expect(got[0]).toEqual(encodeCbor(new Map([[0, 7]])));
    expect(harness.presence).toMatchObject([{ state: 'connected', identity: { kind: 'device', uid } }]);
  });
});
