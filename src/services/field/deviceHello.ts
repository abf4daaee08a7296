import type { Actor } from '../../domain/actor.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { DeviceCommand } from '../../domain/deviceCommands.ts';
import { isBelowRegistry, requireConnectable } from '../../domain/deviceField.ts';
import { isBeingBuilt } from '../../domain/deviceManufacture.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { NusecError } from '../../errors.ts';
import type { Alarms } from '../base/alarms.ts';
import { type Context, execute } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';
import { blameGateway } from './gatewayFaults.ts';

/** The first message of a connection: what the device says of itself. Nothing of it is trusted, but a lower version or counter than was ever
 *  proven is a suspicion (T8, T12), and something new is a reason to attest. On a connection of its own the device has shown its key. A gateway
 *  has not: what it says in a device's name changes nothing about the device, and is held against the gateway when it contradicts what was proven;
 *  the attestation that follows decides (T20). */

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
  const gatewayId = gatewayOf(via);
  const contradicted = gatewayId === undefined ? [] : [...contradictions(before, hello)];
  if (gatewayId !== undefined)
    for (const detail of contradicted) await blameGateway({ ctx, alarms }, gatewayId, 'hello', { uid, ...detail });
  const state = gatewayId === undefined ? await recordHello(ctx, before, hello, via) : before;
  return {
    state,
    needsProof: needsProof(state, hello) || contradicted.length > 0 || (gatewayId !== undefined && state.status === 'STOCK'),
  };
}

/** What a device says on a connection of its own, as far as it is new. */
async function recordHello(ctx: Context, before: LivingDevice, hello: Hello, via: string): Promise<LivingDevice> {
  const { version, securityCounter, imageHash, objId } = hello;
  const evidence = `reported registration ${objId}`;
  const reported = await recordNews(ctx, before, { type: 'ReportFirmware', version, securityCounter, imageHash }, by);
  const known =
    objId === before.objId
      ? reported
      : await recordNews(ctx, reported, { type: 'SuspectClone', reason: 'other-registration', evidence, by }, by);
  return recordNews(ctx, known, { type: 'ConnectDevice', via }, `device:${before.uid}`);
}

/** Most hellos repeat what is known: a command that leads to nothing in the state that was just read needs no second look at the log. After a storm
 *  that is half of what a hello costs. @returns the state after it */
async function recordNews(ctx: Context, state: LivingDevice, command: DeviceCommand, as: Actor): Promise<LivingDevice> {
  if (device.decide(command, state).length === 0) return state;
  const { state: after } = await execute(ctx, device, deviceStream(state.uid), command, as);
  return after.status === 'NONE' ? state : after;
}

/** Silence 18: a device that was taken out of use and reappears. A unit whose application starts before production commits it is only early: it
 *  is refused, connects again, and nobody has to look. */
async function refuseOutOfUse(alarms: Alarms, state: LivingDevice): Promise<void> {
  try {
    requireConnectable(state);
  } catch (error) {
    if (error instanceof NusecError && !isBeingBuilt(state))
      await alarms.raise({ code: 'OUT_OF_USE_SEEN', subject: state.uid, detail: `said hello as ${state.status}` });
    throw error;
  }
}

const gatewayPrefix = 'gateway:';
const gatewayOf = (via: string): string | undefined => (via.startsWith(gatewayPrefix) ? via.slice(gatewayPrefix.length) : undefined);

/** What a gateway says in the name of a device and what is proved otherwise. */
function* contradictions(state: LivingDevice, { version, securityCounter, imageHash, objId }: Hello) {
  if (objId !== state.objId) yield { code: 'other-registration', detail: `said registration ${objId}` };
  if (isBelowRegistry(state, { version, securityCounter, imageHash }))
    yield { code: 'firmware-below-registry', detail: `said ${version}, counter ${securityCounter}` };
}

function needsProof(state: LivingDevice, hello: Hello): boolean {
  const neverPassed = state.attestation?.passed !== true;
  return neverPassed || state.offer !== undefined || hello.imageHash !== state.firmware?.imageHash;
}
