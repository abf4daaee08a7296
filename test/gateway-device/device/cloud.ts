import { X509Certificate } from 'node:crypto';
import type { BoardEvent } from '../../../gateway-device/chip/board.ts';
import { concat, toHex } from '../../../src/bytes.ts';
import { type Codec, decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { type Broker, createBroker } from '../../../src/gateway/broker/broker.ts';
import type { Handlers } from '../../../src/gateway/broker/handler.ts';
import {
  helloMessage,
  jobMessage,
  jobQuestion,
  jobStatusMessage,
  orderMessage,
  orderReply,
  otaBlock,
  otaQuestion,
  spdmMessage,
  trustMessage,
  trustReply,
} from '../../../src/mqttMessages.ts';
import { blockSecretBytes, blockSecretLabel, deliveryBlockHashes, openBlockChannel, sealBlock } from '../../../src/ota/blocks.ts';
import { jobDigestOf, type OtaJob, type SignedJob, signJob } from '../../../src/ota/otaJob.ts';
import { issueCertificate } from '../../../src/pki/certificate.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { deriveExporterKey, type ExporterSecret } from '../../../src/spdm/keySchedule.ts';
import type { Link } from '../../../src/spdm/requester/delivery.ts';
import { runSessionSetup } from '../../../src/spdm/requester/run.ts';
import { acceptControl, controlRecord } from '../../../src/spdm/requester/sessionControl.ts';
import { decodeTyped, encodeTyped } from '../../../src/spdm/transport/mqtt.ts';
import { leafFields, makeKey } from '../../pki/support.ts';
import { classUuid, type Image, type Oem, random, uid, vendorUuid } from '../programmer/factory.ts';

/** A small server on a real broker: records what a device says, attests and keys it over MQTT, serves jobs and blocks. */

export const serverName = 'mqtt.nusec.test';
export type Heard<T> = T extends Codec<infer V> ? V : never;

export type Delivered = { readonly signed: Uint8Array; readonly job: OtaJob; readonly image: Image };

export async function startCloud(oem: Oem) {
  const key = makeKey();
  const fields = { ...leafFields(oem.serverIca, key.spki), commonName: serverName, dnsNames: [serverName], ipAddresses: [] };
  const { der } = await issueCertificate('server', fields, oem.serverIca.key.signer);
  const heard = {
    hellos: [] as Heard<typeof helloMessage>[],
    statuses: [] as Heard<typeof jobStatusMessage>[],
    orders: [] as Heard<typeof orderReply>[],
    trusts: [] as Heard<typeof trustReply>[],
    blockRequests: [] as Heard<typeof otaQuestion>[],
    payloads: [] as Uint8Array[],
    refusals: 0,
  };
  const state = {
    isRevoked: false,
    /** Receipts that get no PUBACK: the connection breaks instead. */
    lostReceipts: 0,
    delivered: undefined as Delivered | undefined,
    secret: undefined as ExporterSecret | undefined,
    /** Changes a block reply on its way; none = it is lost. */
    tamper: (reply: Uint8Array, _index: number): readonly Uint8Array[] => [reply],
  };
  const waiting = new Map<number, (data: Uint8Array) => void>();
  let cid = 1;

  const sendBlocks = async (request: Heard<typeof otaQuestion>): Promise<void> => {
    const { delivered, secret } = state;
    if (!delivered || !secret) return;
    const signedJob: SignedJob = { job: delivered.job, jobDigest: jobDigestOf(delivered.signed) };
    const channel = openBlockChannel(deriveExporterKey(secret, blockSecretLabel, delivered.job.otaJobId, blockSecretBytes), signedJob);
    for (let index = request.first; index < request.first + request.count; index += 1) {
      const sealed = concat(...sealBlock(channel, delivered.image, index));
      const reply = encodeAs(otaBlock, { cid: request.cid, otaJobId: delivered.job.otaJobId, index, sealed });
      for (const payload of state.tamper(reply, index)) {
        heard.payloads.push(payload);
        await broker.publish(toHex(uid), 'ota', payload, 0);
      }
    }
  };
  const handlers: Handlers = {
    hello: async ({ payload }) => void heard.hellos.push(decodeAs(helloMessage, payload)),
    spdm: async ({ payload }) => {
      const message = decodeAs(spdmMessage, payload);
      waiting.get(message.cid)?.(message.data);
    },
    job: async ({ payload, path, reply }) => {
      if (path[0] !== 'next') return void heard.statuses.push(decodeAs(jobStatusMessage, payload));
      const job = state.delivered?.signed ?? null;
      await reply('job', encodeAs(jobMessage, { cid: decodeAs(jobQuestion, payload).cid, job }));
    },
    ota: async ({ payload }) => {
      const request = decodeAs(otaQuestion, payload);
      heard.blockRequests.push(request);
      await sendBlocks(request);
    },
    trust: async ({ payload }) => void heard.trusts.push(decodeAs(trustReply, payload)),
    order: async ({ payload }) => {
      if (state.lostReceipts > 0) {
        state.lostReceipts -= 1;
        throw new Error('the server died');
      }
      heard.orders.push(decodeAs(orderReply, payload));
    },
  };
  const broker: Broker = await createBroker({
    tls: {
      key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      cert: toPem('CERTIFICATE', der) + toPem('CERTIFICATE', oem.serverIca.der),
      ca: toPem('CERTIFICATE', oem.root.der),
    },
    trust: {
      checkClient: leaf => {
        const certificate = parseCertificate(leaf);
        if (!new X509Certificate(leaf).checkIssued(new X509Certificate(oem.ica.der))) throw new Error('foreign');
        return { kind: 'device', uid: certificate.uid ?? '', serialHex: certificate.serialHex, certificateSha256: '' };
      },
    },
    isRevoked: () => state.isRevoked,
    isAttached: () => false,
    handlers,
    onPresence: event => {
      if (event.state === 'refused') heard.refusals += 1;
    },
    onAlarm: () => undefined,
    now: Date.now,
    limits: { connectBurst: 1000, takeoverBurst: 1000, closeGraceMs: 100 },
  });
  const port = await broker.listen({ port: 0, host: '127.0.0.1' });

  /** One SPDM message to the device and back; `repeats` are delivered too, as QoS 1 may. */
  const link =
    (repeats = 0): Link =>
    async wire => {
      cid += 1;
      const mine = cid;
      const answer = new Promise<Uint8Array>(resolve => waiting.set(mine, resolve));
      const payload = encodeAs(spdmMessage, { cid: mine, data: encodeTyped(wire) });
      for (let n = 0; n <= repeats; n += 1) await broker.publish(toHex(uid), 'spdm', payload);
      return decodeTyped(await answer);
    };
  return {
    broker,
    port,
    heard,
    state,
    link,
    /** A session that only serves to derive the block key. */
    async openSession(repeats = 0): Promise<void> {
      const over = link(repeats);
      const { session } = await runSessionSetup({ nonce: random(32), trust: oem.trust, randomBytes: random }, over);
      state.secret = session.exporterSecret();
      const ack = await over({ kind: 'secured', message: controlRecord(session, 'endSession') });
      acceptControl(session, 'endSession', ack.message);
    },
    async offer(image: Image, changes: Partial<OtaJob> = {}): Promise<Delivered> {
      const job = jobFor(image, changes);
      const signed = await signJob(job, oem.orders.kid, oem.orders.sign);
      state.delivered = { signed, job, image };
      await broker.publish(toHex(uid), 'job', encodeAs(jobMessage, { job: signed }));
      return state.delivered;
    },
    /** @returns the cid */
    trust: async (bundle: Uint8Array): Promise<number> => {
      cid += 1;
      await broker.publish(toHex(uid), 'trust', encodeAs(trustMessage, { cid, bundle }));
      return cid;
    },
    order: async (order: Uint8Array): Promise<void> => {
      cid += 1;
      await broker.publish(toHex(uid), 'order', encodeAs(orderMessage, { cid, order }));
    },
  };
}
export type Cloud = Awaited<ReturnType<typeof startCloud>>;

let sequence = 0;

export function jobFor(image: Image, changes: Partial<OtaJob> = {}): OtaJob {
  sequence += 1;
  const blockBytes = changes.blockBytes ?? 1024;
  return {
    format: 1,
    otaJobId: random(16),
    uid,
    imageHash: image.imageHash,
    imageBytes: image.bytes.length,
    version: image.version,
    securityCounter: image.securityCounter,
    blockBytes,
    blockHashes: deliveryBlockHashes(image, blockBytes),
    expiresAtSeconds: 2_000_000_000,
    sequence,
    dependencies: [],
    vendorUuid,
    classUuid,
    ...changes,
  };
}

export const named = (events: readonly BoardEvent[], event: string): readonly BoardEvent[] => events.filter(one => one.event === event);
