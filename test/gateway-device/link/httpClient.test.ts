import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createHttpClient, type HttpClient, ServerRefusal } from '../../../gateway-device/link/httpClient.ts';
import { issueCertificate } from '../../../src/pki/certificate.ts';
import { toPem } from '../../../src/pki/pem.ts';
import type { TrustBundle } from '../../../src/production/trustBundle.ts';
import { leafFields, makeIca, makeKey, makeRoot } from '../../pki/support.ts';

let server: Server;
let ca = '';
let bundle: TrustBundle;
let seen = 0;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
const sockets = new Set<Socket>();
const clients: HttpClient[] = [];

const ok = (_: IncomingMessage, response: ServerResponse): void => void response.end('{"ok":true}');

beforeAll(async () => {
  const root = await makeRoot();
  const ica = await makeIca(root, 'server');
  const key = makeKey();
  const names = { commonName: 'server', dnsNames: ['localhost'], ipAddresses: [] };
  const { der } = await issueCertificate('server', { ...leafFields(ica, key.spki), ...names }, ica.key.signer);
  ca = toPem('CERTIFICATE', root.der);
  const issuers = [{ icaId: 'server-1', use: 'server', certificate: ica.der }];
  bundle = { version: 1, issuedAtSeconds: 0, roots: [root.der], issuers, signingKeys: [] };
  const cert = toPem('CERTIFICATE', der) + toPem('CERTIFICATE', ica.der);
  const pem = key.privateKey.export({ type: 'pkcs8', format: 'pem' });
  server = createServer({ cert, key: pem }, (request, response) => {
    seen += 1;
    answer(request, response);
  });
  server.on('secureConnection', socket => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  sockets.clear();
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

function newClient(isRepeatable: boolean): HttpClient {
  const baseUrl = `https://localhost:${(server.address() as AddressInfo).port}`;
  const client = createHttpClient({ baseUrl, ca, bundle, isRepeatable });
  clients.push(client);
  seen = 0;
  answer = ok;
  return client;
}

/** The next requests on the connections there are now find them dead: their sockets go when a byte comes. */
function killOnUse(): void {
  const old = new Set(sockets);
  answer = (request, response) => {
    if (old.has(request.socket)) request.socket.destroy();
    else ok(request, response);
  };
}

const code = (work: Promise<unknown>): Promise<unknown> => work.catch((error: { code: string }) => error.code);

describe('a kept-alive connection that is dead', () => {
  it('costs a machine nothing: the call goes out again on another one', async () => {
    const client = newClient(true);
    await client.json('POST', '/a', {});
    killOnUse();
    expect(await client.json('POST', '/b', {})).toEqual({ ok: true });
    expect(seen).toBe(3);
  });

  it('may be followed by more dead ones', async () => {
    const client = newClient(true);
    await Promise.all(Array.from({ length: 8 }, () => client.json('POST', '/a', {})));
    const kept = sockets.size;
    killOnUse();
    expect(await client.json('POST', '/b', {})).toEqual({ ok: true });
    expect(seen).toBe(8 + kept + 1);
    expect(kept).toBe(8);
  });

  it('makes people’s calls fail that may not be made twice, and repeats those that only read', async () => {
    const client = newClient(false);
    await client.json('POST', '/a', {});
    killOnUse();
    expect(await code(client.json('POST', '/b', {}))).toBe('SERVER_UNREACHABLE');
    await client.json('POST', '/c', {});
    killOnUse();
    expect(await client.json('GET', '/d')).toEqual({ ok: true });
  });

  it('is not taken for a server that goes away: on a new connection the call fails', async () => {
    const client = newClient(true);
    answer = request => request.socket.destroy();
    expect(await code(client.json('POST', '/a', {}))).toBe('SERVER_UNREACHABLE');
    expect(seen).toBe(1);
  });
});

describe('an answer', () => {
  const problem = (status: number, body: string) => (_: IncomingMessage, response: ServerResponse) => {
    response.writeHead(status, { 'Content-Type': 'application/problem+json' }).end(body);
  };

  it('that is a problem document is the server’s refusal, with its status', async () => {
    const client = newClient(true);
    answer = problem(503, '{"code":"STORE_UNAVAILABLE","detail":"the disk is full"}');
    const refusal = await client.json('POST', '/a', {}).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(ServerRefusal);
    expect(refusal).toMatchObject({ code: 'STORE_UNAVAILABLE', status: 503, message: 'the disk is full' });
  });

  it.each<readonly [string, typeof answer]>([
    ['of a balancer', (_, response) => void response.writeHead(502).end('<html>')],
    ['of a portal', (_, response) => void response.writeHead(200).end('<html>')],
    ['that is a broken problem document', problem(500, '{')],
  ])('%s is none of the server', async (_, given) => {
    const client = newClient(true);
    answer = given;
    expect(await code(client.json('POST', '/a', {}))).toBe('SERVER_UNREACHABLE');
  });
});
