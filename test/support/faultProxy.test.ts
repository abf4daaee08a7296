import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createHttpClient, type HttpClient } from '../../gateway-device/link/httpClient.ts';
import { issueCertificate } from '../../src/pki/certificate.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { toPem } from '../../src/pki/pem.ts';
import { leafFields, makeIca, makeKey, makeRoot, organization, uid } from '../pki/support.ts';
import { type FaultProxy, startFaultProxy } from './faultProxy.ts';
import { changedJson, type Fault, failing } from './faults.ts';

/** The proxy in front of a server that writes down what it gets. */

let proxy: FaultProxy;
let client: HttpClient;
let close: () => void;
const reached: string[] = [];

beforeAll(async () => {
  const root = await makeRoot();
  const icas = { server: await makeIca(root, 'server'), programmer: await makeIca(root, 'programmer') };
  const ca = toPem('CERTIFICATE', root.der);
  const identity = async (profile: 'server' | 'programmer') => {
    const key = makeKey();
    const ica = icas[profile];
    const fields = leafFields(ica, key.spki);
    const { der } =
      profile === 'server'
        ? await issueCertificate('server', { ...fields, commonName: 'server', dnsNames: ['localhost'], ipAddresses: [] }, ica.key.signer)
        : await issueCertificate('programmer', { ...fields, organization, uid }, ica.key.signer);
    const cert = toPem('CERTIFICATE', der) + toPem('CERTIFICATE', ica.der);
    return { cert, key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, privateKey: key.privateKey };
  };
  const server = createServer({ ...(await identity('server')), requestCert: true, rejectUnauthorized: false }, (request, response) => {
    const peer = (request.socket as TLSSocket).getPeerX509Certificate();
    reached.push(request.url ?? '');
    response.writeHead(200, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify({ number: reached.length, uid: peer && parseCertificate(new Uint8Array(peer.raw)).uid }));
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  proxy = await startFaultProxy();
  proxy.open({ port: (server.address() as AddressInfo).port, ca, identity: await identity('server') });
  const { cert, key, privateKey } = await identity('programmer');
  proxy.know(uid, () => privateKey);
  const issuers = [{ icaId: 'server-1', use: 'server', certificate: icas.server.der }];
  const bundle = { version: 1, issuedAtSeconds: 0, roots: [root.der], issuers, signingKeys: [] };
  client = createHttpClient({ baseUrl: proxy.url, ca, cert, key, bundle });
  close = () => server.close();
});
afterAll(async () => {
  client.close();
  await proxy.close();
  close();
});
beforeEach(() => {
  proxy.heal();
  reached.length = 0;
});

const call = (name: string): Promise<unknown> => client.json('POST', `/v1/${name}`, {}).catch((error: { code: string }) => error.code);

describe('a call through the proxy', () => {
  it('comes from the machine that made it', async () => {
    expect(await call('commit')).toEqual({ number: 1, uid });
    expect(proxy.calls.at(-1)).toEqual({ name: 'commit', method: 'POST', path: '/v1/commit', body: {} });
  });

  it.each<readonly [string, Fault, unknown, number]>([
    ['is lost', 'lost', 'SERVER_UNREACHABLE', 0],
    ['is not answered', 'unanswered', 'SERVER_UNREACHABLE', 1],
    ['arrives twice', 'twice', { number: 2, uid }, 2],
    ['is cut within the head of its answer', { cutAtByte: 10 }, 'SERVER_UNREACHABLE', 1],
    ['is cut before the last byte of its answer', { cutAtByte: 110 }, 'SERVER_UNREACHABLE', 1],
    ['waits', { delayMs: 50 }, { number: 1, uid }, 1],
    ['is refused with a code', { status: 503, code: 'STORE_UNAVAILABLE' }, 'STORE_UNAVAILABLE', 0],
    ['meets a balancer without a server', { status: 502 }, 'SERVER_UNREACHABLE', 0],
    ['is answered with a lie', { instead: changedJson(() => ({ number: 7 })) }, { number: 7 }, 1],
  ])('%s', async (_, fault, answer, times) => {
    proxy.fail(failing('commit', fault, 1));
    expect(await call('commit')).toEqual(answer);
    expect(reached).toHaveLength(times);
    expect(await call('csr')).toMatchObject({ uid });
  });

  it('that is late reaches the server behind the next one', async () => {
    proxy.fail(failing('commit', 'late', 1));
    expect(await call('commit')).toBe('SERVER_UNREACHABLE');
    expect(await call('csr')).toMatchObject({ number: 1 });
    expect(reached).toEqual(['/v1/csr', '/v1/commit']);
  });
});
