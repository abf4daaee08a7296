import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toHex } from '../../../src/bytes.ts';
import { decodeAs } from '../../../src/cbor/schema.ts';
import { type Channel, type ChannelTimes, createChannel } from '../../../src/gateway/reach/channel.ts';
import { attestMessage, eatQuestion, jobMessage, orderMessage, spdmMessage } from '../../../src/mqttMessages.ts';
import { initialiseProject } from '../../../src/services/administration/initialise.ts';
import { createAlarms } from '../../../src/services/base/alarms.ts';
import { openAttestationLog } from '../../../src/services/base/attestationLog.ts';
import type { Context } from '../../../src/services/base/context.ts';
import type { QueueLimits } from '../../../src/services/base/perDeviceQueue.ts';
import { openContext } from '../../../src/services/dataFolder/open.ts';
import { startClientTrust } from '../../../src/services/identity/clientTrust.ts';
import { createPeers } from '../../../src/services/processes/peers.ts';
import { startRevocations } from '../../../src/services/revocation/revocations.ts';
import { type Field, startField } from '../../../src/services/start/field.ts';
import { type PeerAnswers, peerQuestions } from '../../../src/services/start/peerAnswers.ts';
import type { ExporterSecret } from '../../../src/spdm/keySchedule.ts';
import { decodeTyped, encodeTyped } from '../../../src/spdm/transport/mqtt.ts';
import { type Fleet, type Manners, responderOf, seedFleet, type Unit } from '../../gateway/fieldKit.ts';
import { testSettings } from '../../support/server.ts';

/** The services of the field on a real store and keystore, without sockets: devices are SPDM responders behind the channel, whose messages can be
 *  lost, repeated or changed. Time can be moved. */

export type BenchDevice = {
  readonly unit: Unit;
  readonly manners: Manners;
  /** An empty one stands for "none now". */
  readonly jobs: Uint8Array[];
  /** Ids of the jobs that it was told to forget. */
  readonly cancelled: string[];
  readonly requests: Uint8Array[];
  /** Whether this message of the server, counted from 0, is lost on its way. */
  loses?: (count: number, family: string) => boolean;
  /** Its PSA attestation tokens, or why there is none; a device without them does not answer. */
  token?: (nonce: Uint8Array) => Promise<Uint8Array | string>;
  heard: number;
};

const quick: ChannelTimes = { attemptMs: 500, attempts: 3, gatewayAttemptMs: 500 };

/** What a gateway answers when it is asked to attest. */
export type GatewayAnswer = (
  uid: string,
  nonce: Uint8Array,
) => Promise<{ evidence: Uint8Array | null; verdict: Uint8Array; error?: string }>;

/** @param spdmQueue how many devices are worked on at once; as in the product when not given @param times how long a device may think */
export async function openField(count: number, spdmQueue?: QueueLimits, times = quick) {
  const dataDir = mkdtempSync(join(tmpdir(), 'nusec-field-'));
  const opened = await openContext(testSettings(dataDir), { https: 8443, crl: 8080 }, true);
  let aheadMs = 0;
  const ctx: Context = { ...opened.ctx, clock: () => new Date(Date.now() + aheadMs) };
  await initialiseProject(ctx, { organization: 'Example OEM', administrators: ['alice', 'bob'] });
  const fleet: Fleet = await seedFleet(ctx, count);
  const [alarms, revocations] = [createAlarms(ctx), await startRevocations(ctx)];
  const trust = await startClientTrust(ctx, revocations);
  const channel = createChannel(times);
  const devices = new Map<string, BenchDevice>();
  const gateways = new Map<string, GatewayAnswer>();
  const orders: { uid: string; order: Uint8Array }[] = [];
  const exporterOf = connect(channel, devices, gateways, orders);
  const start = (): Promise<Field> =>
    startField({
      ctx,
      alarms,
      revocations,
      trust,
      channel: channel.channel,
      peers: createPeers<PeerAnswers>(peerQuestions, 'one'),
      attestations,
      ...(spdmQueue && { spdmQueue }),
    });
  const attestations = openAttestationLog(join(dataDir, 'attestations.db'));
  let field: Field = await start();

  return {
    ctx,
    fleet,
    alarms,
    revocations,
    trust,
    channel,
    get field(): Field {
      return field;
    },
    /** As after the end of the process: nothing but the events is left. */
    async restart(): Promise<void> {
      await field.close();
      field = await start();
    },
    devices,
    gateways,
    orders,
    dataDir,
    attestations,
    /** Secret of the last session that the server set up with the device, as the device knows it. */
    exporterOf,
    /** A device comes online. */
    plugIn(unit: Unit): BenchDevice {
      const device: BenchDevice = { unit, manners: goodManners(unit), jobs: [], cancelled: [], requests: [], heard: 0 };
      devices.set(unit.uid, device);
      return device;
    },
    moveTime(ms: number): void {
      aheadMs += ms;
    },
    async codesOfAlarms(): Promise<string[]> {
      const events = await ctx.store.readAll(0, 10_000);
      return events.flatMap(({ type, data }) => (type === 'AlarmRaised' ? [String(data.code)] : []));
    },
    typesOf: async (uid: string): Promise<string[]> => (await ctx.store.readStream(`device-${uid}`)).map(({ type }) => type),
    async close(): Promise<void> {
      await field.close();
      attestations.close();
      await trust.close();
      await revocations.close();
      await opened.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
export type FieldBench = Awaited<ReturnType<typeof openField>>;

export const goodManners = (unit: Unit): Manners => ({
  debugState: 1,
  signingKey: unit.key,
  spdmReplies: reply => [reply],
  imageState: 'confirmed',
  receipts: 'silent',
});

function connect(
  channel: Channel,
  devices: ReadonlyMap<string, BenchDevice>,
  gateways: ReadonlyMap<string, GatewayAnswer>,
  orders: { uid: string; order: Uint8Array }[],
): (uid: string) => ExporterSecret {
  const exporters = new Map<string, ExporterSecret>();
  const responders = new Map<BenchDevice, { readonly firmware: unknown; readonly responder: ReturnType<typeof responderOf> }>();
  /** The last one of each device: a repeated question gets the same. */
  const answers = new Map<string, { readonly cid: number; readonly reply: Uint8Array }>();
  let count = 0;
  const responder = (device: BenchDevice) => {
    const known = responders.get(device);
    if (known?.firmware === device.unit.firmware) return known.responder;
    const fresh = { firmware: device.unit.firmware, responder: responderOf(device.unit, device.manners) };
    responders.set(device, fresh);
    return fresh.responder;
  };
  channel.connect({
    isConnected: uid => devices.has(uid),
    isOnline: clientId => devices.has(clientId) || gateways.has(clientId.replace('gateway-', '')),
    async publish(uid, family, payload) {
      const device = devices.get(uid);
      if (device === undefined) return false;
      if (device.loses?.(device.heard++, family)) return true;
      if (family === 'job') {
        const { job, cancelled } = decodeAs(jobMessage, payload);
        device.jobs.push(job ?? new Uint8Array());
        if (cancelled !== undefined) device.cancelled.push(toHex(cancelled));
      }
      if (family === 'order') orders.push({ uid, order: decodeAs(orderMessage, payload).order });
      if (family === 'eat' && device.token !== undefined) {
        const { cid, nonce } = decodeAs(eatQuestion, payload);
        const token = await device.token(nonce);
        channel.settle('eat', uid, cid, typeof token === 'string' ? { token: null, error: token } : { token });
      }
      if (family !== 'spdm') return true;
      const { cid, data } = decodeAs(spdmMessage, payload);
      device.requests.push(data);
      const last = answers.get(uid);
      const reply = last?.cid === cid ? last.reply : encodeTyped((await responder(device).handle(decodeTyped(data)))!);
      answers.set(uid, { cid, reply });
      const live = responder(device);
      if (live.sessionId() !== undefined) exporters.set(uid, live.exporterSecret());
      for (const one of device.manners.spdmReplies(reply, count++)) channel.settle('spdm', uid, cid, one);
      return true;
    },
    async publishToGateway(gatewayId, _family, payload) {
      const { cid, uid, nonce } = decodeAs(attestMessage, payload);
      const answer = await gateways.get(gatewayId)?.(toHex(uid), nonce);
      if (answer !== undefined) channel.settle('evidence', `${gatewayId}/${toHex(uid)}`, cid, answer);
      return true;
    },
  });
  return uid => exporters.get(uid)!;
}
