import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import { connect } from 'mqtt';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NusecError } from '../../../src/errors.ts';
import type { Handler, UpMessage } from '../../../src/gateway/broker/handler.ts';
import { pythonWith } from '../../support/python.ts';
import { type Credentials, pkiWithDevice, serverName } from '../certificates.ts';
import { endings, type Harness, reasons, startBroker, uidOf, until } from './harness.ts';

const run = promisify(execFile);
const uid = uidOf(0xabc);
const { pki, device } = pkiWithDevice(uid);
let harness: Harness;
let heard: string[];

let wills: string[];
const textOf = ({ payload }: UpMessage): string => Buffer.from(payload).toString();

beforeEach(async () => {
  [heard, wills] = [[], []];
  const hello: Handler = async message => {
    heard.push(textOf(message));
    if (textOf(message) === 'poison') throw new NusecError('CBOR_MALFORMED', 'not a map');
  };
  harness = await startBroker(pki, { handlers: { hello, lwt: async message => void wills.push(textOf(message)) } });
});
afterEach(() => harness.broker.close());

/** `--insecure` only switches off the comparison of the name with 127.0.0.1; the chain is checked. */
const common = (keys: Credentials, clientId: string): string[] => [
  ...['-h', '127.0.0.1', '-p', String(harness.port), '-V', 'mqttv311', '-i', clientId, '-q', '1', '--insecure'],
  ...['--cafile', pki.rootPath, '--cert', keys.certPath, '--key', keys.keyPath, '--tls-version', 'tlsv1.3'],
];

describe(`mosquitto's clients as a foreign implementation (server name ${serverName})`, () => {
  it('publish with QoS 1 and end when the PUBACK came', async () => {
    await run('mosquitto_pub', [...common(device, uid), '-t', `n1/${uid}/up/hello`, '-m', 'from C']);
    expect(heard).toEqual(['from C']);
    await until(() => reasons(harness).length === 1);
    expect(reasons(harness)).toEqual(['CLIENT_INITIATED']);
  });

  it('receive what the server sends', async () => {
    const listener = spawn('mosquitto_sub', [...common(device, uid), '-t', `n1/${uid}/dn/#`, '-C', '1', '-F', '%t %q %p']);
    let output = '';
    listener.stdout.on('data', (bytes: Buffer) => {
      output += bytes.toString();
    });
    await until(() => harness.broker.isConnected(uid));
    // It ends at the first message it prints; what arrives before its SUBACK it does not count.
    const orders = setInterval(() => harness.broker.publish(uid, 'order', Buffer.from('to C')), 50);
    await new Promise(resolve => listener.once('exit', resolve));
    clearInterval(orders);
    expect(output).toBe(`n1/${uid}/dn/order 1 to C\n`);
  });

  it('are refused with the client id of another device', async () => {
    await expect(run('mosquitto_pub', [...common(device, uidOf(2)), '-t', `n1/${uid}/up/hello`, '-m', 'x'])).rejects.toThrow(/rejected/i);
    expect(endings(harness)).toEqual(['AUTH_ERROR: client id is not the one of the certificate']);
  });

  it('are cut off when they publish for another device, and do not try again', async () => {
    await run('mosquitto_pub', [...common(device, uid), '-t', `n1/${uidOf(2)}/up/hello`, '-m', 'x']);
    await until(() => reasons(harness).length >= 1);
    expect(reasons(harness)).toEqual(['FORBIDDEN']);
    expect(heard).toEqual([]);
  });

  it('say that they are not authorised when their certificate is refused', async () => {
    const foreign = pki.leaf({ subject: `/CN=device/serialNumber=${uid}`, issuer: 'foreign' });
    const words = [...common(foreign, uid), '-t', `n1/${uid}/up/hello`, '-m', 'x'];
    await expect(run('mosquitto_pub', words)).rejects.toThrow(/not authorised/i);
  });

  it('leave a will on their own up/lwt', async () => {
    const will = ['--will-topic', `n1/${uid}/up/lwt`, '--will-payload', 'gone', '--will-qos', '1'];
    const listener = spawn('mosquitto_sub', [...common(device, uid), '-t', `n1/${uid}/dn/#`, ...will]);
    const ended = new Promise(resolve => listener.once('exit', resolve));
    await until(() => harness.broker.isConnected(uid));
    listener.kill('SIGKILL');
    await ended;
    await until(() => wills.length === 1);
    expect(wills).toEqual(['gone']);
  });
});

/** What can never be accepted must not keep a client busy, nor lock it out: a client sends again what is not acknowledged. */
describe('a message that is refused, and a good one behind it', () => {
  const served = async (): Promise<void> => {
    await until(() => heard.includes('good'));
    expect(heard).toEqual(['poison', 'good']);
    expect(harness.presence.filter(({ state }) => state === 'connected')).toHaveLength(1);
  };

  it('both pass MQTT.js with its defaults once', async () => {
    const client = connect({
      ...{ protocol: 'mqtts', host: '127.0.0.1', port: harness.port, servername: serverName, clientId: uid },
      ...{ ca: pki.rootPem, cert: device.cert, key: device.key },
    });
    const errors: string[] = [];
    client.on('message', topic => errors.push(topic));
    await client.publishAsync(`n1/${uid}/up/hello`, 'poison', { qos: 1 });
    await client.publishAsync(`n1/${uid}/up/hello`, 'good', { qos: 1 });
    await served();
    expect(errors).toEqual([`n1/${uid}/dn/err`]);
    await client.endAsync();
  });

  it('of QoS 2 is sent once by MQTT.js, which goes on with the good one', async () => {
    const where = { protocol: 'mqtts' as const, host: '127.0.0.1', port: harness.port, servername: serverName, clientId: uid };
    const client = connect({ ...where, reconnectPeriod: 50, ca: pki.rootPem, cert: device.cert, key: device.key });
    await client.publishAsync(`n1/${uid}/up/hello`, 'twice', { qos: 2 });
    await client.publishAsync(`n1/${uid}/up/hello`, 'good', { qos: 1 });
    expect(heard).toEqual(['good']);
    expect(reasons(harness)).toEqual(['FORBIDDEN']);
    await client.endAsync();
  });

  it('both pass paho once', async ({ skip }) => {
    const python = pythonWith('paho.mqtt.client');
    if (python === undefined) return skip('no Python here has paho (Debian package python3-paho-mqtt)');
    const env = { ...process.env, NUSEC_PORT: String(harness.port), NUSEC_UID: uid, NUSEC_CA: pki.rootPath };
    await run(python, ['-c', pahoClient], { env: { ...env, NUSEC_CERT: device.certPath, NUSEC_KEY: device.keyPath } });
    await served();
  });
});

const pahoClient = `
import os, ssl, paho.mqtt.client as mqtt
env = os.environ
arguments = {"client_id": env["NUSEC_UID"], "protocol": mqtt.MQTTv311}
if hasattr(mqtt, "CallbackAPIVersion"): arguments["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION1
client = mqtt.Client(**arguments)
client.tls_set(env["NUSEC_CA"], env["NUSEC_CERT"], env["NUSEC_KEY"], tls_version=ssl.PROTOCOL_TLS_CLIENT)
client.tls_insecure_set(True)
client.connect("127.0.0.1", int(env["NUSEC_PORT"]))
client.loop_start()
for payload in ("poison", "good"):
    client.publish("n1/%s/up/hello" % env["NUSEC_UID"], payload, qos=1).wait_for_publish()
client.disconnect()
client.loop_stop()
`;
