import { device, deviceStream } from '../../domain/device.ts';
import { requireConnectable } from '../../domain/deviceField.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { NusecError } from '../../errors.ts';
import type { Alarms } from '../base/alarms.ts';
import { type Context, execute } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';

/** The first message of a connection: what the device says of itself. Nothing of it is believed, but a lower version or counter than was ever
 *  proven is a suspicion (T8, T12), and something new is a reason to attest. On a connection of its own the device has shown its key. A gateway
 *  has not: what it says in a device's name neither quarantines the device nor puts it into service; the attestation that follows does (T20). */

export type Hello = {
  readonly version: string;
  readonly securityCounter: number;
  /** hex */
  readonly imageHash: string;
  readonly imageState: 'confirmed' | 'testing';
  readonly objId: string;
};

const by = 'system:clone-detector';

/** @param via `mqtt` or `gateway:{id}`
 *  @returns the device after it, and whether it has to prove its state
 *  @throws NusecError NOT_FOUND, DEVICE_STATE (I11: revoked, decommissioned, scrapped: an alarm too), BAD_REQUEST */
export async function receiveHello(
  ctx: Context,
  alarms: Alarms,
  uid: string,
  hello: Hello,
  via: string,
): Promise<{ readonly state: LivingDevice; readonly needsProof: boolean }> {
  const before = await livingDevice(ctx, uid);
  await refuseOutOfUse(alarms, before);
  const stream = deviceStream(uid);
  const { version, securityCounter, imageHash } = hello;
  const byGateway = via !== 'mqtt';
  await execute(ctx, device, stream, { type: 'ReportFirmware', version, securityCounter, imageHash, byGateway }, by);
  if (hello.objId !== before.objId) {
    const evidence = `reported registration ${hello.objId}`;
    await execute(ctx, device, stream, { type: 'SuspectClone', reason: 'other-registration', evidence, by, byGateway }, by);
  }
  if (!byGateway) await execute(ctx, device, stream, { type: 'ConnectDevice', via }, `device:${uid}`);
  const state = await livingDevice(ctx, uid);
  return { state, needsProof: needsProof(state, hello) || (byGateway && state.status === 'STOCK') };
}

/** Silence 18: a device that was taken out of use and reappears. */
async function refuseOutOfUse(alarms: Alarms, state: LivingDevice): Promise<void> {
  try {
    requireConnectable(state);
  } catch (error) {
    if (error instanceof NusecError)
      await alarms.raise({ code: 'OUT_OF_USE_SEEN', subject: state.uid, detail: `said hello as ${state.status}` });
    throw error;
  }
}

function needsProof(state: LivingDevice, hello: Hello): boolean {
  const neverPassed = state.attestation?.passed !== true;
  return neverPassed || state.offer !== undefined || hello.imageHash !== state.firmware?.imageHash;
}
