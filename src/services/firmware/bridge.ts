import { fromHex } from '../../bytes.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { UpgradePhase } from '../../domain/deviceEvents.ts';
import { requireConnectable } from '../../domain/deviceField.ts';
import { currentCertificate, type LivingDevice, offersOf } from '../../domain/deviceState.ts';
import { programmer, programmerStream, requireActiveProgrammer } from '../../domain/programmer.ts';
import { NusecError } from '../../errors.ts';
import { upgradeProofNonce } from '../../production/upgradeProof.ts';
import type { Parts } from '../base/alarms.ts';
import { asked } from '../base/askedDevices.ts';
import { type Context, execute, stateOf } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';
import type { Attachments } from '../field/attachments.ts';
import type { Attestation } from '../field/attestation.ts';
import type { Decommissions } from '../field/decommission.ts';
import { type WiredIdentity, wiredIdentity } from '../field/wiredIdentity.ts';
import type { Machine } from '../identity/machines.ts';
import type { OtaDelivery } from './otaDelivery.ts';
import type { PreparedJob } from './otaImage.ts';

/** Firmware and orders for devices that a programmer or a gateway has on its wires (R87, R96): the same offer, the same signed job and the same
 *  evidence as over the device's own connection. The messenger can bring nothing that the device has not signed, and what it says of the device
 *  ends no upgrade. */

export type Bridge = {
  /** What is outstanding for the device on the wire. */
  look(machine: Machine, uid: string): Promise<Standing>;
  /** The image's body: the same for all devices of a release. */
  body(machine: Machine, uid: string, otaJobId: string): Promise<Uint8Array>;
  /** How far the messenger is: its word is kept, and moves nothing. A refusal is recorded where it concerns the counter; the offer remains. */
  report(machine: Machine, uid: string, otaJobId: string, report: Report): Promise<void>;
  /** Evidence for `upgradeProofNonce(otaJobId)` that shows the image of this job; what has ended the upgrade counts once.
   *  @throws NusecError ATTESTATION_FAILED when it proves nothing, STATE when the device has no such job */
  prove(machine: Machine, uid: string, otaJobId: string, evidence: Uint8Array): Promise<{ readonly result: string }>;
  /** The standing order to wipe, signed for this nonce of the device. @throws NusecError NOT_FOUND */
  order(machine: Machine, uid: string, nonce: Uint8Array): Promise<Uint8Array>;
  /** The device's receipt for that order. One that proves nothing raises an alarm that names the device and the messenger. */
  receipt(machine: Machine, uid: string, order: Uint8Array, receipt: Uint8Array): Promise<void>;
};

export type Report = { readonly status: UpgradePhase } | { readonly status: 'refused'; readonly code: string };

type Standing = {
  readonly identity: WiredIdentity;
  readonly isOrdered: boolean;
  readonly job?: { readonly signed: Uint8Array; readonly bodySha256: string; readonly trailer: Uint8Array };
};

type BridgeParts = Parts & {
  readonly attachments: Attachments;
  readonly attestation: Attestation;
  readonly decommissions: Decommissions;
  readonly delivery: OtaDelivery;
};

export function createBridge({ ctx, alarms, attachments, attestation, decommissions, delivery }: BridgeParts): Bridge {
  const connectable = async (uid: string): Promise<LivingDevice> => {
    const state = await livingDevice(ctx, uid);
    requireConnectable(state);
    return state;
  };
  /** @throws NusecError FORBIDDEN (not attached to this gateway), PROGRAMMER_NOT_ACTIVE, DEVICE_STATE, RATE_LIMITED */
  const allowed = async (machine: Machine, uid: string): Promise<LivingDevice> => {
    if (machine.kind === 'gateway') {
      attachments.requireKnown();
      if (!attachments.isAttached(machine.id, uid)) throw new NusecError('FORBIDDEN', `${uid} is not attached to this gateway`);
      return connectable(uid);
    }
    requireActiveProgrammer(await stateOf(ctx, programmer, programmerStream(machine.id)));
    return asked({ ctx, alarms }, machine.id, uid, () => connectable(uid));
  };
  const jobOf = async (uid: string, otaJobId: string): Promise<PreparedJob> => {
    const prepared = await delivery.prepared(uid);
    if (prepared?.offerId !== otaJobId) throw new NusecError('STATE', 'this job does not stand any more: look again');
    return prepared;
  };
  return {
    async look(machine, uid) {
      const state = await allowed(machine, uid);
      const isOrdered = state.decommissionOrderSha256 !== undefined;
      const prepared = isOrdered ? undefined : await delivery.prepared(uid);
      const job = prepared && {
        signed: prepared.signed,
        bodySha256: prepared.bodySha256,
        trailer: prepared.delivery.trailer,
      };
      return { identity: await identityOf(ctx, state), isOrdered, ...(job && { job }) };
    },
    async body(machine, uid, otaJobId) {
      await allowed(machine, uid);
      return (await jobOf(uid, otaJobId)).delivery.body;
    },
    async report(machine, uid, otaJobId, report) {
      const { offer } = await allowed(machine, uid);
      const by = `${machine.kind}:${machine.id}` as const;
      if (report.status !== 'refused') {
        await execute(ctx, device, deviceStream(uid), { type: 'AnnounceUpgrade', offerId: otaJobId }, by);
        return;
      }
      ctx.log.info({ uid, machine: machine.id, code: report.code }, 'an upgrade over a wire was refused');
      if (offer?.offerId !== otaJobId || report.code !== 'ROLLBACK') return;
      const { releaseId, version, securityCounter } = offer;
      const hop = machine.kind === 'gateway' ? 'gateway' : 'programmer';
      const refusal = { type: 'RecordRollbackRefusal', releaseId, version, securityCounter, hop } as const;
      await execute(ctx, device, deviceStream(uid), refusal, by);
    },
    async prove(machine, uid, otaJobId, evidence) {
      const state = await allowed(machine, uid);
      if (state.upgradedOfferId === otaJobId) return { result: 'passed' };
      // The nonce follows from the job: evidence for any other could have been made at any time, and be shown again and again.
      const proven = offersOf(state).find(({ offerId }) => offerId === otaJobId);
      if (proven === undefined) throw new NusecError('STATE', 'the device has no such job: look again');
      const way = machine.kind === 'gateway' ? ({ via: 'gateway', gatewayId: machine.id } as const) : wayOf(machine);
      return attestation.brought(uid, way, upgradeProofNonce(fromHex(otaJobId)), evidence, proven.imageHashes);
    },
    async order(machine, uid, nonce) {
      await allowed(machine, uid);
      return decommissions.orderFor(uid, nonce);
    },
    async receipt(machine, uid, order, receipt) {
      await allowed(machine, uid);
      await decommissions.receive(uid, receipt, { order, messenger: `${machine.kind}:${machine.id}` });
    },
  };
}

const wayOf = ({ id }: Machine) => ({ via: 'programmer', programmer: id }) as const;

async function identityOf(ctx: Context, state: LivingDevice): Promise<WiredIdentity> {
  const own = currentCertificate(state);
  if (own === undefined) throw new NusecError('DEVICE_STATE', 'the device has no certificate');
  return wiredIdentity(ctx, state, own);
}
