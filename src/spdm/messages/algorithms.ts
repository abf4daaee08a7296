import { concat } from '../../bytes.ts';
import { encodeMessage, malformed, openMessage, type Reader, u8, u16, u32 } from '../codec.ts';
import { headerBytes, requestCode, responseCode } from '../constants.ts';

/** NEGOTIATE_ALGORITHMS and ALGORITHMS (DSP0274 §10.4): bit masks; the response has at most one bit in each. */

export type AlgorithmBits = {
  readonly measurementSpecification: number;
  readonly otherParams: number;
  readonly baseAsym: number;
  readonly baseHash: number;
  readonly mel: number;
  readonly dhe: number;
  readonly aead: number;
  readonly requesterAsym: number;
  readonly keySchedule: number;
  /** Post-quantum, since 1.4. */
  readonly pqcAsym?: number;
  readonly requesterPqcAsym?: number;
  readonly kem?: number;
};
export type SelectedBits = AlgorithmBits & { readonly measurementHash: number };

/** AlgType of the algorithm structures; each is type | 0x20 (2 bytes, no external algorithms) | u16. */
const structureTypes = { dhe: 2, aead: 3, requesterAsym: 4, keySchedule: 5, requesterPqcAsym: 6, kem: 7 } as const;
const classicTypes: readonly number[] = [2, 3, 4, 5];
const postQuantumTypes: readonly number[] = [6, 7];
const fixedTwoBytes = 0x20;
/** External algorithms in all, and bytes of the message: 1.0, and since 1.1. */
const requestLimits = { old: { externals: 8, bytes: 64 }, now: { externals: 20, bytes: 128 } } as const;

/** The last request for each offer: a verifier asks all its devices in the same words. */
const lastRequests = new WeakMap<AlgorithmBits, Uint8Array>();

/** A structure is there only when something is offered in it: none in 1.0, those of post-quantum algorithms since 1.4. */
export function encodeNegotiateAlgorithms(version: number, offer: AlgorithmBits): Uint8Array {
  const last = lastRequests.get(offer);
  if (last?.[0] === version) return last;
  const request = encodeOffer(version, offer);
  lastRequests.set(offer, request);
  return request;
}

function encodeOffer(version: number, offer: AlgorithmBits): Uint8Array {
  const newest = version >= 0x14;
  const types = version < 0x11 ? [] : [...classicTypes, ...(newest ? postQuantumTypes : [])];
  const structures = encodeStructures(
    offer,
    types.filter(type => bitsOf(offer, type) !== 0),
  );
  const body = concat(
    u8(offer.measurementSpecification),
    u8(offer.otherParams),
    u32(offer.baseAsym),
    u32(offer.baseHash),
    u32(newest ? (offer.pqcAsym ?? 0) : 0),
    new Uint8Array(8),
    u16(0),
    u8(0),
    u8(offer.mel),
    structures,
  );
  return encodeMessage(version, requestCode.negotiateAlgorithms, structures.length / 4, 0, u16(headerBytes + 2 + body.length), body);
}

/** `structures`: the types of the algorithm structures that were sent, which are those to answer. */
export type AlgorithmOffer = AlgorithmBits & { readonly structures: readonly number[] };

/** External algorithms are read over: we know none. @throws SPDM_MALFORMED */
export function decodeNegotiateAlgorithms(bytes: Uint8Array): AlgorithmOffer {
  const { version, param1, body } = openMessage(bytes, requestCode.negotiateAlgorithms, 'NEGOTIATE_ALGORITHMS');
  const limits = version < 0x11 ? requestLimits.old : requestLimits.now;
  if (body.u16() !== bytes.length || bytes.length > limits.bytes) throw malformed('NEGOTIATE_ALGORITHMS: length');
  const measurementSpecification = body.u8();
  const otherParams = body.u8();
  const baseAsym = body.u32();
  const baseHash = body.u32();
  const pqcAsym = body.u32();
  body.take(8);
  const externals = body.u8() + body.u8();
  body.u8();
  const mel = body.u8();
  body.take(externals * 4);
  const structures = decodeStructures(body, version < 0x11 ? 0 : param1, 'NEGOTIATE_ALGORITHMS');
  if (externals + structures.externals > limits.externals) throw malformed('NEGOTIATE_ALGORITHMS: external algorithms');
  const newest = version >= 0x14 ? { pqcAsym } : {};
  return { measurementSpecification, otherParams, baseAsym, baseHash, mel, ...newest, ...structures.bits, structures: structures.types };
}

/** @param types of the structures in the request; those that we know are answered, also with nothing selected */
export function encodeAlgorithms(version: number, selected: SelectedBits, types: readonly number[] = classicTypes): Uint8Array {
  const known = [...classicTypes, ...(version >= 0x14 ? postQuantumTypes : [])];
  const structures = encodeStructures(
    selected,
    types.filter(type => known.includes(type)),
  );
  const body = concat(
    u8(selected.measurementSpecification),
    u8(selected.otherParams),
    u32(selected.measurementHash),
    u32(selected.baseAsym),
    u32(selected.baseHash),
    u32(version >= 0x14 ? (selected.pqcAsym ?? 0) : 0),
    new Uint8Array(7),
    u8(selected.mel),
    u32(0),
    structures,
  );
  return encodeMessage(version, responseCode.algorithms, structures.length / 4, 0, u16(headerBytes + 2 + body.length), body);
}

/** @throws SPDM_MALFORMED */
export function decodeAlgorithms(bytes: Uint8Array): SelectedBits {
  const { version, param1, body } = openMessage(bytes, responseCode.algorithms, 'ALGORITHMS');
  if (body.u16() !== bytes.length) throw malformed('ALGORITHMS: length');
  const measurementSpecification = body.u8();
  const otherParams = body.u8();
  const measurementHash = body.u32();
  const baseAsym = body.u32();
  const baseHash = body.u32();
  const pqcAsym = body.u32();
  body.take(7);
  const mel = body.u8();
  if (body.u8() + body.u8() !== 0) throw malformed('ALGORITHMS: external algorithm selected');
  body.u16();
  const { bits } = decodeStructures(body, param1, 'ALGORITHMS');
  const newest = version >= 0x14 ? { pqcAsym } : {};
  const selected = { measurementSpecification, otherParams, measurementHash, baseAsym, baseHash, mel, ...newest, ...bits };
  for (const one of [measurementHash, baseAsym, baseHash, newest.pqcAsym ?? 0, ...Object.values(bits)])
    if (one & (one - 1)) throw malformed('ALGORITHMS: two selected');
  return selected;
}

type StructureField = keyof typeof structureTypes;
type Structures = Pick<AlgorithmBits, StructureField>;

const fieldOf = (type: number): StructureField | undefined =>
  (Object.keys(structureTypes) as StructureField[]).find(field => structureTypes[field] === type);

function bitsOf(bits: Structures, type: number): number {
  const field = fieldOf(type);
  return (field && bits[field]) ?? 0;
}

function encodeStructures(bits: Structures, types: readonly number[]): Uint8Array {
  return concat(...types.map(type => concat(u8(type), u8(fixedTwoBytes), u16(bitsOf(bits, type)))));
}

/** Types must rise, none twice; types that we do not know are read over. */
function decodeStructures(
  body: Reader,
  count: number,
  what: string,
): { readonly bits: Structures; readonly types: readonly number[]; readonly externals: number } {
  let externals = 0;
  const found = new Map<number, number>();
  let previous = 0;
  for (let i = 0; i < count; i += 1) {
    const type = body.u8();
    const counts = body.u8();
    if (type <= previous || counts >> 4 !== 2) throw malformed(`${what}: algorithm structure`);
    found.set(type, body.u16());
    body.take((counts & 0xf) * 4);
    externals += counts & 0xf;
    previous = type;
  }
  body.end();
  const known = Object.entries(structureTypes).map(([field, type]) => [field, found.get(type)] as const);
  const bits = {
    dhe: 0,
    aead: 0,
    requesterAsym: 0,
    keySchedule: 0,
    ...Object.fromEntries(known.filter(([, value]) => value !== undefined)),
  };
  return { bits, types: [...found.keys()], externals };
}
