import { NusecError } from '../errors.ts';
import { capability } from './constants.ts';
import type { AlgorithmBits, SelectedBits } from './messages/algorithms.ts';
import {
  type Algorithms,
  aeads,
  dheGroups,
  dmtfMeasurementSpecification,
  hashAlgorithms,
  multiKeyConnection,
  opaqueFormat1,
  rowOf,
  signatureAlgorithms,
  spdmKeySchedule,
} from './suite.ts';

/** Choosing algorithms (DSP0274 §10.4): at most one bit in each field, nothing for a feature whose capability is off on one side. */

/** Everything we know, for P-256/SHA-256 and P-384/SHA-384 with AES-256-GCM or ChaCha20-Poly1305. */
export const allAlgorithms: AlgorithmBits = {
  measurementSpecification: dmtfMeasurementSpecification,
  otherParams: opaqueFormat1,
  baseAsym: 0x10 | 0x80,
  baseHash: 0x1 | 0x2,
  mel: 0,
  dhe: 0x8 | 0x10,
  aead: 0x2 | 0x4,
  requesterAsym: 0x10 | 0x80,
  keySchedule: spdmKeySchedule,
};

/** P-256, SHA-256, AES-256-GCM only: what our devices speak. */
export const p256Algorithms: AlgorithmBits = { ...allAlgorithms, baseAsym: 0x10, baseHash: 0x1, dhe: 0x8, aead: 0x2, requesterAsym: 0x10 };

/** The responder's choice: the lowest common bit of each field.
 *  @param requesterFlags, responderFlags capability flags of both sides */
export function selectAlgorithms(
  version: number,
  offer: AlgorithmBits,
  own: AlgorithmBits,
  requesterFlags: number,
  responderFlags: number,
): SelectedBits {
  const both = requesterFlags & responderFlags;
  const measuring = (responderFlags & (capability.measurementsUnsigned | capability.measurementsSigned)) !== 0;
  const sessions = (both & (capability.keyExchange | capability.psk)) !== 0;
  const sealed = sessions && (both & sealing) === sealing;
  const when = (on: boolean, field: keyof AlgorithmBits): number => (on ? lowestBit(offer[field] & own[field]) : 0);
  const measurementSpecification = when(measuring, 'measurementSpecification');
  const baseHash = when(true, 'baseHash');
  return {
    measurementSpecification,
    otherParams: version >= 0x12 ? offer.otherParams & own.otherParams : 0,
    measurementHash: measurementSpecification ? (rowOf(hashAlgorithms, baseHash)?.measurementBit ?? 0) : 0,
    baseAsym: when(true, 'baseAsym'),
    baseHash,
    mel: when(version >= 0x13, 'mel'),
    dhe: when((both & capability.keyExchange) !== 0, 'dhe'),
    aead: when(sealed, 'aead'),
    requesterAsym: when((both & capability.mutualAuthentication) !== 0, 'requesterAsym'),
    keySchedule: when(sessions, 'keySchedule'),
  };
}

/** Turns a selection into records. @throws SPDM_UNSUPPORTED when hash or signature is not one of ours, or a bit was selected that nobody offered */
export function resolveAlgorithms(offer: AlgorithmBits, selected: SelectedBits): Algorithms {
  for (const field of Object.keys(offer) as (keyof AlgorithmBits)[]) {
    if (selected[field] & ~offer[field]) throw unsupported(`ALGORITHMS selects ${field} that was not offered`);
  }
  const hash = rowOf(hashAlgorithms, selected.baseHash);
  const signature = rowOf(signatureAlgorithms, selected.baseAsym);
  if (!hash || !signature) throw unsupported('no common hash or signature algorithm');
  return {
    hash,
    signature,
    ...optional(
      'measurementHash',
      hashAlgorithms.find(row => row.measurementBit === selected.measurementHash),
    ),
    ...optional('dhe', rowOf(dheGroups, selected.dhe)),
    ...optional('aead', rowOf(aeads, selected.aead)),
    ...optional('requesterSignature', rowOf(signatureAlgorithms, selected.requesterAsym)),
    opaqueFormat1: (selected.otherParams & opaqueFormat1) !== 0,
    multiKey: (selected.otherParams & multiKeyConnection) !== 0,
  };
}

const sealing = capability.encrypt | capability.mac;
const lowestBit = (bits: number): number => bits & -bits;
const unsupported = (detail: string): NusecError => new NusecError('SPDM_UNSUPPORTED', detail);

function optional<Name extends string, Value>(name: Name, value: Value | undefined): { readonly [key in Name]?: Value } {
  return value === undefined ? {} : ({ [name]: value } as { readonly [key in Name]: Value });
}
