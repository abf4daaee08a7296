import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { type Credentials, serverName, type TestPki } from '../certificates.ts';

/** MQTT 3.1.1 packets by hand, to say what no client library would say. */
export function remainingLength(length: number): Buffer {
  const out: number[] = [];
  let rest = length;
  do {
    out.push((rest % 128) | (rest >= 128 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.from(out);
}

export const packet = (head: number, ...parts: readonly Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([head]), remainingLength(body.length), body]);
};

export const field = (bytes: string | Uint8Array): Buffer => {
  const body = Buffer.from(bytes as Uint8Array);
  return Buffer.concat([Buffer.from([body.length >> 8, body.length & 0xff]), body]);
};

type ConnectOptions = {
  readonly clean?: boolean;
  readonly keepalive?: number;
  readonly level?: number;
  readonly will?: { readonly topic: string; readonly payload: string | Uint8Array; readonly qos?: number; readonly retain?: boolean };
};

export function connectPacket(clientId: string, { clean = true, keepalive = 60, level = 4, will }: ConnectOptions = {}): Buffer {
  const flags = (clean ? 2 : 0) | (will ? 4 | ((will.qos ?? 0) << 3) | (will.retain ? 32 : 0) : 0);
  const head = Buffer.from([level, flags, keepalive >> 8, keepalive & 0xff]);
  return packet(0x10, field('MQTT'), head, field(clientId), ...(will ? [field(will.topic), field(will.payload)] : []));
}

type PublishOptions = { readonly qos?: number; readonly id?: number; readonly retain?: boolean };

export function publishPacket(
  topic: string,
  payload: string | Uint8Array,
  { qos = 1, id = 1, retain = false }: PublishOptions = {},
): Buffer {
  const idBytes = qos > 0 ? Buffer.from([id >> 8, id & 0xff]) : Buffer.alloc(0);
  return packet(0x30 | (qos << 1) | (retain ? 1 : 0), field(topic), idBytes, Buffer.from(payload as Uint8Array));
}

export const subscribePacket = (filter: string, id = 1): Buffer =>
  packet(0x82, Buffer.from([id >> 8, id & 0xff]), field(filter), Buffer.from([1]));
export const pingPacket = Buffer.from([0xc0, 0]);
export const disconnectPacket = Buffer.from([0xe0, 0]);

export type Packet = { readonly type: number; readonly body: Buffer };

/** A TLS connection that speaks raw bytes. */
export class Wire {
  readonly socket: TLSSocket;
  readonly closed: Promise<void>;
  readonly packets: Packet[] = [];
  #buffer = Buffer.alloc(0);
  #wake: (() => void)[] = [];

  constructor(socket: TLSSocket) {
    this.socket = socket;
    this.closed = new Promise(resolve => socket.once('close', () => resolve()));
    socket.on('error', () => undefined);
    socket.on('data', bytes => this.#read(bytes));
    socket.once('close', () => this.#notify());
  }

  send(...parts: readonly Uint8Array[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  /** Waits for the next packet of a type (4 = PUBACK …) and takes it. */
  async next(type: number): Promise<Packet> {
    for (;;) {
      const at = this.packets.findIndex(packet => packet.type === type);
      if (at >= 0) return this.packets.splice(at, 1)[0] as Packet;
      if (this.socket.destroyed) throw new Error(`closed before packet ${type}`);
      await new Promise<void>(resolve => this.#wake.push(resolve));
    }
  }

  destroy(): void {
    this.socket.destroy();
  }

  #read(bytes: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, bytes]);
    for (let packet = this.#take(); packet !== undefined; packet = this.#take()) this.packets.push(packet);
    this.#notify();
  }

  #take(): Packet | undefined {
    let length = 0;
    for (let at = 1; at < this.#buffer.length && at < 5; at += 1) {
      const byte = this.#buffer[at] as number;
      length += (byte & 127) * 128 ** (at - 1);
      if (byte >= 128) continue;
      if (this.#buffer.length < at + 1 + length) return undefined;
      const found = { type: (this.#buffer[0] as number) >> 4, body: this.#buffer.subarray(at + 1, at + 1 + length) };
      this.#buffer = this.#buffer.subarray(at + 1 + length);
      return found;
    }
    return undefined;
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

/** `localAddress`: where the connection comes from. */
type WireOptions = ConnectionOptions & { readonly localAddress?: string };

export function openTls(pki: TestPki, port: number, credentials: Credentials | undefined, options: WireOptions = {}): Promise<Wire> {
  return new Promise((resolve, reject) => {
    const keys = credentials && { key: credentials.key, cert: credentials.cert };
    const socket = connect({ host: '127.0.0.1', port, servername: serverName, ca: pki.rootPem, ...keys, ...options });
    socket.setNoDelay(true);
    socket.once('error', reject);
    socket.once('secureConnect', () => resolve(new Wire(socket)));
  });
}

/** TLS and CONNECT; resolves with CONNACK 0. */
export async function openMqtt(
  pki: TestPki,
  port: number,
  credentials: Credentials,
  clientId: string,
  options: ConnectOptions = {},
): Promise<Wire> {
  const wire = await openTls(pki, port, credentials);
  wire.send(connectPacket(clientId, options));
  const { body } = await wire.next(2);
  if (body[1] !== 0) throw new Error(`CONNACK ${body[1]}`);
  return wire;
}

/** Topic and payload of a PUBLISH. */
export function readPublish({ body }: Packet, qos: 0 | 1 = 1): { topic: string; payload: Uint8Array } {
  const topicEnd = 2 + body.readUInt16BE(0);
  return { topic: body.toString('utf8', 2, topicEnd), payload: new Uint8Array(body.subarray(topicEnd + 2 * qos)) };
}
