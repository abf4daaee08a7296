import { encodeMessage, openMessage, u8, u16 } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';

/** VENDOR_DEFINED_REQUEST and VENDOR_DEFINED_RESPONSE (DSP0274 §10.23). */

export type VendorDefined = {
  /** Registry of the vendor id (DSP0274, table "Registry or standards body ID"): 4 = IANA enterprise number, 4 bytes. */
  readonly registry: number;
  readonly vendorId: Uint8Array;
  readonly payload: Uint8Array;
};

export const encodeVendorRequest = (version: number, message: VendorDefined): Uint8Array =>
  encode(version, requestCode.vendorDefined, message);
export const encodeVendorResponse = (version: number, message: VendorDefined): Uint8Array =>
  encode(version, responseCode.vendorDefined, message);
/** @throws SPDM_MALFORMED */
export const decodeVendorRequest = (bytes: Uint8Array): VendorDefined => decode(bytes, requestCode.vendorDefined);
/** @throws SPDM_MALFORMED */
export const decodeVendorResponse = (bytes: Uint8Array): VendorDefined => decode(bytes, responseCode.vendorDefined);

function encode(version: number, code: number, message: VendorDefined): Uint8Array {
  const { registry, vendorId, payload } = message;
  return encodeMessage(version, code, 0, 0, u16(registry), u8(vendorId.length), vendorId, u16(payload.length), payload);
}

function decode(bytes: Uint8Array, code: number): VendorDefined {
  const { body } = openMessage(bytes, code, 'VENDOR_DEFINED');
  const registry = body.u16();
  const vendorId = body.take(body.u8());
  const payload = body.take(body.u16());
  body.end();
  return { registry, vendorId, payload };
}
