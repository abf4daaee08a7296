import { concat, equalBytes } from '../bytes.ts';
import { malformed, openReader, u8, u16 } from './codec.ts';
import { hashOf } from './signature.ts';
import { dmtfMeasurementSpecification, type HashAlgorithm } from './suite.ts';

/** Measurement blocks (DSP0274 §10.11.1): index | specification | size u16 | DMTF measurement: type | size u16 | value. */

export type Measurement = {
  /** 1 to 0xFE. */
  readonly index: number;
  /** DMTFSpecMeasurementValueType bits 6:0, e.g. 0 immutable ROM, 1 mutable firmware, 2 hardware configuration, 3 firmware configuration, 7 secure version number. */
  readonly type: number;
  /** Whether `value` is the raw bit stream instead of its digest. */
  readonly raw: boolean;
  readonly value: Uint8Array;
};

export const measurementType = {
  immutableRom: 0,
  mutableFirmware: 1,
  hardwareConfig: 2,
  firmwareConfig: 3,
  secureVersionNumber: 7,
} as const;

const rawFlag = 0x80;
const blockHeadBytes = 3;

export function encodeMeasurementBlock(measurement: Measurement): Uint8Array {
  const { index, type, raw, value } = measurement;
  return concat(
    Uint8Array.of(index, dmtfMeasurementSpecification),
    u16(blockHeadBytes + value.length),
    u8(type | (raw ? rawFlag : 0)),
    u16(value.length),
    value,
  );
}

/** @param record of `blockCount` blocks; indices must be 1–0xFE and rise  @throws SPDM_MALFORMED */
export function decodeMeasurementRecord(record: Uint8Array, blockCount: number): readonly Measurement[] {
  const reader = openReader(record, 'measurement record');
  const measurements = Array.from({ length: blockCount }, () => {
    const index = reader.u8();
    const specification = reader.u8();
    const size = reader.u16();
    const type = reader.u8();
    const value = reader.take(reader.u16());
    if (specification !== dmtfMeasurementSpecification || size !== blockHeadBytes + value.length) throw malformed('measurement block');
    return { index, type: type & ~rawFlag, raw: (type & rawFlag) !== 0, value };
  });
  reader.end();
  measurements.forEach(({ index }, i) => {
    if (index === 0 || index === 0xff || index <= (measurements[i - 1]?.index ?? 0)) throw malformed('measurement index');
  });
  return measurements;
}

/** The measurement as a responder sends it: its digest, or the raw value when that was asked for or the value is not to be hashed. */
export function reportedMeasurement(hash: HashAlgorithm, source: MeasurementSource, wantRaw: boolean): Measurement {
  const { index, type, value } = source;
  const raw = source.form === 'raw' || (source.form === 'either' && wantRaw);
  return { index, type, raw, value: raw || source.form === 'digest' ? value : hashOf(hash, value) };
}

/** A measurement as the device knows it. `form`: 'digest' = the value already is the digest; 'raw' = always sent raw; 'either' = hashed unless raw is asked for. */
export type MeasurementSource = {
  readonly index: number;
  readonly type: number;
  readonly form: 'digest' | 'raw' | 'either';
  readonly value: Uint8Array;
  /** Whether it belongs to the trusted computing base (summary type 1). */
  readonly tcb?: boolean;
};

/** What a measurement must be: `value` is compared with the reported one (digest or raw), byte for byte. */
export type ReferenceValue = { readonly index: number; readonly type?: number; readonly value: Uint8Array };

export type MeasurementVerdict =
  | { readonly verdict: 'pass' }
  | { readonly verdict: 'fail'; readonly differences: readonly MeasurementDifference[] };
export type MeasurementDifference = { readonly index: number; readonly difference: 'missing' | 'type' | 'value' };

/** Compares measurements with reference values (RFC 9334): every reference must be there and equal; measurements without a reference are not judged.
 *  Several references with one index are alternatives: one of them must match. */
export function judgeMeasurements(measured: readonly Measurement[], references: readonly ReferenceValue[]): MeasurementVerdict {
  const indices = [...new Set(references.map(({ index }) => index))];
  const differences = indices.flatMap((index): MeasurementDifference[] => {
    const measurement = measured.find(candidate => candidate.index === index);
    if (!measurement) return [{ index, difference: 'missing' }];
    const found = references.filter(reference => reference.index === index).map(reference => compare(measurement, reference));
    return found.includes('equal') ? [] : [{ index, difference: found.includes('value') ? 'value' : 'type' }];
  });
  return differences.length === 0 ? { verdict: 'pass' } : { verdict: 'fail', differences };
}

function compare(measurement: Measurement, reference: ReferenceValue): 'equal' | 'type' | 'value' {
  if (reference.type !== undefined && reference.type !== measurement.type) return 'type';
  return equalBytes(measurement.value, reference.value) ? 'equal' : 'value';
}
