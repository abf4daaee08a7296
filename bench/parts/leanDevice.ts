import { connect, type TLSSocket } from 'node:tls';
import { fromHex, toHex } from '../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../src/cbor/schema.ts';
import { publishHead } from '../../src/gateway/broker/farewell.ts';
import { helloMessage, jobMessage, otaQuestion, spdmMessage } from '../../src/mqttMessages.ts';
import { deviceUpPrefix } from '../../src/mqttTopics.ts';
import type { OtaJob } from '../../src/ota/otaJob.ts';
import { toPem } from '../../src/pki/pem.ts';
import { decodeTyped, encodeTyped } from '../../src/spdm/transport/mqtt.ts';
import { responderOf, type Unit } from '../../test/gateway/fieldKit.ts';
import type { ServerProcess } from '../../test/support/server.ts';

/** A device that downloads with as little work as a bare socket: it counts the blocks that come, and looks into none. So what is measured is the server. */
export type LeanDevice = {
  readonly unit: Unit;
  /** The signed job, when it has come. */
  readonly job: Promise<Uint8Array>;
  /** Asks for blocks; resolves when as many have come. */
  blocks(job: OtaJob, first: number, count: number): Promise<void>;
  close(): void;
};

/** Key and certificates of a device, PEM. */
export const identityOf = ({ key, certificate, ica }: Unit) => ({
  key: key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
  cert: toPem('CERTIFICATE', certificate) + toPem('CERTIFICATE', ica),
});

/** A connection of this device's own. */
export const secureSocket = (server: ServerProcess, unit: Unit, port: number): TLSSocket =>
  connect({ host: '127.0.0.1', port, servername: 'localhost', ca: server.rootPem, minVersion: 'TLSv1.3', ...identityOf(unit) });

const [connackType, publishType] = [2, 3];
const qos1 = 2;
const pingRequest = Uint8Array.of(0xc0, 0);
/** Half of the keep-alive. */
const pingMs = 30_000;
/** Longer packets are blocks: a job is shorter. */
const blockFromBytes = 8 * 1024;

export async function connectLean(server: ServerProcess, unit: Unit): Promise<LeanDevice> {
  const socket = secureSocket(server, unit, server.mqttPort);
  const [online, job] = [Promise.withResolvers<void>(), Promise.withResolvers<Uint8Array>()];
  const responder = responderOf(unit, { debugState: 1, signingKey: unit.key });
  let [missing, wake] = [0, (): void => undefined];
  let turn: Promise<unknown> = Promise.resolve();
  const publish = (up: string, payload: Uint8Array): void => {
    const topic = `${deviceUpPrefix(unit.uid)}${up}`;
    socket.write(Buffer.concat([publishHead(topic, payload.length), payload]));
  };
  const answer = async (payload: Uint8Array): Promise<void> => {
    const { cid, data } = decodeAs(spdmMessage, payload);
    const reply = await responder.handle(decodeTyped(data));
    if (reply !== undefined) publish('spdm', encodeAs(spdmMessage, { cid, data: encodeTyped(reply) }));
  };
  const onPacket = (type: number, flags: number, body: Buffer): void => {
    if (type === connackType) online.resolve();
    if (type !== publishType) return;
    const topicEnd = 2 + body.readUInt16BE(0);
    const family = body.subarray(2, topicEnd).toString().split('/').at(-1);
    const payloadAt = topicEnd + ((flags & 6) === qos1 ? 2 : 0);
    if (payloadAt > topicEnd) socket.write(Uint8Array.of(0x40, 2, ...body.subarray(topicEnd, payloadAt)));
    const payload = new Uint8Array(body.subarray(payloadAt));
    if (family === 'spdm') turn = turn.then(() => answer(payload)).catch(job.reject);
    if (family === 'job') job.resolve(decodeAs(jobMessage, payload).job ?? new Uint8Array());
  };
  const onBlock = (): void => {
    missing -= 1;
    if (missing === 0) wake();
  };
  socket.on('data', splitPackets(onPacket, onBlock)).on('error', error => {
    online.reject(error);
    job.reject(error);
  });
  socket.once('secureConnect', () => socket.write(connectPacket(unit.uid)));
  const pings = setInterval(() => socket.write(pingRequest), pingMs);
  socket.once('close', () => clearInterval(pings));
  await online.promise;
  const { version, securityCounter, imageHash } = unit.firmware;
  const said = { cid: 1, version, securityCounter, imageHash: fromHex(imageHash), objId: fromHex(unit.objId), bootCount: 1 };
  publish('hello', encodeAs(helloMessage, { ...said, imageState: 'confirmed' }));
  return {
    unit,
    job: job.promise,
    blocks({ otaJobId, blockBytes }, first, count) {
      missing = count;
      publish(`ota/${toHex(otaJobId)}`, encodeAs(otaQuestion, { cid: first, first, count, blockBytes }));
      return new Promise(resolve => {
        wake = resolve;
      });
    },
    close: () => socket.destroy(),
  };
}

/** MQTT 3.1.1 §3.1: a clean session, with a minute of keep-alive. */
function connectPacket(clientId: string): Buffer {
  const id = Buffer.from(clientId);
  const body = Buffer.concat([Buffer.from([0, 4]), Buffer.from('MQTT'), Buffer.from([4, 2, 0, 60, 0, id.length]), id]);
  return Buffer.concat([Buffer.from([0x10, body.length]), body]);
}

/** Packets from what comes (MQTT 3.1.1 §2.2): short ones whole, of long ones that they are over. */
function splitPackets(onPacket: (type: number, flags: number, body: Buffer) => void, onBlock: () => void): (chunk: Buffer) => void {
  let [rest, skip]: [Buffer, number] = [Buffer.alloc(0), 0];
  return chunk => {
    let bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (;;) {
      const skipped = Math.min(skip, bytes.length);
      bytes = bytes.subarray(skipped);
      if (skip > 0 && skip === skipped) onBlock();
      skip -= skipped;
      const lengthEnd = bytes.subarray(1, 5).findIndex(byte => byte < 128);
      if (skip > 0 || lengthEnd < 0) break;
      const head = 2 + lengthEnd;
      const length = bytes.subarray(1, head).reduce((sum, byte, i) => sum + (byte & 127) * 128 ** i, 0);
      if (length > blockFromBytes) skip = head + length;
      else if (bytes.length < head + length) break;
      else {
        const first = bytes[0] as number;
        onPacket(first >> 4, first & 15, bytes.subarray(head, head + length));
        bytes = bytes.subarray(head + length);
      }
    }
    rest = bytes;
  };
}
