import { encodeMessage, malformed, openMessage, u8, u16, u32 } from '../codec.ts';
import { capability, requestCode, responseCode } from '../constants.ts';

/** GET_CAPABILITIES and CAPABILITIES (DSP0274 §10.3): the same body both ways; the two sizes exist since 1.2. */

export type Capabilities = {
  readonly flags: number;
  /** CT: the responder's longest cryptographic time is 2^ctExponent µs. */
  readonly ctExponent: number;
  readonly dataTransferBytes: number;
  readonly maxMessageBytes: number;
};

/** MinDataTransferSize (DSP0274 §10.3, since 1.2). */
export const minDataTransferBytes = 42;

/** In 1.0 the request has no body. */
export const encodeGetCapabilities = (version: number, own: Capabilities): Uint8Array =>
  version < 0x11 ? encodeMessage(version, requestCode.getCapabilities, 0, 0) : encode(version, requestCode.getCapabilities, own);
export const encodeCapabilities = (version: number, own: Capabilities): Uint8Array => encode(version, responseCode.capabilities, own);

/** @throws SPDM_MALFORMED */
export function decodeGetCapabilities(bytes: Uint8Array): Capabilities {
  if (bytes[0] !== 0x10) return decode(bytes, requestCode.getCapabilities, 'GET_CAPABILITIES');
  openMessage(bytes, requestCode.getCapabilities, 'GET_CAPABILITIES').body.end();
  return { flags: 0, ctExponent: 0, dataTransferBytes: 0, maxMessageBytes: 0 };
}
/** @throws SPDM_MALFORMED */
export const decodeCapabilities = (bytes: Uint8Array): Capabilities => decode(bytes, responseCode.capabilities, 'CAPABILITIES');

function encode(version: number, code: number, own: Capabilities): Uint8Array {
  const sizes = version >= 0x12 ? [u32(own.dataTransferBytes), u32(own.maxMessageBytes)] : [];
  return encodeMessage(version, code, 0, 0, u8(0), u8(own.ctExponent), u16(0), u32(own.flags), ...sizes);
}

function decode(bytes: Uint8Array, code: number, what: string): Capabilities {
  const { version, body } = openMessage(bytes, code, what);
  body.u8();
  const ctExponent = body.u8();
  body.u16();
  const flags = body.u32();
  const sized = version >= 0x12;
  const dataTransferBytes = sized ? body.u32() : 0;
  const maxMessageBytes = sized ? body.u32() : 0;
  body.end();
  if (sized && (dataTransferBytes < minDataTransferBytes || maxMessageBytes < dataTransferBytes)) throw malformed(`${what}: sizes`);
  return { flags, ctExponent, dataTransferBytes, maxMessageBytes };
}

/** Flags that exist in each version; later ones are not to be sent. */
const knownFlags: Readonly<Record<number, number>> = { 16: 0x3f, 17: 0x1ffff, 18: 0x3fffff, 19: 0x3fffffff };

/** What a side with these capabilities says in that version: known flags only, and without CHUNK no message longer than one transfer. */
export function capabilitiesFor(version: number, own: Capabilities): Capabilities {
  const flags = (own.flags & (knownFlags[version] ?? 0xffffffff)) >>> 0;
  const { dataTransferBytes } = own;
  if (version < 0x12) return { ...own, flags };
  const maxMessageBytes = flags & capability.chunk ? Math.max(own.maxMessageBytes, dataTransferBytes) : dataTransferBytes;
  return { ...own, flags, maxMessageBytes };
}

/** Whether a requester's flags and sizes contradict each other (DSP0274 §10.3, "requester flag fields").
 *  @param version negotiated; 1.0 has no flags */
export function contradicts(version: number, { flags, dataTransferBytes, maxMessageBytes }: Capabilities): boolean {
  if (version < 0x11) return false;
  const has = (bits: number): boolean => (flags & bits) !== 0;
  const sessions = has(capability.keyExchange | capability.psk);
  const needsSessions = capability.encrypt | capability.mac | capability.heartbeat | capability.keyUpdate | capability.handshakeInTheClear;
  const needsIdentity = capability.challenge | capability.mutualAuthentication;
  return (
    (sessions ? !has(capability.encrypt | capability.mac) : has(needsSessions)) ||
    has(capability.pskWithContext) ||
    (has(capability.handshakeInTheClear) && !has(capability.keyExchange)) ||
    (has(needsIdentity) && !has(capability.certificate | capability.publicKeyId)) ||
    (has(capability.certificate) && has(capability.publicKeyId)) ||
    (version === 0x11 && has(capability.mutualAuthentication) && !has(capability.encapsulated)) ||
    (version >= 0x13 && contradictsSince13(flags, sessions)) ||
    (version >= 0x12 && !has(capability.chunk) && dataTransferBytes !== maxMessageBytes)
  );
}

/** Reserved values, several keys without certificates, events without sessions. */
function contradictsSince13(flags: number, sessions: boolean): boolean {
  const { multiKey, endpointInfo, certificate, event } = capability;
  const reserved = (flags & multiKey) === multiKey || (flags & endpointInfo) === endpointInfo;
  return reserved || ((flags & multiKey) !== 0 && !(flags & certificate)) || ((flags & event) !== 0 && !sessions);
}
