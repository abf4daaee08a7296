import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Credentials, pkiWithDevice, serverName } from '../certificates.ts';
import { endings, type Harness, reasons, startBroker, uidOf, until } from './harness.ts';

const run = promisify(execFile);
const uid = uidOf(0xabc);
const { pki, device } = pkiWithDevice(uid);
let harness: Harness;
let heard: string[];

beforeEach(async () => {
  heard = [];
  harness = await startBroker(pki, { handlers: { hello: async ({ payload }) => void heard.push(Buffer.from(payload).toString()) } });
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

  it('are cut off when they publish for another device', async () => {
    const publisher = spawn('mosquitto_pub', [...common(device, uid), '-t', `n1/${uidOf(2)}/up/hello`, '-m', 'x']);
    const ended = new Promise(resolve => publisher.once('exit', resolve));
    await until(() => reasons(harness).length >= 1);
    publisher.kill();
    await ended;
    expect(new Set(reasons(harness))).toEqual(new Set(['FORBIDDEN']));
    expect(heard).toEqual([]);
  });
});
