import { type KeyObject, X509Certificate } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Agent, createServer, request } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { parseCertificate } from '../../src/pki/parse.ts';
import { type Answer, type Call, callOf, type Fault, type FaultRule, noFault, refusal } from './faults.ts';

/** A proxy between machines and a real server, over TLS on both sides, that can make any call go wrong. A machine is the same one on both
 *  sides: the proxy is given its key, so the server sees its certificate, and a connection that the server ends is ended for the machine. */

type Upstream = {
  readonly port: number;
  /** RootCA, PEM. */
  readonly ca: string;
  /** TLS identity of the proxy, issued under the same root for the same name. */
  readonly identity: { readonly key: string; readonly cert: string };
};
type Passing = { readonly call: Call; readonly headers: IncomingMessage['headers']; readonly body: Uint8Array; readonly agent: Agent };

const maxHeldCalls = 16;
const watched = new WeakSet<Socket>();

export type FaultProxy = Awaited<ReturnType<typeof startFaultProxy>>;

/** Listens immediately, so that its port can go into what the server signs; forwards calls after `open`. */
export async function startFaultProxy() {
  const calls: Call[] = [];
  const keys = new Map<string, () => KeyObject>();
  const held: (() => Promise<unknown>)[] = [];
  const agents = new WeakMap<Socket, Agent>();
  let rule = noFault;
  let upstream: Upstream | undefined;

  const agentFor = (socket: TLSSocket): Agent => {
    const known = agents.get(socket);
    if (known) return known;
    const agent = new Agent({ ca: upstream?.ca, ...credentials(socket, keys), keepAlive: true, maxSockets: 1, minVersion: 'TLSv1.3' });
    agents.set(socket, agent);
    socket.once('close', () => agent.destroy());
    return agent;
  };
  const forward = (passing: Passing, socket?: Socket) => forwardTo(upstream?.port ?? 0, passing, socket);

  const server = createServer({ minVersion: 'TLSv1.3', requestCert: true, rejectUnauthorized: false }, async (incoming, outgoing) => {
    const socket = incoming.socket as TLSSocket;
    const body = await readAll(incoming);
    const passing = { call: callOf(incoming, body), headers: incoming.headers, body, agent: agentFor(socket) };
    calls.push(passing.call);
    const fault = rule(passing.call);
    try {
      await carryOut(fault, passing, socket, outgoing);
    } catch {
      socket.destroy();
    }
  });

  const carryOut = async (fault: Fault | undefined, passing: Passing, socket: TLSSocket, outgoing: ServerResponse): Promise<void> => {
    if (fault === 'lost') return void socket.destroy();
    if (fault === 'late') {
      if (held.length < maxHeldCalls) held.push(() => forward({ ...passing, agent: new Agent(passing.agent.options) }));
      return void socket.destroy();
    }
    if (typeof fault === 'object' && 'status' in fault) return reply(outgoing, refusal(fault));
    if (typeof fault === 'object' && 'delayMs' in fault) await new Promise(resolve => setTimeout(resolve, fault.delayMs));
    const given = await forward(passing, socket);
    const answer = fault === 'twice' ? await forward(passing, socket) : given;
    for (const send of held.splice(0)) await send();
    if (fault === 'unanswered') return void socket.destroy();
    if (typeof fault === 'object' && 'instead' in fault) return reply(outgoing, await fault.instead(answer));
    if (typeof fault === 'object' && 'cutAtByte' in fault) return cut(socket, answer, fault.cutAtByte);
    reply(outgoing, answer);
  };

  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `https://localhost:${port}`,
    calls: calls as readonly Call[],
    /** From now on every call is asked about; the rule given last counts. */
    fail: (next: FaultRule) => {
      rule = next;
    },
    heal: () => {
      rule = noFault;
    },
    /** @param key of the machine with this UID, asked for when it connects */
    know: (uid: string, key: () => KeyObject) => void keys.set(uid, key),
    open: (to: Upstream) => {
      upstream = to;
      server.setSecureContext({ ...to.identity, minVersion: 'TLSv1.3' });
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

/** The machine's own certificate with its key, as far as it showed one. */
function credentials(socket: TLSSocket, keys: ReadonlyMap<string, () => KeyObject>) {
  const peer = socket.getPeerCertificate(true);
  if (!peer?.raw) return {};
  const key = keys.get(parseCertificate(new Uint8Array(peer.raw)).uid ?? '');
  if (!key) return {};
  const issuer = peer.issuerCertificate?.raw;
  const cert = [peer.raw, ...(issuer && !issuer.equals(peer.raw) ? [issuer] : [])].map(raw => new X509Certificate(raw).toString()).join('');
  return { cert, key: key().export({ type: 'pkcs8', format: 'pem' }) };
}

/** @param near ends when the connection to the server does */
function forwardTo(port: number, { call, headers, body, agent }: Passing, near?: Socket): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { host: _, connection: __, ...kept } = headers;
    const options = { host: 'localhost', port, method: call.method, path: call.path, headers: kept, agent };
    const outgoing = request(options, async response => {
      const type = response.headers['content-type'] ?? '';
      readAll(response).then(bytes => resolve({ status: response.statusCode ?? 0, type, body: bytes }), reject);
    });
    outgoing.on('socket', far => {
      if (!near || watched.has(far)) return;
      watched.add(far);
      far.once('close', () => near.destroy());
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

async function readAll(stream: AsyncIterable<Buffer>): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return new Uint8Array(Buffer.concat(chunks));
}

function reply(outgoing: ServerResponse, { status, type, body }: Answer): void {
  outgoing.writeHead(status, { 'Content-Type': type, 'Content-Length': body.length }).end(body);
}

/** The message as HTTP/1.1 writes it, up to this byte. */
function cut(socket: Socket, { status, type, body }: Answer, bytes: number): void {
  const head = `HTTP/1.1 ${status} x\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n`;
  socket.write(Buffer.concat([Buffer.from(head), body]).subarray(0, bytes), () => socket.destroy());
}
