import type { CodecType } from '../../cbor/schema.ts';
import type { attestMessage } from '../../mqttMessages.ts';
import type { Answer } from '../base/perDeviceQueue.ts';

/** What a device trusts, in its own words. */
export type TrustState = {
  /** Of its trust bundle; 0 for none. */
  readonly bundleVersion: number;
  /** SHA-256 of the root certificates it trusts, hex, the one that should sign first. */
  readonly roots: readonly string[];
};

/** What a gateway is to ask a device for; what is absent is as by default. */
export type AskedPolicy = Pick<CodecType<typeof attestMessage>, 'leastVersion' | 'signatures' | 'publicKey' | 'evidence'>;

/** The way from a service to a connected machine. The gateway (MQTT) provides it; services never know topics or sockets. */
export type DeviceChannel = {
  /** Whether the device has a connection of its own. */
  isConnected(uid: string): boolean;
  isGatewayConnected(gatewayId: string): boolean;
  /** One SPDM message or record to the device and its answer, each with its type byte (05 clear, 06 secured) in front.
   *  @throws NusecError DEVICE_UNREACHABLE when there is no answer in time */
  spdm(uid: string, message: Uint8Array): Promise<Uint8Array>;
  /** Asks for a PSA attestation token. @param nonce 32 bytes
   *  @throws NusecError DEVICE_UNREACHABLE: no answer, or no token now; EVIDENCE_UNSUPPORTED: the device says that it gives none */
  eat(uid: string, nonce: Uint8Array): Promise<Uint8Array>;
  /** Asks a gateway to attest a device behind it. @param nonce 32 bytes @param policy what the device is to be asked for
   *  @returns encoded Evidence and the gateway's signed verdict
   *  @throws NusecError DEVICE_UNREACHABLE: no answer of the gateway, or the gateway got none of the device; SPDM_UNSUPPORTED, EVIDENCE_UNSUPPORTED: it says
   *  that the device does not speak what was asked; EVIDENCE_MALFORMED: its answer cannot be read */
  attestThroughGateway(
    gatewayId: string,
    uid: string,
    nonce: Uint8Array,
    policy: AskedPolicy,
  ): Promise<{ readonly evidence: Uint8Array; readonly verdict: Uint8Array }>;
  /** Sends a signed order and waits for the device's signed receipt.
   *  @throws NusecError DEVICE_UNREACHABLE, ORDER_REFUSED when the device says no */
  order(uid: string, order: Uint8Array): Promise<Uint8Array>;
  /** Gives a device a trust bundle. @returns what it trusts then, and why it did not take the bundle
   *  @throws NusecError DEVICE_UNREACHABLE */
  trust(uid: string, bundle: Uint8Array): Promise<TrustState & { readonly error?: string }>;
  /** Asks a device to request its next operational certificate. False when it is not connected. */
  remindOfRenewal(uid: string, serialHex: string): Promise<boolean>;
  /** Announces to a device that there is a job for it, or none any more. False when it is not connected: it will ask.
   *  @param cid of the question this answers; undefined when nobody asked
   *  @param cancelled id of a job that has ended, hex: the device forgets it */
  offerJob(uid: string, job: Uint8Array | null, cid?: number, cancelled?: string): Promise<boolean>;
};

/** The channel for work that has a place in a queue: while a device or gateway thinks, others may work. */
export const answeredThrough = (channel: DeviceChannel, answer: Answer): DeviceChannel => ({
  ...channel,
  spdm: (...question) => answer(channel.spdm(...question)),
  eat: (...question) => answer(channel.eat(...question)),
  attestThroughGateway: (...question) => answer(channel.attestThroughGateway(...question)),
});
