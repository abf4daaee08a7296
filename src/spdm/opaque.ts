import { concat } from '../bytes.ts';
import { malformed, openReader, u8, u16 } from './codec.ts';
import { maxOpaqueBytes } from './constants.ts';
import { recordLimitExponent } from './record.ts';

/** Opaque data of KEY_EXCHANGE and PSK_EXCHANGE: which version of secured messages both sides speak (DSP0277 §5), and since 1.3 how many records each
 *  allows under one key; in the general format of SPDM 1.2 (DSP0274 §10.5, OpaqueDataFmt1) or in the table of DSP0277 for 1.1. */

/** Secured message versions as u16: 1.0 to 1.3. */
export const securedMessageVersions = [0x1000, 0x1100, 0x1200, 0x1300] as const;
/** The first one with a limit of records. */
const limitedSince = 0x1300;

/** "DMTF" in ASCII and version 1: the head of the 1.1 table. */
const dmtfSpecificationId = Uint8Array.of(0x46, 0x54, 0x4d, 0x44);
const dataVersion = 1;
const versionSelection = 0;
const supportedVersions = 1;
/** AeadLimitExponent, one byte: 2^exponent records under one key. */
const recordLimit = 2;
const maxLimitExponent = 64;
/** Registry DMTF, vendor id of length 0. */
const dmtfElement = Uint8Array.of(0, 0);

/** @throws SPDM_MALFORMED when longer than the specification allows (1024 bytes) */
export function checkedOpaque(opaque: Uint8Array, what: string): Uint8Array {
  if (opaque.length > maxOpaqueBytes) throw malformed(`${what}: opaque data too long`);
  return opaque;
}

export const encodeSupportedVersions = (general: boolean, versions: readonly number[]): Uint8Array =>
  made(`${general} ${versions.join()}`, () => {
    const list = concat(u8(dataVersion), u8(supportedVersions), u8(versions.length), ...versions.map(u16));
    return encodeElements(general, [list, ...limitFor(Math.max(...versions))]);
  });

export const encodeSelectedVersion = (general: boolean, version: number): Uint8Array =>
  made(`${general} of ${version}`, () =>
    encodeElements(general, [concat(u8(dataVersion), u8(versionSelection), u16(version)), ...limitFor(version)]),
  );

/** The few that there are, made once; nobody writes into them. */
const known = new Map<string, Uint8Array>();
const maxKnown = 64;

function made(id: string, make: () => Uint8Array): Uint8Array {
  const before = known.get(id);
  if (before !== undefined) return before;
  const bytes = make();
  if (known.size < maxKnown) known.set(id, bytes);
  return bytes;
}

const limitFor = (version: number): readonly Uint8Array[] =>
  version >= limitedSince ? [Uint8Array.of(dataVersion, recordLimit, recordLimitExponent)] : [];

/** @returns the versions offered; empty when there is no such element  @throws SPDM_MALFORMED */
export function decodeSupportedVersions(general: boolean, opaque: Uint8Array): readonly number[] {
  const element = findElement(general, opaque, supportedVersions);
  if (!element) return [];
  const reader = openReader(element, 'secured message versions');
  const versions = Array.from({ length: reader.u8() }, () => reader.u16());
  reader.end();
  return versions;
}

/** @throws SPDM_MALFORMED */
export function decodeSelectedVersion(general: boolean, opaque: Uint8Array): number | undefined {
  const element = findElement(general, opaque, versionSelection);
  if (!element) return undefined;
  const reader = openReader(element, 'secured message version');
  const version = reader.u16();
  reader.end();
  return version;
}

/** How many records both sides may send under one key: the smaller limit of both, from secured messages 1.3 on; ours before that.
 *  @param version of secured messages, as selected  @throws SPDM_MALFORMED for a limit that there is not */
export function decodeRecordLimit(general: boolean, opaque: Uint8Array, version: number): number {
  const element = version >= limitedSince ? findElement(general, opaque, recordLimit) : undefined;
  if (!element) return 2 ** recordLimitExponent;
  const reader = openReader(element, 'limit of records');
  const exponent = reader.u8();
  reader.end();
  if (exponent > maxLimitExponent) throw malformed('limit of records: above 2^64');
  return 2 ** Math.min(exponent, recordLimitExponent);
}

function encodeElements(general: boolean, elements: readonly Uint8Array[]): Uint8Array {
  const head = general ? Uint8Array.of(elements.length, 0, 0, 0) : concat(dmtfSpecificationId, Uint8Array.of(1, elements.length, 0, 0));
  return concat(head, ...elements.flatMap(data => [dmtfElement, u16(data.length), data, new Uint8Array(padding(data.length))]));
}

/** @returns what follows data version and data id in the first element with that id */
function findElement(general: boolean, opaque: Uint8Array, id: number): Uint8Array | undefined {
  if (opaque.length === 0) return undefined;
  const reader = openReader(opaque, 'opaque data');
  if (!general && !dmtfSpecificationId.every(byte => byte === reader.u8())) throw malformed('opaque data: not the DMTF table');
  if (!general) reader.u8();
  const count = reader.u8();
  reader.take(general ? 3 : 2);
  let found: Uint8Array | undefined;
  for (let i = 0; i < count; i += 1) {
    const registry = reader.u8();
    const vendor = reader.take(reader.u8());
    const data = reader.take(reader.u16());
    reader.take(padding(vendor.length + data.length));
    if (registry === 0 && data[0] === dataVersion && data[1] === id) found ??= data.subarray(2);
  }
  reader.end();
  return found;
}

/** Elements (4 bytes of head, vendor, data) are padded to a multiple of four. */
const padding = (length: number): number => -length & 3;
