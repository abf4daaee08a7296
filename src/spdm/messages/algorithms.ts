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
};
export type SelectedBits = AlgorithmBits & { readonly measurementHash: number };

/** AlgType of the algorithm structures; each is type | 0x20 (2 bytes, no external algorithms) | u16. */
const structureTypes = { dhe: 2, aead: 3, requesterAsym: 4, keySchedule: 5 } as const;
const fixedTwoBytes = 0x20;

/** The structures are sent for all four types when `structures` is not told otherwise; a responder answers those it was sent. */
export function encodeNegotiateAlgorithms(version: number, offer: AlgorithmBits): Uint8Array {
  const structures = encodeStructures(offer);
  const body = concat(
    u8(offer.measurementSpecification),
    u8(offer.otherParams),
    u32(offer.baseAsym),
    u32(offer.baseHash),
    new Uint8Array(12),
    u16(0),
    u8(0),
    u8(offer.mel),
    structures,
  );
  return encodeMessage(version, requestCode.negotiateAlgorithms, structures.length / 4, 0, u16(headerBytes + 2 + body.length), body);
}

/** @throws SPDM_MALFORMED, also for external algorithms, which nobody may need */
export function decodeNegotiateAlgorithms(bytes: Uint8Array): AlgorithmBits {
  const { param1, body } = openMessage(bytes, requestCode.negotiateAlgorithms, 'NEGOTIATE_ALGORITHMS');
  if (body.u16() !== bytes.length) throw malformed('NEGOTIATE_ALGORITHMS: length');
  const measurementSpecification = body.u8();
  const otherParams = body.u8();
  const baseAsym = body.u32();
  const baseHash = body.u32();
  body.take(12);
  const externals = body.u8() + body.u8();
  body.u8();
  const mel = body.u8();
  body.take(externals * 4);
  const structures = decodeStructures(body, param1, 'NEGOTIATE_ALGORITHMS');
  return { measurementSpecification, otherParams, baseAsym, baseHash, mel, ...structures };
}

export function encodeAlgorithms(version: number, selected: SelectedBits): Uint8Array {
  const structures = encodeStructures(selected);
  const body = concat(
    u8(selected.measurementSpecification),
    u8(selected.otherParams),
    u32(selected.measurementHash),
    u32(selected.baseAsym),
    u32(selected.baseHash),
    new Uint8Array(11),
    u8(selected.mel),
    u32(0),
    structures,
  );
  return encodeMessage(version, responseCode.algorithms, structures.length / 4, 0, u16(headerBytes + 2 + body.length), body);
}

/** @throws SPDM_MALFORMED */
export function decodeAlgorithms(bytes: Uint8Array): SelectedBits {
  const { param1, body } = openMessage(bytes, responseCode.algorithms, 'ALGORITHMS');
  if (body.u16() !== bytes.length) throw malformed('ALGORITHMS: length');
  const measurementSpecification = body.u8();
  const otherParams = body.u8();
  const measurementHash = body.u32();
  const baseAsym = body.u32();
  const baseHash = body.u32();
  body.take(11);
  const mel = body.u8();
  if (body.u8() + body.u8() !== 0) throw malformed('ALGORITHMS: external algorithm selected');
  body.u16();
  const structures = decodeStructures(body, param1, 'ALGORITHMS');
  const selected = { measurementSpecification, otherParams, measurementHash, baseAsym, baseHash, mel, ...structures };
  for (const bits of [measurementHash, baseAsym, baseHash, ...Object.values(structures)])
    if (bits & (bits - 1)) throw malformed('ALGORITHMS: two selected');
  return selected;
}

type Structures = Pick<AlgorithmBits, keyof typeof structureTypes>;

function encodeStructures(bits: Structures): Uint8Array {
  const one = (type: number, supported: number): Uint8Array => concat(u8(type), u8(fixedTwoBytes), u16(supported));
  return concat(...Object.entries(structureTypes).map(([name, type]) => one(type, bits[name as keyof Structures])));
}

/** Types must rise, none twice; types beyond those we know (post-quantum, 1.4) are read over. */
function decodeStructures(body: Reader, count: number, what: string): Structures {
  const found = new Map<number, number>();
  let previous = 0;
  for (let i = 0; i < count; i += 1) {
    const type = body.u8();
    const counts = body.u8();
    if (type <= previous || counts >> 4 !== 2) throw malformed(`${what}: algorithm structure`);
    found.set(type, body.u16());
    body.take((counts & 0xf) * 4);
    previous = type;
  }
  body.end();
  const bits = (type: number): number => found.get(type) ?? 0;
  return {
    dhe: bits(structureTypes.dhe),
    aead: bits(structureTypes.aead),
    requesterAsym: bits(structureTypes.requesterAsym),
    keySchedule: bits(structureTypes.keySchedule),
  };
}
