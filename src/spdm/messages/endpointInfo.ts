import { encodeMessage, malformed, openMessage, openReader, u8, u24, u32 } from '../codec.ts';
import { nonceBytes, requestCode, responseCode } from '../constants.ts';

/** GET_ENDPOINT_INFO and ENDPOINT_INFO (DSP0274 §10.22, since 1.3): what kind of device the responder is, signed where that is asked for. */

/** SubCode of the one kind of information that there is. */
export const deviceClassIdentifier = 1;
const signatureRequested = 0x01;
const slotBits = 0x0f;
/** Longest information that is read. */
const maxInfoBytes = 16 * 1024;

type GetEndpointInfo = {
  readonly subCode: number;
  /** Slot whose key signs, 15 for a provisioned one; and the nonce of the requester, 32 bytes. */
  readonly signed?: { readonly slot: number; readonly nonce: Uint8Array };
};

export function encodeGetEndpointInfo(version: number, { subCode, signed }: GetEndpointInfo): Uint8Array {
  const head = [u8(signed ? signatureRequested : 0), u24(0)];
  return encodeMessage(version, requestCode.getEndpointInfo, subCode, signed?.slot ?? 0, ...head, ...(signed ? [signed.nonce] : []));
}

/** @throws SPDM_MALFORMED */
export function decodeGetEndpointInfo(bytes: Uint8Array): GetEndpointInfo {
  const { param1, param2, body } = openMessage(bytes, requestCode.getEndpointInfo, 'GET_ENDPOINT_INFO');
  const attributes = body.u8();
  body.take(3);
  const signed = (attributes & signatureRequested) === 0 ? undefined : { slot: param2 & slotBits, nonce: body.take(nonceBytes) };
  body.end();
  return { subCode: param1, ...(signed && { signed }) };
}

type EndpointInfo = {
  readonly info: Uint8Array;
  /** Of a signed one: 32 random bytes of the responder, and the slot of the key. */
  readonly signed?: { readonly slot: number; readonly nonce: Uint8Array };
};

/** Without its signature. */
export function encodeEndpointInfo(version: number, { info, signed }: EndpointInfo): Uint8Array {
  return encodeMessage(
    version,
    responseCode.endpointInfo,
    0,
    signed?.slot ?? 0,
    u32(0),
    ...(signed ? [signed.nonce] : []),
    u32(info.length),
    info,
  );
}

/** @param signatureBytes 0 for one that is not signed @throws SPDM_MALFORMED */
export function decodeEndpointInfo(bytes: Uint8Array, signatureBytes: number): EndpointInfo & { readonly signature: Uint8Array } {
  const { param2, body } = openMessage(bytes, responseCode.endpointInfo, 'ENDPOINT_INFO');
  body.take(4);
  const signed = signatureBytes === 0 ? undefined : { slot: param2 & slotBits, nonce: body.take(nonceBytes) };
  const length = body.u32();
  if (length > maxInfoBytes) throw malformed('ENDPOINT_INFO: too long');
  const info = body.take(length);
  const signature = body.take(signatureBytes);
  body.end();
  return { info, signature, ...(signed && { signed }) };
}

export type DeviceClass = {
  /** Registry of the vendor id (DSP0274 table "Registry or standards body ID"), the id itself, and what the vendor calls the kind, the most general first. */
  readonly registry: number;
  readonly vendorId: Uint8Array;
  readonly subordinates: readonly Uint8Array[];
};

const what = 'device class';

/** Identifiers of the kind of device. @throws SPDM_MALFORMED */
export function decodeDeviceClasses(info: Uint8Array): readonly DeviceClass[] {
  const outer = openReader(info, what);
  const count = outer.u8();
  outer.take(3);
  const classes = Array.from({ length: count }, () => {
    const element = openReader(outer.take(outer.u8()), what);
    const registry = element.u8();
    const vendorId = element.take(element.u8()).slice();
    const subordinates = Array.from({ length: element.u8() }, () => element.take(element.u8()).slice());
    element.end();
    return { registry, vendorId, subordinates };
  });
  outer.end();
  return classes;
}
