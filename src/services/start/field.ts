import { type Own, opening, repeatedly } from '../../closing.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { lru } from '../../lru.ts';
import { hourMs } from '../../times.ts';
import { startAlarmEnds } from '../base/alarmEnds.ts';
import type { Alarms } from '../base/alarms.ts';
import type { AttestationLog } from '../base/attestationLog.ts';
import type { Context } from '../base/context.ts';
import { createPerDeviceQueue, type QueueLimits } from '../base/perDeviceQueue.ts';
import { type Attachments, startAttachments } from '../field/attachments.ts';
import { type Attestation, createAttestation } from '../field/attestation.ts';
import { createClusterAttestation, createClusterChannel } from '../field/clusterChannel.ts';
import { createConnectedDevices, type Introduction } from '../field/connectedDevices.ts';
import { createDecommissions, type Decommissions } from '../field/decommission.ts';
import { startDeviceBundles } from '../field/deviceBundles.ts';
import type { DeviceChannel } from '../field/deviceChannel.ts';
import { type Hello, receiveHello } from '../field/deviceHello.ts';
import { type GatewayBundles, startGatewayBundles } from '../field/gatewayBundles.ts';
import { createPresence, type Presence } from '../field/presence.ts';
import { remindOfRenewal } from '../field/renewalReminder.ts';
import { type Bridge, createBridge } from '../firmware/bridge.ts';
import type { ByteLimits } from '../firmware/byteBudget.ts';
import { hasOutstanding, startDeliveryCare } from '../firmware/deliveryCare.ts';
import { createOtaDelivery, type OtaDelivery } from '../firmware/otaDelivery.ts';
import { createClusterFiles, createOtaFiles, fileAnswers, type OtaFiles } from '../firmware/otaFiles.ts';
import { createOtaImages } from '../firmware/otaImage.ts';
import { startRecallWatch } from '../firmware/recall.ts';
import { type Rollouts, startRollouts } from '../firmware/rollouts.ts';
import { createChainJudge } from '../identity/chainJudge.ts';
import type { ClientTrust } from '../identity/clientTrust.ts';
import type { Peers } from '../processes/peers.ts';
import type { Revocations } from '../revocation/revocations.ts';
import { alarmEndModels, alarmEnds } from './alarmEnds.ts';
import type { PeerAnswers } from './peerAnswers.ts';

/** Everything about devices in the field, wired once per process. */

export type Field = {
  /** To the machines that are connected to any process. */
  readonly channel: DeviceChannel;
  readonly attachments: Attachments;
  readonly gatewayBundles: GatewayBundles;
  readonly attestation: Attestation;
  readonly delivery: OtaDelivery;
  /** Of the devices that are connected to any process. */
  readonly files: OtaFiles;
  readonly decommissions: Decommissions;
  readonly rollouts: Rollouts;
  readonly presence: Presence;
  readonly bridge: Bridge;
  /** Records a hello, and has the rest done behind it: standing orders, proof, standing offers.
   *  @param introduction of a device on a connection of its own
   *  @throws NusecError as receiveHello */
  hello(uid: string, hello: Hello, via: string, introduction?: Introduction): Promise<void>;
  close(): Promise<void>;
};

export type FieldParts = {
  readonly ctx: Context;
  readonly alarms: Alarms;
  readonly revocations: Revocations;
  readonly trust: ClientTrust;
  /** To the machines that are connected to this process. */
  readonly channel: DeviceChannel;
  readonly peers: Peers<PeerAnswers>;
  readonly attestations: AttestationLog;
  /** SPDM exchanges in parallel; default: 64. */
  readonly spdmQueue?: QueueLimits;
  /** Over the defaults. */
  readonly otaLimits?: Partial<ByteLimits>;
};

/** SPDM exchanges in parallel with devices that answer; beyond it devices wait. */
const spdmQueueLimits: QueueLimits = { maxRunning: 64, maxWaiting: 20_000 };
const sweepPauseMs = 60_000;
/** Devices whose last hello is remembered. */
const maxHellos = 200_000;
/** How often devices that stay connected are looked at: their certificates may have come into the last third of their lives. */
const renewalPauseMs = hourMs;

/** Verdicts of a gateway count up over all processes, also of other machines: one that has come to another does not count here again. */
function withSharedSequences(own: AttestationLog, peers: Pick<Peers<PeerAnswers>, 'notify' | 'onNotice'>): AttestationLog {
  const topic = 'verdict sequence';
  peers.onNotice<Parameters<AttestationLog['noteSequence']>>(topic, args => own.noteSequence(...args));
  return {
    ...own,
    noteSequence(...args) {
      own.noteSequence(...args);
      peers.notify(topic, args);
    },
  };
}

export const startField = (parts: FieldParts): Promise<Field> => opening(own => openField(own, parts));

async function openField(own: Own, parts: FieldParts): Promise<Omit<Field, 'close'>> {
  const { ctx, alarms, channel, peers, revocations, trust } = parts;
  const attestations = withSharedSequences(parts.attestations, peers);
  const cluster = createClusterChannel(channel, peers);
  const attachments = own('attachments', await startAttachments(ctx));
  const gatewayBundles = own('gateway bundles', startGatewayBundles({ ctx, revocations, attachments }));
  const queue = createPerDeviceQueue(parts.spdmQueue ?? spdmQueueLimits);
  const chainJudge = createChainJudge(ctx, revocations, trust);
  const reach = { ...cluster, isConnected: channel.isConnected };
  const said = lru<Pick<Hello, 'imageHash' | 'imageState'>>(maxHellos);
  const saidState = (uid: string, imageHash: string) => (said.get(uid)?.imageHash === imageHash ? said.get(uid)?.imageState : undefined);
  const ownAttestation = createAttestation({ ctx, alarms, channel: reach, attachments, chainJudge, queue, attestations, saidState });
  const attestation = createClusterAttestation(ownAttestation, channel, peers);
  const images = createOtaImages(ctx, alarms);
  const ota = own('deliveries', createOtaDelivery({ ctx, channel, chainJudge, queue, images, limits: parts.otaLimits }));
  const decommissions = createDecommissions({ ctx, alarms, channel: cluster, revocations });
  const connected = createConnectedDevices(channel);
  const bundles = own('device bundles', startDeviceBundles({ ctx, alarms, channel, connected }));
  const care = own('delivery care', startDeliveryCare({ ctx, channel, attestation, decommissions, delivery: ota }));
  const rollouts = own('rollouts', await startRollouts({ ctx, alarms, care, images }));
  own('recalls', startRecallWatch({ ctx, alarms }));
  own('alarm ends', startAlarmEnds(ctx, alarmEnds, alarmEndModels));
  /** Devices that ask or install are served. */
  const delivery: OtaDelivery = {
    ...ota,
    deliver(uid, cid) {
      care.note([uid]);
      return ota.deliver(uid, cid);
    },
    block(uid, ...rest) {
      care.active(uid);
      return ota.block(uid, ...rest);
    },
  };
  const files = createOtaFiles(delivery);
  peers.serve({
    order: channel.order,
    attestThroughGateway: channel.attestThroughGateway,
    attest: ownAttestation.attest,
    ...fileAnswers(files),
  });
  const confirmed = (hello: Hello): boolean => hello.imageState === 'confirmed';

  const logFailure = (uid: string) => (error: unknown) =>
    ctx.log.info({ uid, error: (error as Error).message }, 'work after a hello has stopped');
  own('decommission sweep', repeatedly(sweepPauseMs, decommissions.sweep, logFailure('sweep')));
  const remind = (uid: string, known?: LivingDevice): Promise<void> =>
    remindOfRenewal(ctx, connected, channel, uid, known).catch(logFailure(uid));
  const remindAll = (): Promise<unknown> => Promise.all([...connected.uids()].map(uid => remind(uid)));
  own('renewal reminders', repeatedly(renewalPauseMs, remindAll, logFailure('renewal reminders')));
  return {
    channel: cluster,
    attachments,
    gatewayBundles,
    attestation,
    delivery,
    files: createClusterFiles(files, channel, peers),
    decommissions,
    rollouts,
    presence: own('presence', createPresence(alarms, peers)),
    bridge: createBridge({ ctx, alarms, attachments, attestation, decommissions, delivery }),
    async hello(uid, hello, via, introduction) {
      const { state, needsProof } = await receiveHello(ctx, alarms, uid, hello, via);
      if (via === 'mqtt') said.set(uid, { imageHash: hello.imageHash, imageState: hello.imageState });
      delivery.forget(uid);
      if (confirmed(hello)) await delivery.noteHello(state, hello.imageHash);
      if (introduction !== undefined) connected.note(uid, introduction);
      const work = [care.greet(uid, hello, needsProof, state), bundles.follow(uid)].map(each => each.catch(logFailure(uid)));
      // A new certificate is a new connection, so it comes last; and nothing is renewed while an image is on trial.
      const isAsRead = !needsProof && !hasOutstanding(state) && introduction?.trust === undefined;
      if (confirmed(hello)) void Promise.all(work).then(() => remind(uid, isAsRead ? state : undefined));
    },
  };
}
