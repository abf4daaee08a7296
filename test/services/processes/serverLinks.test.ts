import { generateKeyPairSync } from 'node:crypto';
import { createServer, connect as dialPlain, type Socket } from 'node:net';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { ServerSign, ServerSigns } from '../../../src/eventstore/port.ts';
import { issueCertificate } from '../../../src/pki/certificate.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { activeCa } from '../../../src/services/authority/issuingCa.ts';
import { type OpenedContext, openContext } from '../../../src/services/dataFolder/open.ts';
import { requireServerCertificate } from '../../../src/services/identity/serverTrust.ts';
import { createPeers } from '../../../src/services/processes/peers.ts';
import { openServerLinks } from '../../../src/services/processes/serverLinks.ts';
import { createServerList } from '../../../src/services/processes/serverList.ts';
import { type Revocations, startRevocations } from '../../../src/services/revocation/revocations.ts';
import { covers } from '../../support/covers.ts';
import { makeProject, testSettings } from '../../support/server.ts';
import { newTlsIdentity } from '../../support/tlsIdentity.ts';

/** Links between servers of several machines, here as parts of one process: the port, the certificates and the bytes are real. */

let project: Awaited<ReturnType<typeof makeProject>>;
let opened: OpenedContext;
let revocations: Revocations;
beforeAll(async () => {
  project = await makeProject();
  opened = await openContext(testSettings(project.dataDir), { https: 0, crl: 0 });
  revocations = await startRevocations(opened.ctx);
});
afterAll(async () => {
  await revocations.close();
  await opened.close();
  project.remove();
});

type Answers = { echo(bytes: Uint8Array): Promise<Uint8Array>; never(): Promise<void> };

/** What the store would keep. */
function signsInMemory(): ServerSigns & { readonly all: ServerSign[] } {
  const all: ServerSign[] = [];
  return { all, read: async () => all.slice(-256), give: async sign => void all.push(sign) };
}

async function arrive(id: string, signs: ServerSigns, identity?: { readonly key: string; readonly cert: string }) {
  const peers = createPeers<Answers>(['echo', 'never'], id);
  peers.serve({ echo: async bytes => bytes, never: () => new Promise(() => {}) });
  const troubles: string[] = [];
  const links = await openServerLinks({
    servers: signs,
    id,
    place: { host: '127.0.0.1', port: 0 },
    identity: identity ?? (await newTlsIdentity(opened.ctx, ['localhost'])),
    requireServer: leaf => requireServerCertificate(opened.ctx, revocations, leaf),
    linked: peers.linked,
    onLink: peers.addLink,
    onTrouble: error => void troubles.push(String((error as Error).message)),
  });
  onTestFinished(links.close);
  return { ...peers, ...links, troubles };
}

/** In front of a port: passes bytes on until it is cut, and then neither bytes nor ends. */
async function relayTo(port: () => number) {
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer(near => {
    const far = dialPlain(port(), '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('data', bytes => isCut || to.write(bytes));
      from.on('error', () => from.destroy());
      from.on('close', () => isCut || to.destroy());
    }
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    port: (server.address() as { port: number }).port,
    cut: () => {
      isCut = true;
    },
    heal: () => {
      isCut = false;
    },
  };
}

describe('servers of several machines', () => {
  it('find each other in the store, link once, whoever came first, and ask each other', async () => {
    const signs = signsInMemory();
    const one = await arrive('a', signs);
    one.connected('device-a', 1);
    const two = await arrive('b', signs);
    await expect.poll(() => [...two.linked(), ...one.linked()]).toEqual(['a', 'b']);
    await expect.poll(() => two.holding('device-a')).toBeDefined();
    const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i & 0xff);
    expect(await two.holding('device-a')?.echo(bytes)).toEqual(bytes);
  });

  it('take a process as gone that has ended, and one that comes again as a new one', async () => {
    const signs = signsInMemory();
    const one = await arrive('a', signs);
    const two = await arrive('b', signs);
    two.connected('device', 1);
    await expect.poll(() => one.holding('device')).toBeDefined();
    const asked = one.holding('device')?.never();
    await two.close();
    await expect(asked).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE' });
    expect(one.holding('device')).toBeUndefined();
    await arrive('c', signs);
    await expect.poll(() => [...one.linked()]).toEqual(['c']);
  });

  it('notice a network that swallows everything, and link again when it is back', async () => {
    const signs = signsInMemory();
    const two = await arrive('b', signs);
    const relay = await relayTo(() => two.port);
    const seen: ServerSigns = {
      give: signs.give,
      read: async () => (await signs.read()).map(sign => (sign.id === 'b' ? { ...sign, port: relay.port } : sign)),
    };
    const one = await arrive('a', seen);
    two.connected('device', 1);
    await expect.poll(() => one.holding('device')).toBeDefined();
    relay.cut();
    const asked = one.holding('device')?.never();
    await expect(asked).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE' });
    relay.heal();
    await expect.poll(() => one.holding('device')).toBeDefined();
  });

  it('let in nobody but servers whose certificate this project has issued and recorded (T14, T17)', async () => {
    covers('T14', 'T17');
    const signs = signsInMemory();
    const one = await arrive('a', signs);
    const { key, cert } = await strangers();
    const refused = async (options: object): Promise<string> =>
      new Promise(resolve => {
        const socket = connect({ port: one.port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
        socket.on('error', () => undefined);
        socket.once('close', () => resolve('closed'));
      });
    const ours = await newTlsIdentity(opened.ctx, ['localhost']);
    expect(await refused({ ALPNProtocols: ['nusec-servers/1'] })).toBe('closed');
    expect(await refused({ ALPNProtocols: ['http/1.1'], ...ours })).toBe('closed');
    expect(await refused(ours)).toBe('closed');
    expect(await refused({ ALPNProtocols: ['nusec-servers/1'], key, cert })).toBe('closed');
    await arrive('z', signs, { key, cert });
    await expect.poll(() => one.troubles.filter(trouble => trouble.includes('the log has no server certificate')).length > 1).toBe(true);
    expect([...one.linked()]).toEqual([]);
  });
});

/** A key with a certificate that the issuing CA of servers has signed and the log does not know. */
async function strangers(): Promise<{ readonly key: string; readonly cert: string }> {
  const { ctx } = opened;
  const ca = await activeCa(ctx, await authorityOf(ctx), 'server');
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { der } = await issueCertificate(
    'server',
    {
      publicKey: new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })),
      serial: ctx.randomBytes(16),
      notBefore: new Date(Date.now() - 60_000).toISOString(),
      issuer: ca.certificate,
      crlUrl: ca.crlUrl,
      commonName: 'localhost',
      dnsNames: ['localhost'],
      ipAddresses: [],
    },
    ca.signer,
  );
  return {
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
    cert: toPem('CERTIFICATE', der) + toPem('CERTIFICATE', ca.certificate.der),
  };
}

describe('the list of servers', () => {
  const sign = (id: string, count: number): ServerSign => ({ id, host: 'h', port: 1, count });

  it('has who gives new signs, not who has ended or given none for eight looks, and nobody by a clock', () => {
    const list = createServerList('me');
    const ids = (signs: readonly ServerSign[]): string =>
      list
        .look(signs)
        .map(({ id }) => id)
        .join();
    expect(ids([sign('me', 1), sign('a', 1), sign('b', 1)])).toBe('a,b');
    expect(ids([sign('a', 1), sign('b', 1), sign('b', 0)])).toBe('a');
    for (let look = 0; look < 6; look++) expect(ids([sign('a', 1)])).toBe('a');
    expect(ids([sign('a', 1)])).toBe('');
    expect(ids([sign('a', 1), sign('a', 2)])).toBe('a');
  });
});
