import type { Alarms } from './alarms.ts';
import { type Attachments, startAttachments } from './attachments.ts';
import { type Attestation, createAttestation } from './attestation.ts';
import type { Context } from './context.ts';
import { createDecommissions, type Decommissions } from './decommission.ts';
import type { DeviceChannel } from './deviceChannel.ts';
import { type Hello, receiveHello } from './deviceHello.ts';
import { createDeviceTrust } from './deviceTrust.ts';
import { type GatewayTrust, startGatewayTrust } from './gatewayTrust.ts';
import { createVerdictSequences } from './gatewayVerdicts.ts';
import { createOtaDelivery, type OtaDelivery } from './otaDelivery.ts';
import { createOtaImages } from './otaImage.ts';
import type { Peers } from './peers.ts';
import type { Revocations } from './revocations.ts';
import { type Rollouts, startRollouts } from './rollouts.ts';
import type { Trust } from './trust.ts';
import { createTurns } from './turns.ts';
import { createWideAttestation, createWideChannel, type PeerAnswers } from './wideChannel.ts';

/** Everything about devices in the field, wired once per process. */

export type Field = {
  /** To the machines that are connected to any process. */
  readonly channel: DeviceChannel;
  readonly attachments: Attachments;
  readonly gatewayTrust: GatewayTrust;
  readonly attestation: Attestation;
  readonly delivery: OtaDelivery;
  readonly decommissions: Decommissions;
  readonly rollouts: Rollouts;
  /** Records a hello, and has the rest done behind it: standing orders, proof, standing offers.
   *  @throws NusecError as receiveHello */
  hello(uid: string, hello: Hello, via: string): Promise<void>;
  close(): Promise<void>;
};

export type FieldParts = {
  readonly ctx: Context;
  readonly alarms: Alarms;
  readonly revocations: Revocations;
  readonly trust: Trust;
  /** To the machines that are connected to this process. */
  readonly channel: DeviceChannel;
  readonly peers: Peers<PeerAnswers>;
};

/** SPDM exchanges under way at once; beyond it devices wait. */
const spdmTurns = { maxRunning: 64, maxWaiting: 20_000 };
const sweepPauseMs = 60_000;

export async function startField(parts: FieldParts): Promise<Field> {
  const { ctx, alarms, channel, peers, revocations, trust } = parts;
  const wide = createWideChannel(channel, peers);
  const attachments = await startAttachments(ctx);
  const gatewayTrust = startGatewayTrust({ ctx, revocations, attachments });
  const turns = createTurns(spdmTurns);
  const deviceTrust = createDeviceTrust(ctx, revocations, trust);
  const verdicts = createVerdictSequences();
  const reach = { ...wide, isConnected: channel.isConnected };
  const ownAttestation = createAttestation({ ctx, alarms, channel: reach, attachments, deviceTrust, turns, verdicts });
  const attestation = createWideAttestation(ownAttestation, channel, peers);
  peers.serve({ order: channel.order, attestThroughGateway: channel.attestThroughGateway, attest: ownAttestation.attest });
  const delivery = createOtaDelivery({ ctx, channel, deviceTrust, turns, images: createOtaImages(ctx, alarms) });
  const decommissions = createDecommissions({ ctx, alarms, channel: wide, revocations });
  const rollouts = await startRollouts({ ctx, alarms, delivery });
  const confirmed = (hello: Hello): boolean => hello.imageState === 'confirmed';

  const followUp = async (uid: string, hello: Hello, needsProof: boolean): Promise<void> => {
    if (await decommissions.resume(uid)) return;
    if (needsProof) await attestation.attest(uid, { confirmed: confirmed(hello) });
    await delivery.deliver(uid);
  };
  const told = (uid: string) => (error: unknown) =>
    ctx.log.info({ uid, error: (error as Error).message }, 'work after a hello has stopped');
  const sweep = setInterval(() => void decommissions.sweep().catch(told('sweep')), sweepPauseMs);
  sweep.unref();
  return {
    channel: wide,
    attachments,
    gatewayTrust,
    attestation,
    delivery,
    decommissions,
    rollouts,
    async hello(uid, hello, via) {
      const { needsProof } = await receiveHello(ctx, alarms, uid, hello, via);
      delivery.forget(uid);
      if (confirmed(hello)) await delivery.noteHello(uid, hello.imageHash);
      void followUp(uid, hello, needsProof).catch(told(uid));
    },
    async close() {
      clearInterval(sweep);
      await rollouts.close();
      await gatewayTrust.close();
      await attachments.close();
    },
  };
}
