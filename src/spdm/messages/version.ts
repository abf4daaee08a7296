import { concat } from '../../bytes.ts';
import { encodeMessage, malformed, openMessage, u8, u16 } from '../codec.ts';
import { discoveryVersion, requestCode, responseCode, type SpdmVersion, spdmVersions } from '../constants.ts';

/** GET_VERSION and VERSION (DSP0274 §10.2). */

export function encodeGetVersion(): Uint8Array {
  return encodeMessage(discoveryVersion, requestCode.getVersion, 0, 0);
}

/** @throws SPDM_MALFORMED */
export function decodeGetVersion(bytes: Uint8Array): void {
  const { version, body } = openMessage(bytes, requestCode.getVersion, 'GET_VERSION');
  body.end();
  if (version !== discoveryVersion) throw malformed('GET_VERSION: not version 1.0');
}

/** One u16 entry each: the SPDMVersion byte in the high half, update and alpha number (0) in the low half. */
export function encodeVersion(versions: readonly SpdmVersion[]): Uint8Array {
  const entries = versions.map(version => u16(version << 8));
  return encodeMessage(discoveryVersion, responseCode.version, 0, 0, u8(0), u8(entries.length), concat(...entries));
}

/** @returns the versions that we know, in the responder's order; alpha entries are left out  @throws SPDM_MALFORMED */
export function decodeVersion(bytes: Uint8Array): readonly SpdmVersion[] {
  const { version, body } = openMessage(bytes, responseCode.version, 'VERSION');
  if (version !== discoveryVersion) throw malformed('VERSION: not version 1.0');
  body.u8();
  const count = body.u8();
  const released: number[] = [];
  for (let i = 0; i < count; i += 1) {
    const entry = body.u16();
    if ((entry & 0xf) === 0) released.push(entry >>> 8);
  }
  body.end();
  return spdmVersions.filter(known => released.includes(known));
}
