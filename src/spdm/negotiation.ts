import { NusecError } from '../errors.ts';
import { capability } from './constants.ts';
import { knownMeanings } from './known.ts';
import { type AlgorithmBits, decodeAlgorithms, decodeNegotiateAlgorithms, type SelectedBits } from './messages/algorithms.ts';
import {
  type Algorithms,
  aeads,
  dheGroups,
  dmtfMeasurementSpecification,
  hashAlgorithms,
  kemAlgorithms,
  multiKeyConnection,
  noSignature,
  opaqueFormat1,
  pqcSignatureAlgorithms,
  rowOf,
  signatureAlgorithms,
  spdmKeySchedule,
} from './suite.ts';

/** Choosing algorithms (DSP0274 §10.4): at most one bit in each field, nothing for a feature whose capability is off on one side. */

/** Everything we know that is not post-quantum: P-256/SHA-256 and P-384/SHA-384 with AES-256-GCM or ChaCha20-Poly1305. */
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

const sealing = capability.encrypt | capability.mac;
const measuring = capability.measurementsUnsigned | capability.measurementsSigned;
const signing = capability.certificate | capability.challenge | capability.measurementsSigned;

/** The responder's choice: the lowest common bit of each field; post-quantum before classic where both have it.
 *  @param requesterFlags, responderFlags capability flags of both sides */
export function selectAlgorithms(
  version: number,
  offer: AlgorithmBits,
  own: AlgorithmBits,
  requesterFlags: number,
  responderFlags: number,
): SelectedBits {
  const both = requesterFlags & responderFlags;
  const has = (flags: number): boolean => (responderFlags & flags) !== 0;
  const exchanging = (both & capability.keyExchange) !== 0;
  const sessions = exchanging || ((requesterFlags & capability.psk) !== 0 && has(capability.psk));
  const mutual = (both & capability.mutualAuthentication) !== 0;
  const newest = version >= 0x14;
  const signs = has(signing) || exchanging;
  const when = (on: boolean, field: keyof AlgorithmBits): number => (on ? lowestBit((offer[field] ?? 0) & (own[field] ?? 0)) : 0);
  const measurementSpecification = when(has(measuring), 'measurementSpecification');
  const baseHash = when(has(signing | measuring) || sessions, 'baseHash');
  const pqcAsym = when(newest && signs, 'pqcAsym');
  const requesterPqcAsym = when(newest && mutual, 'requesterPqcAsym');
  const kem = when(newest && exchanging, 'kem');
  return {
    measurementSpecification,
    otherParams: selectOtherParams(version, offer, own, requesterFlags, has(signing | measuring) || sessions),
    measurementHash: measurementSpecification ? (rowOf(hashAlgorithms, baseHash)?.measurementBit ?? 0) : 0,
    baseAsym: when(signs && pqcAsym === 0, 'baseAsym'),
    baseHash,
    mel: when(version >= 0x13 && has(capability.measurementExtensionLog), 'mel'),
    dhe: when(exchanging && kem === 0, 'dhe'),
    aead: when(sessions && (both & sealing) === sealing, 'aead'),
    requesterAsym: when(mutual && requesterPqcAsym === 0, 'requesterAsym'),
    keySchedule: when(sessions, 'keySchedule'),
    pqcAsym,
    requesterPqcAsym,
    kem,
  };
}

function selectOtherParams(version: number, offer: AlgorithmBits, own: AlgorithmBits, requesterFlags: number, opaque: boolean): number {
  const format = version >= 0x12 && opaque ? offer.otherParams & own.otherParams & opaqueFormat1 : 0;
  return format | (version >= 0x13 && usesManyKeys(requesterFlags, own.otherParams) ? multiKeyConnection : 0);
}

/** Whether one side uses several key pairs: its capability says always, never, or that the other side's `wish` decides. */
function usesManyKeys(flags: number, wish: number): boolean {
  if (flags & capability.multiKeyOnly) return true;
  return (flags & capability.multiKeyNegotiated) !== 0 && (wish & multiKeyConnection) !== 0;
}

/** What a requester may send to a responder with these capabilities: the wish for several keys only to one that has them. */
export function offerFor(offer: AlgorithmBits, version: number, responderFlags: number): AlgorithmBits {
  const manyKeys = version >= 0x13 && (responderFlags & capability.multiKey) !== 0;
  const forced = manyKeys && responderFlags & capability.multiKeyOnly ? multiKeyConnection : 0;
  const allowed = version < 0x12 ? 0 : offer.otherParams & ~(manyKeys ? 0 : multiKeyConnection);
  const otherParams = allowed | forced;
  return otherParams === offer.otherParams ? offer : { ...offer, otherParams };
}

/** Turns a selection into records.
 *  @throws SPDM_UNSUPPORTED when hash or signature is not one of ours, or a bit was selected that nobody offered */
export function resolveAlgorithms(
  offer: AlgorithmBits,
  selected: SelectedBits,
  requesterFlags: number,
  responderFlags: number,
): Algorithms {
  refuseUnoffered(offer, selected);
  const hash = rowOf(hashAlgorithms, selected.baseHash);
  const signature = pickOne(signatureRow(selected.baseAsym), rowOf(pqcSignatureAlgorithms, selected.pqcAsym ?? 0));
  const exchanging = (requesterFlags & responderFlags & capability.keyExchange) !== 0;
  const signed = exchanging || (responderFlags & (capability.challenge | capability.measurementsSigned)) !== 0;
  if (!hash || (!signature && signed)) throw unsupported('no common hash or signature algorithm');
  const measurementHash = hashAlgorithms.find(row => row.measurementBit === selected.measurementHash);
  return {
    hash,
    signature: signature ?? noSignature,
    ...optional('measurementHash', measurementHash),
    ...optional('dhe', pickOne(rowOf(dheGroups, selected.dhe), rowOf(kemAlgorithms, selected.kem ?? 0))),
    ...optional('aead', rowOf(aeads, selected.aead)),
    ...optional(
      'requesterSignature',
      pickOne(signatureRow(selected.requesterAsym), rowOf(pqcSignatureAlgorithms, selected.requesterPqcAsym ?? 0)),
    ),
    opaqueFormat1: (selected.otherParams & opaqueFormat1) !== 0,
    multiKey: usesManyKeys(responderFlags, offer.otherParams),
    requesterMultiKey: usesManyKeys(requesterFlags, selected.otherParams),
  };
}

const knownAlgorithms = knownMeanings<Algorithms>();

/** What NEGOTIATE_ALGORITHMS and ALGORITHMS mean. @throws SPDM_MALFORMED; SPDM_UNSUPPORTED as `resolveAlgorithms` */
export function readAlgorithms(request: Uint8Array, response: Uint8Array, requesterFlags: number, responderFlags: number): Algorithms {
  return knownAlgorithms(
    [request, response],
    () => resolveAlgorithms(decodeNegotiateAlgorithms(request), decodeAlgorithms(response), requesterFlags, responderFlags),
    requesterFlags,
    responderFlags,
  );
}

/** OtherParams of the response has a bit of its own meaning (the requester's keys), which the offer cannot contain. */
function refuseUnoffered(offer: AlgorithmBits, selected: SelectedBits): void {
  for (const field of Object.keys(offer) as (keyof AlgorithmBits)[]) {
    const own = field === 'otherParams' ? multiKeyConnection : 0;
    if ((selected[field] ?? 0) & ~((offer[field] ?? 0) | own)) throw unsupported(`ALGORITHMS selects ${field} that was not offered`);
  }
}

const signatureRow = (bit: number) => rowOf(signatureAlgorithms, bit);

/** Classic or post-quantum, never both (DSP0274 1.4 §10.4). */
function pickOne<Classic, PostQuantum>(
  classic: Classic | undefined,
  postQuantum: PostQuantum | undefined,
): Classic | PostQuantum | undefined {
  if (classic && postQuantum) throw unsupported('ALGORITHMS selects two for one purpose');
  return classic ?? postQuantum;
}

const lowestBit = (bits: number): number => bits & -bits;
const unsupported = (detail: string): NusecError => new NusecError('SPDM_UNSUPPORTED', detail);

function optional<Name extends string, Value>(name: Name, value: Value | undefined): { readonly [key in Name]?: Value } {
  return value === undefined ? {} : ({ [name]: value } as { readonly [key in Name]: Value });
}
