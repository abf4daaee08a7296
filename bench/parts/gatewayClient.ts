import { readFileSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { connectPacket, disconnectPacket, publishPacket } from '../../test/gateway/broker/wire.ts';

/** Child process of gateway.ts: the clients of a broker. It is told what to do, one thing after the other, and answers with what it measured. */

export type Device = {
  readonly uid: string;
  readonly key: string;
  readonly cert: string;
  /** Its hello, base64. */
  readonly hello: string;
};
export type Target = { readonly port: number; readonly ca: string; readonly servername: string };
export type Work =
  | { readonly do: 'load'; readonly file: string }
  /** @property keep leaves the connections open; @property resume shows the ticket of the connection before; @property hello says hello, with QoS 1 */
  | {
      readonly do: 'connect';
      readonly target: Target;
      readonly count: number;
      readonly keep: boolean;
      readonly resume: boolean;
      readonly hello?: boolean;
      readonly atOnce?: number;
      /** The first of them; default: the first of all. */
      readonly from?: number;
    }
  | { readonly do: 'echo'; readonly count: number; readonly topic: string; readonly payload: string }
  | { readonly do: 'fanIn'; readonly clients: number; readonly each: number; readonly topic: string; readonly payload: string }
  /** Connections that say nothing, and slow ones, from four addresses of one network. */
  | { readonly do: 'strangers'; readonly port: number; readonly silent: number; readonly slow: number }
  | { readonly do: 'freeze'; readonly topic: string }
  /** Waits until the server has ended the connection of a device; `ms` is when, Unix time. */
  | { readonly do: 'ended'; readonly uid: string }
  /** How many of the connections that are open were ended, as `failed`. */
  | { readonly do: 'lost' }
  | { readonly do: 'end' };
type Say = { readonly topic: string; readonly payload: string };
export type Measured = { readonly seconds: number; readonly ms: readonly number[]; readonly failed: number };
/** With the processor time that the clients took. */
export type Answer = Measured & { readonly cpuSeconds: number };

/** When it is not said. */
const connectsAtOnce = 64;
const connectMs = 60_000;
/** The longest: clients here never ping, and on a busy machine it takes minutes until the last of 10 000 is there. */
const keepaliveSeconds = 300;
const host = '127.0.0.1';
const helloTopic = 'n1/{uid}/up/hello';
/** The same with every broker: Debian's Mosquitto has none with ML-KEM, which Node would take. */
const keyExchange = 'X25519';
/** Where devices come from, and strangers. */
const deviceAddress = '127.0.0.1';
const strangerAddress = (i: number): string => `127.7.7.${1 + (i % 4)}`;

let devices: readonly (Device & { readonly context: SecureContext })[] = [];
const tickets = new Map<string, Buffer>();
const open = new Map<string, Client>();
const strangers: Socket[] = [];

/** One connection: packets come in, and whoever waits for one of a type gets it. */
class Client {
  readonly socket: TLSSocket;
  readonly uid: string;
  #bytes: Buffer = Buffer.alloc(0);
  #waiting: { readonly type: number; readonly done: (body: Buffer) => void }[] = [];

  constructor(uid: string, socket: TLSSocket) {
    this.uid = uid;
    this.socket = socket;
    socket.on('data', bytes => this.#read(bytes));
  }

  next(type: number): Promise<Buffer> {
    return new Promise(done => this.#waiting.push({ type, done }));
  }

  #read(bytes: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes]);
    while (this.#bytes.length >= 2) {
      const [head, length] = [this.#bytes[0] as number, this.#bytes[1] as number];
      // Longer packets are nothing that is waited for here.
      const size = length < 128 ? 2 + length : 3 + (length & 127) + 128 * (this.#bytes[2] ?? 0);
      if (this.#bytes.length < size) return;
      const at = this.#waiting.findIndex(({ type }) => type === head >> 4);
      if (at >= 0) this.#waiting.splice(at, 1)[0]?.done(this.#bytes.subarray(2, size));
      this.#bytes = this.#bytes.subarray(size);
    }
  }
}

async function openOne(device: (typeof devices)[number], target: Target, resume: boolean): Promise<Client> {
  const session = resume ? tickets.get(device.uid) : undefined;
  const place = { host, port: target.port, localAddress: deviceAddress, servername: target.servername };
  const socket = connect({
    ...place,
    ca: target.ca,
    secureContext: device.context,
    ...(session && { session }),
    rejectUnauthorized: false,
  });
  socket.setNoDelay(true);
  socket.on('session', ticket => tickets.set(device.uid, ticket));
  const ended = new Promise<never>((_, reject) => {
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed')));
  });
  ended.catch(() => undefined);
  const client = new Client(device.uid, socket);
  await Promise.race([new Promise(resolve => socket.once('secureConnect', resolve)), ended]);
  socket.write(connectPacket(device.uid, { keepalive: keepaliveSeconds }));
  const connack = await Promise.race([client.next(2), ended]);
  if (connack[1] !== 0) throw new Error(`CONNACK ${connack[1]}`);
  return client;
}

const inTopic = (text: string, uid: string): string => text.replace('{uid}', uid);
const publish = (client: Client, { topic, payload }: Say, id: number, qos = 1): Buffer =>
  publishPacket(inTopic(topic, client.uid), Buffer.from(payload, 'base64'), { id, qos });

async function connectAll({
  target,
  count,
  keep,
  resume,
  hello = false,
  atOnce = connectsAtOnce,
  from = 0,
}: Extract<Work, { do: 'connect' }>): Promise<Measured> {
  const ms: number[] = [];
  let [next, failed] = [0, 0];
  const begin = performance.now();
  const one = async (device: (typeof devices)[number]): Promise<void> => {
    const started = performance.now();
    for (let tries = 0; ; tries += 1) {
      try {
        const client = await openOne(device, target, resume);
        if (hello) {
          const acknowledged = client.next(4);
          client.socket.write(publish(client, { topic: helloTopic, payload: device.hello }, 1));
          await acknowledged;
        }
        if (keep) open.set(device.uid, client);
        else {
          client.socket.end(disconnectPacket);
          await new Promise(resolve => client.socket.once('close', resolve));
        }
        ms.push(performance.now() - started);
        return;
      } catch {
        if (performance.now() - started > connectMs) {
          failed += 1;
          return;
        }
        await sleep(20 * 2 ** Math.min(tries, 5));
      }
    }
  };
  const worker = async (): Promise<void> => {
    while (next < count) await one(devices[(from + next++) % devices.length] as (typeof devices)[number]);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return { seconds: (performance.now() - begin) / 1000, ms, failed };
}

async function echo({ count, topic, payload }: Extract<Work, { do: 'echo' }>): Promise<Measured> {
  const client = [...open.values()].at(-1) as Client;
  const ms: number[] = [];
  const begin = performance.now();
  for (let id = 1; id <= count; id += 1) {
    const started = performance.now();
    const acknowledged = client.next(4);
    client.socket.write(publish(client, { topic, payload }, id));
    await acknowledged;
    ms.push(performance.now() - started);
  }
  return { seconds: (performance.now() - begin) / 1000, ms, failed: 0 };
}

async function fanIn({ clients, each, topic, payload }: Extract<Work, { do: 'fanIn' }>): Promise<Measured> {
  const begin = performance.now();
  const all = [...open.values()].slice(0, clients).map(async client => {
    const message = publish(client, { topic, payload }, 0, 0);
    const acknowledged = client.next(4);
    client.socket.write(Buffer.concat([...Array<Buffer>(each).fill(message), publish(client, { topic, payload }, 1)]));
    await acknowledged;
  });
  await Promise.all(all);
  return { seconds: (performance.now() - begin) / 1000, ms: [], failed: 0 };
}

async function bringStrangers({ port, silent, slow }: Extract<Work, { do: 'strangers' }>): Promise<Measured> {
  const hello = Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00]);
  const one = (i: number, isSlow: boolean): void => {
    const socket = connectTcp({ host, port, localAddress: strangerAddress(i) });
    strangers.push(socket);
    socket.on('error', () => undefined);
    socket.resume();
    if (!isSlow) return;
    socket.write(hello);
    const drip = setInterval(() => socket.write(Buffer.of(0)), 200).unref();
    // A slow one that was ended comes back at once.
    socket.once('close', () => {
      clearInterval(drip);
      setTimeout(one, 100, i, true);
    });
  };
  for (let i = 0; i < silent + slow; i += 1) {
    one(i, i >= silent);
    if (i % 200 === 0) await sleep(10);
  }
  await sleep(500);
  return { seconds: 0, ms: [], failed: 0 };
}

/** Five clients that send as fast as the server takes it, and read nothing. */
function freeze(topic: string): Measured {
  for (const client of [...open.values()].slice(0, 5)) {
    client.socket.removeAllListeners('data').pause();
    client.socket.on('error', () => undefined);
    const message = publishPacket(inTopic(topic, client.uid), Buffer.alloc(1_000), { id: 1 });
    const pump = (): void => {
      while (client.socket.writable && client.socket.write(message));
      client.socket.once('drain', pump);
    };
    pump();
  }
  return { seconds: 0, ms: [], failed: 0 };
}

async function whenEnded(uid: string): Promise<Measured> {
  const client = open.get(uid) as Client;
  if (!client.socket.destroyed) await new Promise(resolve => client.socket.once('close', resolve));
  return { seconds: 0, ms: [performance.timeOrigin + performance.now()], failed: 0 };
}

function end(): Measured {
  for (const client of open.values()) client.socket.destroy();
  for (const socket of strangers.splice(0)) socket.removeAllListeners('close').destroy();
  open.clear();
  return { seconds: 0, ms: [], failed: 0 };
}

function load(file: string): Measured {
  const read = JSON.parse(readFileSync(file, 'utf8')) as readonly Device[];
  devices = read.map(device => ({
    ...device,
    context: createSecureContext({ key: device.key, cert: device.cert, minVersion: 'TLSv1.3', ecdhCurve: keyExchange }),
  }));
  return { seconds: 0, ms: [], failed: 0 };
}

async function carryOut(work: Work): Promise<Measured> {
  switch (work.do) {
    case 'load':
      return load(work.file);
    case 'connect':
      return connectAll(work);
    case 'echo':
      return echo(work);
    case 'fanIn':
      return fanIn(work);
    case 'strangers':
      return bringStrangers(work);
    case 'freeze':
      return freeze(work.topic);
    case 'ended':
      return whenEnded(work.uid);
    case 'lost':
      return { seconds: 0, ms: [], failed: [...open.values()].filter(({ socket }) => socket.destroyed).length };
    case 'end':
      return end();
  }
}

process.on('message', (work: Work) => {
  const before = process.cpuUsage();
  carryOut(work).then(
    measured => {
      const { user, system } = process.cpuUsage(before);
      process.send?.({ ...measured, cpuSeconds: (user + system) / 1e6 });
    },
    error => process.send?.({ error: String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
