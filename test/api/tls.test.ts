import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { fromBase64url, toBase64url } from '../../src/bytes.ts';
import { gatewayClientId } from '../../src/mqttTopics.ts';
import { issueCertificate } from '../../src/pki/certificate.ts';
import { toPem } from '../../src/pki/pem.ts';
import { registerGateway } from '../../src/services/field/gateways.ts';
import { certifyGateway } from '../../src/services/identity/enrolment.ts';
import { connectPacket } from '../gateway/broker/wire.ts';
import { leafFields, makeIca, makeRoot } from '../pki/support.ts';
import { newParty } from '../services/parties.ts';
import { requestOf } from '../services/project.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** The TLS servers themselves: stapled status, names of headers, live connections of revoked machines. */

let server: TestServer;
let folder: string;
beforeAll(async () => {
  server = await startTestServer();
  folder = mkdtempSync(join(tmpdir(), 'nusec-tls-'));
  writeFileSync(join(folder, 'root.pem'), server.rootPem);
});
afterAll(async () => {
  await server?.close();
  rmSync(folder, { recursive: true });
});

const post = async (path: string, body: unknown) => {
  const headers = { Authorization: `Bearer ${server.alice}`, 'Content-Type': 'application/json' };
  const answer = await exchange(`${server.url}${path}`, { ca: server.rootPem, headers, body: JSON.stringify(body) });
  if (answer.status >= 400) throw new Error(`${path}: ${answer.text}`);
  return answer.json;
};

/** A gateway of its own, with its TLS client credentials. */
async function newGateway(id: string) {
  const party = newParty();
  await post('/v1/gateways', { id, name: id });
  const { certificate } = await post(`/v1/gateways/${id}/csr`, { csr: toBase64url(requestOf(party, { commonName: id })) });
  const cert = toPem('CERTIFICATE', fromBase64url(String(certificate)));
  return { id, cert, key: party.key.export({ format: 'pem', type: 'pkcs8' }) as string };
}

/** A live TLS connection. @returns the socket and a promise of its end */
async function live(port: number, client: { key: string; cert: string }): Promise<{ socket: TLSSocket; ended: Promise<void> }> {
  const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca: server.rootPem, ...client, ALPNProtocols: ['http/1.1'] });
  onTestFinished(() => void socket.destroy());
  const ended = new Promise<void>(resolve => socket.once('close', () => resolve()));
  socket.on('error', () => {});
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  return { socket, ended };
}
const ask = (socket: TLSSocket, path: string): Promise<string> =>
  new Promise(resolve => {
    socket.once('data', data => resolve(data.toString()));
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  });

describe('a revocation', () => {
  it('ends live HTTPS connections, and only those of the revoked machine (T23)', async () => {
    covers('T23');
    const [bad, other] = [await newGateway('gw-bad'), await newGateway('gw-good')];
    const sockets = [await live(server.httpsPort, bad), await live(server.httpsPort, bad)];
    const bystander = await live(server.httpsPort, other);
    for (const { socket } of sockets) expect(await ask(socket, '/healthz')).toContain('200 OK');
    await post('/v1/gateways/gw-bad/suspend', { reason: 'lost' });
    for (const { ended } of sockets) await ended;
    expect(await ask(bystander.socket, '/healthz')).toContain('200 OK');
    const csr = Buffer.from(requestOf(newParty(), {})).toString('base64');
    const renewal = { ca: server.rootPem, key: bad.key, cert: bad.cert, body: csr };
    const refused = await exchange(`${server.url}/.well-known/est/gateway/simplereenroll`, renewal);
    expect(refused.json.code).toBe('CERTIFICATE_REVOKED');
    await post('/v1/gateways/gw-bad/resume', {});
    expect(await ask((await live(server.httpsPort, bad)).socket, '/healthz')).toContain('200 OK');
  });
});

describe('the TLS servers', () => {
  const run = (command: string, args: readonly string[], input = ''): Promise<string> =>
    new Promise(resolve => {
      const child = execFile(command, [...args], { cwd: folder }, (_error, stdout, stderr) => resolve(`${stdout}${stderr}`));
      child.stdin?.end(input);
    });

  it.each(['httpsPort', 'mqttPort'] as const)('staple the status of their certificate: %s (R86)', async port => {
    covers('R86');
    const args = ['s_client', '-connect', `127.0.0.1:${server[port]}`, '-servername', 'localhost', '-status', '-CAfile', 'root.pem'];
    const output = await run('openssl', args);
    expect(output).toContain('OCSP Response Status: successful');
    expect(output).toContain('Cert Status: good');
    expect(output).toContain('Verify return code: 0 (ok)');
  });

  it('staple an answer that GnuTLS believes', async () => {
    const output = await run('gnutls-cli', [
      '--x509cafile=root.pem',
      `--port=${server.httpsPort}`,
      '--sni-hostname=localhost',
      '--ocsp',
      'localhost',
    ]);
    expect(output).toContain('The certificate is trusted');
    expect(output).toContain('OCSP status request');
    expect(output).toContain('Handshake was completed');
  });

  it('write header names in canonical case', async () => {
    const output = await run('curl', ['-sS', '-i', '--cacert', 'root.pem', `${server.url}/v1/nothing`]);
    expect(output).toMatch(/^Content-Type: application\/problem\+json\r$/m);
    const names = [...output.matchAll(/^([A-Za-z-]+): /gm)].map(match => match[1]);
    for (const name of names) expect(name).toMatch(/^(ETag|[A-Z][a-z]*(-[A-Z][a-z]*)*)$/);
  });
});

describe('old stacks', () => {
  const handshake = async (at: TestServer, port: 'httpsPort' | 'mqttPort', ...args: readonly string[]): Promise<string> => {
    writeFileSync(join(folder, 'old.pem'), at.rootPem);
    const given = ['s_client', '-connect', `127.0.0.1:${at[port]}`, '-servername', 'localhost', '-CAfile', 'old.pem', '-brief', ...args];
    return new Promise(resolve => {
      execFile('openssl', given, { cwd: folder }, (_error, stdout, stderr) => resolve(`${stdout}${stderr}`)).stdin?.end('Q\n');
    });
  };

  it.each(['httpsPort', 'mqttPort'] as const)('are refused with TLS 1.2 where nothing else was set: %s', async port => {
    expect(await handshake(server, port, '-tls1_2')).toContain('protocol version');
    expect(await handshake(server, port)).toContain('Protocol version: TLSv1.3');
  });

  it.each(['httpsPort', 'mqttPort'] as const)('come in with TLS 1.2 where that is allowed, on that listener alone: %s', async port => {
    const setting = port === 'httpsPort' ? { httpsTls12: true } : { mqttTls12: true };
    const party = newParty();
    const old = await startTestServer(
      async ctx => {
        await registerGateway(ctx, 'gw-old', 'gw-old', 'operator:alice');
        const { certificate } = await certifyGateway(ctx, 'gw-old', requestOf(party, {}), 'operator:alice');
        writeFileSync(join(folder, 'gw-old.pem'), toPem('CERTIFICATE', certificate));
        writeFileSync(join(folder, 'gw-old.key'), party.key.export({ format: 'pem', type: 'pkcs8' }));
      },
      undefined,
      setting,
    );
    onTestFinished(() => old.close());
    for (const suite of ['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-CHACHA20-POLY1305']) {
      const output = await handshake(old, port, '-tls1_2', '-cipher', suite, '-cert', 'gw-old.pem', '-key', 'gw-old.key');
      for (const text of ['Protocol version: TLSv1.2', suite, 'Verification: OK']) expect(output).toContain(text);
    }
    for (const suite of ['ECDHE-ECDSA-AES128-SHA256', 'ECDHE-ECDSA-AES128-SHA', 'DHE-RSA-AES128-GCM-SHA256', 'AES128-GCM-SHA256'])
      expect(await handshake(old, port, '-tls1_2', '-cipher', `${suite}:@SECLEVEL=0`), suite).toContain('handshake failure');
    for (const version of ['-tls1_1', '-tls1'])
      expect(await handshake(old, port, version, '-cipher', 'ALL:@SECLEVEL=0'), version).toMatch(/protocol version|no protocols available/);
    expect(await handshake(old, port)).toContain('Protocol version: TLSv1.3');
    expect(await handshake(old, port === 'httpsPort' ? 'mqttPort' : 'httpsPort', '-tls1_2')).toContain('protocol version');
  });

  it('that send their certificate without its issuing CA are known on MQTT as on HTTPS', async () => {
    const machine = await newGateway('gw-alone');
    const csr = Buffer.from(requestOf(newParty(), {})).toString('base64');
    const asked = await exchange(`${server.url}/.well-known/est/simplereenroll`, { ca: server.rootPem, ...machine, body: csr });
    expect(asked.status).toBe(200);
    const { socket } = await live(server.mqttPort, machine);
    const answer = new Promise<Buffer>(resolve => socket.once('data', resolve));
    socket.write(connectPacket(gatewayClientId('gw-alone')));
    expect((await answer).toString('hex')).toBe('20020000');
  });

  it('on MQTT are refused with a certificate of an unknown authority, whatever they send with it', async () => {
    const authority = await makeIca(await makeRoot(), 'gateway');
    const party = newParty();
    const fields = { ...leafFields(authority, party.spki), organization: 'Example OEM', id: 'gw-alone' };
    const { der } = await issueCertificate('gateway', fields, authority.key.signer);
    const key = party.key.export({ format: 'pem', type: 'pkcs8' }) as string;
    for (const cert of [toPem('CERTIFICATE', der), toPem('CERTIFICATE', der) + toPem('CERTIFICATE', authority.der)]) {
      const { socket, ended } = await live(server.mqttPort, { cert, key });
      const answers: Buffer[] = [];
      socket.on('data', data => answers.push(data));
      socket.write(connectPacket(gatewayClientId('gw-alone')));
      await ended;
      expect(Buffer.concat(answers).toString('hex')).toBe(notAuthorized);
    }
  });

  it('with HTTP/1.0 get their answer, with ALPN and without, with a Host and without', async () => {
    const { stdout } = await new Promise<{ stdout: string }>(resolve =>
      execFile(
        'curl',
        ['-0', '-sS', '-i', '--cacert', 'root.pem', `${server.url}/.well-known/est/cacerts`],
        { cwd: folder },
        (_e, out, err) => resolve({ stdout: `${out}${err}` }),
      ),
    );
    expect(stdout).toMatch(/^HTTP\/1\.[01] 200/);
    for (const given of [{}, { ALPNProtocols: ['http/1.0'] }])
      for (const host of ['', 'Host: localhost\r\n']) {
        const socket = connect({ port: server.httpsPort, host: '127.0.0.1', servername: 'localhost', ca: server.rootPem, ...given });
        const answer = new Promise<string>(resolve => socket.once('data', data => resolve(data.toString())));
        socket.end(`GET /.well-known/est/cacerts HTTP/1.0\r\n${host}\r\n`);
        expect(await answer, JSON.stringify({ given, host })).toMatch(/^HTTP\/1\.[01] 200/);
      }
  });
});

/** CONNACK 5. */
const notAuthorized = '20020005';

describe('a handshake with a revoked certificate', () => {
  it('on HTTPS succeeds and reads what is open to everybody; who it names is refused with the reason', async () => {
    const machine = await newGateway('gw-revoked');
    await post('/v1/gateways/gw-revoked/suspend', { reason: 'lost' });
    const { socket } = await live(server.httpsPort, machine);
    expect(await ask(socket, '/v1/trust-bundle')).toContain('200 OK');
    const csr = Buffer.from(requestOf(newParty(), {})).toString('base64');
    const asked = await exchange(`${server.url}/.well-known/est/simpleenroll`, { ca: server.rootPem, ...machine, body: csr });
    expect([asked.status, asked.json.code]).toEqual([403, 'CERTIFICATE_REVOKED']);
  });

  it('on MQTT is told so and ended, with an alarm (T23)', async () => {
    covers('T23');
    const machine = await newGateway('gw-held');
    await post('/v1/gateways/gw-held/suspend', { reason: 'lost' });
    const { socket, ended } = await live(server.mqttPort, machine);
    const answers: Buffer[] = [];
    socket.on('data', data => answers.push(data));
    socket.write(connectPacket(gatewayClientId('gw-held')));
    await ended;
    expect(Buffer.concat(answers).toString('hex')).toBe(notAuthorized);
    const headers = { Authorization: `Bearer ${server.alice}` };
    const { json } = await exchange(`${server.url}/v1/alarms`, { ca: server.rootPem, headers });
    expect(json.alarms).toContainEqual(expect.objectContaining({ code: 'REVOKED_CONNECT', subject: 'gw-held' }));
  });
});

describe('a compromised issuing CA', () => {
  it('ends the live connections of all its machines, and no others', async () => {
    const machines = [await newGateway('gw-a'), await newGateway('gw-b')];
    const sockets = await Promise.all(machines.map(machine => live(server.httpsPort, machine)));
    const { id } = await post('/v1/authority/ceremonies', { type: 'compromiseIssuingCa', icaId: 'gateway-1', reason: 'backup lost' });
    const person = await live(server.httpsPort, {} as { key: string; cert: string });
    const headers = { Authorization: `Bearer ${server.bob}`, 'Content-Type': 'application/json' };
    await exchange(`${server.url}/v1/authority/ceremonies/${id}/approve`, { ca: server.rootPem, headers, body: '{}' });
    for (const { ended } of sockets) await ended;
    expect(await ask(person.socket, '/healthz')).toContain('200 OK');
    const csr = Buffer.from(requestOf(newParty(), {})).toString('base64');
    const [first] = machines;
    const renewal = { ca: server.rootPem, key: first?.key, cert: first?.cert, body: csr };
    expect((await exchange(`${server.url}/.well-known/est/gateway/simplereenroll`, renewal)).json.code).toBe('CHAIN_REFUSED');
  });
});
