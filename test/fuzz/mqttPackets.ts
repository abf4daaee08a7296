import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { NusecError } from '../../src/errors.ts';
import { type Harness, startBroker, uidOf } from '../gateway/broker/harness.ts';
import { connectPacket, field, packet, pingPacket, publishPacket, remainingLength } from '../gateway/broker/wire.ts';
import { type Credentials, createTestPki, serverName, type TestPki } from '../gateway/certificates.ts';
import { generator, type Random } from './random.ts';

/** Fuzzes the broker over real TLS connections with valid certificates: streams of packets that are odd but framed, and now and then one that breaks the
 *  protocol. Whatever comes, the process lives, a well-behaved client is answered, and nothing stays behind. */

export type PacketFuzz = { readonly packets: number; readonly connections: number };

const attackers = 8;
const packetsPerBatch = 64;
/** One packet of so many breaks the protocol, which ends its connection. */
const hostileOneOf = 200;
const barrierId = 0xffff;
const witnessUid = uidOf(0xfe);
const mib = 1024 * 1024;
const maxGrownBytes = 200 * mib;

/** @throws Error on the first thing that must not be */
export async function fuzzPackets(packets: number, seed: number): Promise<PacketFuzz> {
  const pki = createTestPki();
  const many = { publishPerSecond: 1e9, publishBurst: 1e9, maxOutstandingBytes: mib };
  const limits = { device: many, controlPacketsPerSecond: 1e9, controlPacketBurst: 1e9, connectBurst: 1e9, closeGraceMs: 50 };
  const refuse = async (): Promise<void> => {
    throw new NusecError('CBOR_MALFORMED', 'not a map');
  };
  const take = async (): Promise<void> => undefined;
  const harness = await startBroker(pki, { limits, handlers: { hello: take, job: take, ota: take, lwt: take, spdm: refuse, csr: refuse } });
  try {
    return await attack(harness, pki, packets, seed);
  } finally {
    await harness.broker.close();
    pki.remove();
  }
}

async function attack(harness: Harness, pki: TestPki, packets: number, seed: number): Promise<PacketFuzz> {
  const before = process.memoryUsage().heapUsed;
  const witness = await openClient(harness, pki, pki.device(witnessUid), witnessUid);
  let [left, connections] = [packets, 0];
  let serving: Promise<void> = Promise.resolve();
  /** One after the other: the witness waits for one answer at a time. */
  const servedNow = (): Promise<void> => {
    serving = serving.then(() => served(witness));
    return serving;
  };
  const attacker = async (number: number): Promise<void> => {
    const uid = uidOf(number + 1);
    const keys = pki.device(uid);
    const random = generator(seed + number);
    let client: Client | undefined;
    while (left > 0) {
      if (client === undefined || client.isClosed()) {
        client = await openClient(harness, pki, keys, uid, client?.ticket());
        connections += 1;
      }
      const count = Math.min(packetsPerBatch, left);
      left -= count;
      await client.send(Array.from({ length: count }, () => (random(hostileOneOf) === 0 ? hostile(uid, random) : odd(uid, random))));
      if (random(20) === 0) await servedNow();
    }
    client?.close();
  };
  await Promise.all(Array.from({ length: attackers }, (_, number) => attacker(number)));
  await servedNow();
  witness.close();
  for (const { kind, detail } of harness.alarms) if (kind === 'BROKER_FAULT') throw new Error(`the broker failed: ${detail}`);
  while (harness.broker.stats().connections > 0) await new Promise(resolve => setTimeout(resolve, 10));
  const grown = process.memoryUsage().heapUsed - before;
  if (grown > maxGrownBytes) throw new Error(`the heap has grown by ${grown} bytes`);
  return { packets, connections };
}

async function served(witness: Client): Promise<void> {
  await witness.send([]);
  if (witness.isClosed()) throw new Error('a well-behaved client was cut off');
}

type Client = Awaited<ReturnType<typeof openClient>>;

async function openClient({ port }: Harness, pki: TestPki, { key, cert }: Credentials, uid: string, session?: Buffer) {
  const where = { host: '127.0.0.1', port, servername: serverName, ca: pki.rootPem };
  const socket: TLSSocket = connect({ ...where, key, cert, ...(session && { session }) });
  let ticket = session;
  let closed = false;
  let wake: () => void = () => undefined;
  let acknowledged = false;
  socket.on('error', () => undefined);
  socket.on('session', fresh => {
    ticket = fresh;
  });
  socket.once('close', () => {
    closed = true;
    wake();
  });
  const read = frames(({ type, body }) => {
    if (type === 2 || (type === 4 && body.readUInt16BE(0) === barrierId)) {
      acknowledged = true;
      wake();
    }
  });
  socket.on('data', read);
  const answered = async (): Promise<void> => {
    if (acknowledged || closed) return;
    await new Promise<void>(resolve => {
      wake = resolve;
    });
  };
  await once(socket, 'secureConnect');
  socket.write(connectPacket(uid));
  await answered();
  return {
    isClosed: () => closed,
    ticket: () => ticket,
    close: () => void socket.destroy(),
    /** Resolves when the server has answered all of it, or has ended the connection. */
    async send(packets: readonly Uint8Array[]): Promise<void> {
      acknowledged = false;
      socket.write(Buffer.concat([...packets, publishPacket(`n1/${uid}/up/hello`, '', { id: barrierId })]));
      // A packet that announces more than it has keeps the rest: the connection is given up.
      const stuck = setTimeout(() => socket.destroy(), packets.length === 0 ? patienceMs : stuckMs);
      await answered();
      clearTimeout(stuck);
    },
  };
}

/** A packet whose announced bytes never come holds its connection, and nothing else. */
const stuckMs = 400;
/** For who has sent nothing odd. */
const patienceMs = 60_000;

/** Cuts a stream into packets. */
function frames(take: (packet: { readonly type: number; readonly body: Buffer }) => void) {
  let bytes: Buffer = Buffer.alloc(0);
  return (chunk: Buffer): void => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    for (;;) {
      const lengthEnd = bytes.subarray(1, 5).findIndex(byte => byte < 128);
      if (lengthEnd < 0) return;
      const length = bytes.subarray(1, 2 + lengthEnd).reduce((sum, byte, i) => sum + (byte & 127) * 128 ** i, 0);
      const end = 2 + lengthEnd + length;
      if (bytes.length < end) return;
      take({ type: (bytes[0] as number) >> 4, body: bytes.subarray(2 + lengthEnd, end) });
      bytes = bytes.subarray(end);
    }
  };
}

const bytesOf = (random: Random, most: number): Buffer => Buffer.from(Array.from({ length: random(most) }, () => random(256)));
const id = (random: Random): number => 1 + random(barrierId - 1);
const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const tails = ['hello', 'spdm', 'csr', 'job/next', 'job/0a', 'ota/0b', 'lwt'];
const filters = ['#', 'a/b', '+/x', '$SYS/#', 'n1/#', 'x'.repeat(300), 'ü/é'];

/** Framed, and within what a connection may say. */
function odd(uid: string, random: Random): Buffer {
  switch (random(6)) {
    case 0:
      return pingPacket;
    case 1:
      return packet(0x40, u16(id(random)));
    case 2: {
      const some = Array.from({ length: 1 + random(8) }, () =>
        Buffer.concat([field(filters[random(filters.length)] ?? ''), Buffer.of(random(3))]),
      );
      return packet(0x82, u16(id(random)), ...some);
    }
    case 3:
      return packet(0xa2, u16(id(random)), field(filters[random(filters.length)] ?? ''));
    default:
      return publishPacket(`n1/${uid}/up/${tails[random(tails.length)]}`, bytesOf(random, random(50) === 0 ? 4_000 : 60), {
        id: id(random),
        qos: random(2),
      });
  }
}

/** What ends a connection, or may. */
function hostile(uid: string, random: Random): Buffer {
  const good = odd(uid, random);
  switch (random(7)) {
    case 0:
      return bytesOf(random, 200);
    case 1: {
      const changed = Buffer.from(good);
      for (let changes = 1 + random(4); changes > 0; changes -= 1) changed[random(changed.length)] = random(256);
      return changed;
    }
    case 2:
      return good.subarray(0, random(good.length));
    case 3:
      return Buffer.concat([Buffer.of(random(256)), remainingLength(random(2 ** 28))]);
    case 4:
      return connectPacket(uid, { level: random(8), will: { topic: `n1/${uid}/up/lwt`, payload: bytesOf(random, 200) } });
    case 5:
      return publishPacket(bytesOf(random, 60).toString('latin1'), bytesOf(random, 60), {
        id: random(3),
        qos: random(4),
        retain: random(2) === 0,
      });
    default:
      return packet(random(256), bytesOf(random, 100));
  }
}
