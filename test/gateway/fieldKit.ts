import { createHash, randomBytes, sign } from 'node:crypto';
import { createHttpClient, type HttpClient } from '../../gateway-device/link/httpClient.ts';
import { connectMqtt, type NusecMqttClient } from '../../gateway-device/link/mqttClient.ts';
import { fromHex, toHex } from '../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../src/cbor/schema.ts';
import { keyIdOf } from '../../src/cose/publicKey.ts';
import { rawSigner } from '../../src/cose/sign1.ts';
import { device, deviceStream } from '../../src/domain/device.ts';
import type { DeviceCommand } from '../../src/domain/deviceCommands.ts';
import { currentCertificate } from '../../src/domain/deviceState.ts';
import type { LineLayout } from '../../src/domain/line.ts';
import type { UploadedRelease } from '../../src/domain/release.ts';
import { parseVersion } from '../../src/domain/version.ts';
import { derToRaw } from '../../src/ecdsa.ts';
import { helloMessage, jobMessage, orderMessage, orderReply, spdmMessage } from '../../src/mqttMessages.ts';
import { imageStateValue, measurementIndex, otpCounterValue, secureVersionValue } from '../../src/ota/measurementIndex.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { toPem } from '../../src/pki/pem.ts';
import { verifyOrder } from '../../src/production/order.ts';
import { signReceipt } from '../../src/production/receipt.ts';
import { signingKeysOf, verifyTrustBundle } from '../../src/production/trustBundle.ts';
import { type Context, execute } from '../../src/services/base/context.ts';
import { livingDevice } from '../../src/services/base/livingDevice.ts';
import { defineLine } from '../../src/services/firmware/lines.ts';
import { approveRelease, publishRelease, uploadRelease } from '../../src/services/firmware/releases.ts';
import { certifyDevice } from '../../src/services/identity/enrolment.ts';
import type { Enrolment } from '../../src/services/identity/issuance.ts';
import { assignBootKey } from '../../src/services/production/images.ts';
import type { ExporterSecret } from '../../src/spdm/keySchedule.ts';
import { type MeasurementSource, measurementType } from '../../src/spdm/measurement.ts';
import { createResponder, type Responder, type ResponderOptions } from '../../src/spdm/responder/responder.ts';
import { decodeTyped, encodeTyped } from '../../src/spdm/transport/mqtt.ts';
import { type Key, makeCsr, makeKey } from '../pki/support.ts';
import { pollMs } from '../support/limits.ts';
import type { TestServer } from '../support/server.ts';

/** A line with releases and devices in stock, seeded into a real server, and the devices themselves: an MQTT client with a key of their own
 *  and an SPDM responder. What they measure and how they answer can be bent. */

export const line = 'meter';
const random = (length: number): Uint8Array => new Uint8Array(randomBytes(length));

export async function publish(
  ctx: Context,
  image: 'bl2' | 'app',
  version: string,
  counter: number,
  of = line,
  payloadBytes = 20_000,
): Promise<UploadedRelease> {
  const payload = new Uint8Array(
    createHash('shake256', { outputLength: payloadBytes }).update(`${of} ${image} ${version} ${counter}`).digest(),
  );
  const { releaseId } = await uploadRelease(ctx, { line: of, image, version: parseVersion(version), counter }, payload, 'operator:rita');
  await approveRelease(ctx, releaseId, 'operator:rolf');
  return publishRelease(ctx, releaseId, 'operator:rita');
}

export type Firmware = Pick<UploadedRelease, 'releaseId' | 'version' | 'securityCounter' | 'imageHash'>;

export type Unit = Enrolment & {
  readonly uid: string;
  readonly objId: string;
  readonly key: Key;
  readonly bootKeyId: string;
  bootloader: Firmware;
  firmware: Firmware;
};

/** Builds a device as the factory would, up to stock: every event of production is there. @param unlockKeyId as chips have it that a password unlocks */
export async function build(
  ctx: Context,
  bl2: Firmware,
  app: Firmware,
  of = line,
  uid = toHex(random(16)),
  key = makeKey(),
  unlockKeyId?: string,
): Promise<Unit> {
  const by = 'programmer:test';
  const [objId, grantId] = [toHex(random(16)), toHex(random(16))];
  const run = async (command: DeviceCommand) => void (await execute(ctx, device, deviceStream(uid), command, by));
  await run({ type: 'MintDevice', uid, objId, line: of, jobId: '0b'.repeat(16), programmer: 'cc'.repeat(16), grantId });
  const chain = await certifyDevice(ctx, uid, makeCsr(key, { commonName: objId, serialNumber: uid }), by);
  const living = () => livingDevice(ctx, uid);
  await run({ type: 'InstallCertificate', serial: currentCertificate(await living())?.serial ?? '' });
  const bootKey = await assignBootKey(ctx, await living(), 'bl2', by);
  await run({ type: 'InstallBootloader', ...facts(bl2) });
  await run({ type: 'BurnBootKey', slot: 'bl2', keyId: bootKey.keyId });
  await run({ type: 'LockDebug', receiptSha256: 'r1', ...(unlockKeyId !== undefined && { unlockKeyId }) });
  const appKey = await assignBootKey(ctx, await living(), 'app', by);
  await run({ type: 'AuthenticateSession', grantId, evidenceSha256: 'e1' });
  await run({ type: 'BurnBootKey', slot: 'app', keyId: appKey.keyId });
  await run({ type: 'InstallFirmware', ...facts(app), grantId, receiptSha256: 'r2' });
  await run({ type: 'CompleteProvisioning', grantId, receiptSha256: 'r2' });
  return { ...chain, uid, objId, key, bootKeyId: appKey.keyId, bootloader: bl2, firmware: app };
}

const facts = ({ releaseId, version, securityCounter, imageHash }: Firmware) => ({ releaseId, version, securityCounter, imageHash });

export type Fleet = {
  readonly bl2: UploadedRelease;
  readonly app: UploadedRelease;
  readonly next: UploadedRelease;
  readonly units: readonly Unit[];
};

/** A line at 1.0.0 (counter 2), a release 1.1.0 (counter 3) ready, and devices in stock. */
export async function seedFleet(ctx: Context, count: number, layout?: Partial<LineLayout>): Promise<Fleet> {
  await defineLine(ctx, { line, layout }, 'operator:rita');
  const bl2 = await publish(ctx, 'bl2', '1.0.0', 1);
  const app = await publish(ctx, 'app', '1.0.0', 2);
  const next = await publish(ctx, 'app', '1.1.0', 3);
  const units: Unit[] = [];
  for (let i = 0; i < count; i += 1) units.push(await build(ctx, bl2, app));
  return { bl2, app, next, units };
}

export const people = (server: TestServer, token = server.alice): HttpClient =>
  createHttpClient({ baseUrl: server.url, ca: server.rootPem, token });

/** How a device behaves; may be changed at any time. */
export type Manners = {
  debugState: number;
  /** Key that signs SPDM: a clone has another one than the certificate. */
  signingKey: Key;
  /** Replies on up/spdm: none, one, or several times. */
  spdmReplies: (reply: Uint8Array, count: number) => readonly Uint8Array[];
  imageState: 'confirmed' | 'testing';
  /** What it measures of its image; a device of before does not measure it. */
  measuredState?: 'confirmed' | 'testing';
  /** The counter that it measures in OTP. */
  otpCounter?: number;
  receipts: 'signed' | 'refused' | 'silent' | 'forged' | 'unwiped';
} & Partial<SpdmManners>;

/** How a responder answers that is not always ready. */
export type SpdmManners = {
  /** An answer in the clear that comes in the place of the responder's, which then has not seen the request. */
  instead: (request: Uint8Array) => Uint8Array | undefined;
  /** Requests, by their code, that are answered with ResponseNotReady first. */
  defers: (requestCode: number) => boolean;
  /** What its responder speaks instead of the default. */
  spdm: Partial<ResponderOptions>;
};

export type FieldDevice = {
  readonly client: NusecMqttClient;
  readonly manners: Manners;
  readonly jobs: Uint8Array[];
  readonly orders: Uint8Array[];
  readonly errors: string[];
  /** Secret of the last session, which a device keeps for its block key. */
  exporter(): ExporterSecret;
  hello(change?: Partial<{ version: string; securityCounter: number; imageHash: string; objId: string }>): Promise<void>;
  /** Restarts into this firmware. */
  install(firmware: Firmware): void;
  close(): Promise<void>;
};

type Measuring = Pick<Manners, 'debugState' | 'measuredState' | 'otpCounter'>;

export function measurementsOf(unit: Unit, manners: Measuring): readonly MeasurementSource[] {
  const { measuredState, otpCounter } = manners;
  const { mutableFirmware, secureVersionNumber, hardwareConfig, firmwareConfig } = measurementType;
  const { bl2, application, secureVersion, hardwareState } = measurementIndex;
  return [
    { index: bl2, type: mutableFirmware, form: 'digest', value: fromHex(unit.bootloader.imageHash) },
    { index: application, type: mutableFirmware, form: 'digest', value: fromHex(unit.firmware.imageHash) },
    {
      index: secureVersion,
      type: secureVersionNumber,
      form: 'raw',
      value: secureVersionValue(parseVersion(unit.firmware.version), unit.firmware.securityCounter),
    },
    {
      index: hardwareState,
      type: hardwareConfig,
      form: 'either',
      value: Uint8Array.of(0x3f, 1, manners.debugState, ...new Uint8Array(32)),
    },
    ...raw(measurementIndex.imageState, firmwareConfig, measuredState && imageStateValue(measuredState)),
    ...raw(measurementIndex.otpCounter, secureVersionNumber, otpCounter === undefined ? undefined : otpCounterValue(otpCounter)),
  ];
}

const raw = (index: number, type: number, value: Uint8Array | undefined): readonly MeasurementSource[] =>
  value === undefined ? [] : [{ index, type, form: 'raw', value }];

export function responderOf(unit: Unit, manners: Measuring & Pick<Manners, 'signingKey'> & Partial<SpdmManners>): Responder {
  const signRaw = async (input: Uint8Array) =>
    derToRaw(new Uint8Array(sign('sha256', input, manners.signingKey.privateKey)), 32) as Uint8Array;
  const responder = createResponder({
    slots: [{ certificates: [unit.root, unit.ica, unit.certificate], sign: signRaw }],
    randomBytes: random,
    measurements: () => measurementsOf(unit, manners),
    defers: requestCode => manners.defers?.(requestCode) === true,
    ...manners.spdm,
  });
  const handle: Responder['handle'] = async wire => {
    const message = wire.kind === 'clear' ? manners.instead?.(wire.message) : undefined;
    return message === undefined ? responder.handle(wire) : { kind: 'clear', message };
  };
  return { ...responder, handle };
}

const locked = 1;

export async function connectDevice(server: TestServer, unit: Unit): Promise<FieldDevice> {
  const manners: Manners = {
    debugState: locked,
    signingKey: unit.key,
    spdmReplies: reply => [reply],
    imageState: 'confirmed',
    receipts: 'signed',
  };
  let responder = responderOf(unit, manners);
  const replies = new Map<number, Uint8Array>();
  const client = connectMqtt({
    host: '127.0.0.1',
    port: server.mqttPort,
    servername: 'localhost',
    identity: { kind: 'device', uid: unit.uid },
    tls: {
      key: unit.key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
      cert: toPem('CERTIFICATE', unit.certificate) + toPem('CERTIFICATE', unit.ica),
      ca: server.rootPem,
    },
  });
  const [jobs, orders, errors]: [Uint8Array[], Uint8Array[], string[]] = [[], [], []];
  let answered = 0;
  let exporter: ExporterSecret | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  const answer = async (payload: Uint8Array): Promise<void> => {
    const { cid, data } = decodeAs(spdmMessage, payload);
    const reply = replies.get(cid) ?? encodeTyped((await responder.handle(decodeTyped(data)))!);
    replies.set(cid, reply);
    if (responder.sessionId() !== undefined) exporter = responder.exporterSecret();
    for (const one of manners.spdmReplies(reply, answered++)) await client.publish('spdm', encodeAs(spdmMessage, { cid, data: one }));
  };
  client.on('spdm', payload => {
    turn = turn.then(() => answer(payload)).catch(() => undefined);
  });
  client.on('job', payload => {
    const { job } = decodeAs(jobMessage, payload);
    if (job) jobs.push(job);
  });
  client.on('order', async payload => {
    const { cid, order } = decodeAs(orderMessage, payload);
    orders.push(order);
    const receipt = await receiptFor(server, unit, manners, order);
    if (receipt !== undefined) await client.publish('order', encodeAs(orderReply, { cid, ...receipt })).catch(() => undefined);
  });
  client.on('err', payload => errors.push(toHex(payload)));
  await client.connected();
  return {
    client,
    manners,
    jobs,
    orders,
    errors,
    exporter: () => exporter!,
    hello: (change = {}) => {
      const { version, securityCounter, imageHash } = unit.firmware;
      const said = { version, securityCounter, imageHash, objId: unit.objId, ...change };
      const wire = {
        ...said,
        cid: 1,
        imageHash: fromHex(said.imageHash),
        objId: fromHex(said.objId),
        bootCount: 1,
        imageState: manners.imageState,
      };
      return client.publish('hello', encodeAs(helloMessage, wire));
    },
    install(firmware) {
      unit.firmware = firmware;
      responder = responderOf(unit, manners);
    },
    close: () => client.close(),
  };
}

/** As a device does: the order must be signed for this device and registration (T31). */
async function receiptFor(server: TestServer, unit: Unit, manners: Manners, order: Uint8Array) {
  if (manners.receipts === 'silent') return undefined;
  if (manners.receipts === 'refused') return { receipt: null, error: 'ORDER_REFUSED' };
  const { spki } = rootKeyOf(unit);
  const http = people(server);
  const bundle = await verifyTrustBundle(await http.bytes('GET', '/v1/trust-bundle'), spki);
  http.close();
  const [uid, objId] = [fromHex(unit.uid), fromHex(unit.objId)];
  const { nonce } = await verifyOrder(order, { operation: 'wipe', uid, objId }, signingKeysOf(bundle, 'order'));
  const key = manners.receipts === 'forged' ? makeKey() : unit.key;
  const signer = { kid: keyIdOf(unit.key.spki), sign: rawSigner(key.signer.sign) };
  const state = {
    stage: 'app',
    lifeCycle: manners.receipts === 'unwiped' ? 'deployed' : 'decommissioned',
    debugState: 'locked',
    otpMask: 0x3f,
    images: [],
    bootCount: 3,
  } as const;
  return { receipt: await signReceipt({ uid, objId, nonce, ...state }, signer) };
}

const rootKeyOf = (unit: Unit) => parseCertificate(unit.root);

/** The device as the API shows it. */
// biome-ignore lint/suspicious/noExplicitAny: an answer is read as its test expects it
export const show = (http: HttpClient, uid: string): Promise<any> => http.json('GET', `/v1/devices/${uid}`);
export const typesOf = async (http: HttpClient, uid: string): Promise<string[]> =>
  (await http.json<{ events: { type: string }[] }>('GET', `/v1/devices/${uid}/events`)).events.map(event => event.type);

/** Polls until `read` gives something. */
export async function eventually<T>(read: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
  const end = performance.now() + pollMs;
  for (;;) {
    const value = await read();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error('not reached in time');
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}
