import { encodeMessage, malformed, openMessage, type Reader, u8, u16, u32 } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';

/** GET_KEY_PAIR_INFO, KEY_PAIR_INFO, SET_KEY_PAIR_INFO and its ACK (DSP0274 §10.26–10.29, since 1.3): the key pairs of a responder and what each is for. */

/** Bits of Capabilities: what may be changed. */
export const keyPairCapability = {
  generate: 0x01,
  erasable: 0x02,
  association: 0x04,
  usage: 0x08,
  algorithm: 0x10,
  shareable: 0x20,
} as const;
const knownCapabilities = 0x3f;

export type KeyPair = {
  /** 1 and up. */
  readonly keyPairId: number;
  readonly capabilities: number;
  /** Bits of KeyUsageMask that it may have, and has. */
  readonly usageCapabilities: number;
  readonly usage: number;
  /** Bits of AsymAlgoCapabilities: 0x08 P-256, 0x10 P-384 …; at most one in `algorithm`, none for a key pair that is not made yet. */
  readonly algorithms: number;
  readonly algorithm: number;
  /** Since 1.4: bits of PqcAsymAlgo. */
  readonly pqcAlgorithms: number;
  readonly pqcAlgorithm: number;
  /** Bit n = certificate slot n is of this key. */
  readonly slotMask: number;
  /** AlgorithmIdentifier of the public key (RFC 5280 §4.1.1.2), DER; may be empty. */
  readonly publicKeyInfo: Uint8Array;
};
export type KeyPairInfoResponse = KeyPair & { readonly total: number };

const pqcBytes = 4;

export const encodeGetKeyPairInfo = (version: number, keyPairId: number): Uint8Array =>
  encodeMessage(version, requestCode.getKeyPairInfo, 0, 0, u8(keyPairId));

/** @returns the key pair that is asked for @throws SPDM_MALFORMED */
export function decodeGetKeyPairInfo(bytes: Uint8Array): number {
  const { body } = openMessage(bytes, requestCode.getKeyPairInfo, 'GET_KEY_PAIR_INFO');
  const keyPairId = body.u8();
  body.end();
  return keyPairId;
}

export function encodeKeyPairInfo(version: number, total: number, pair: KeyPair): Uint8Array {
  const { keyPairId, capabilities, usageCapabilities, usage, algorithms, algorithm, slotMask, publicKeyInfo } = pair;
  const since14 = version >= 0x14 ? [u8(pqcBytes), u32(pair.pqcAlgorithms), u8(pqcBytes), u32(pair.pqcAlgorithm)] : [];
  const masks = [u16(capabilities), u16(usageCapabilities), u16(usage), u32(algorithms), u32(algorithm)];
  const tail = [u16(publicKeyInfo.length), u8(slotMask), publicKeyInfo, ...since14];
  return encodeMessage(version, responseCode.keyPairInfo, 0, 0, u8(total), u8(keyPairId), ...masks, ...tail);
}

/** @throws SPDM_MALFORMED, also for a current value that its capabilities do not have */
export function decodeKeyPairInfo(bytes: Uint8Array): KeyPairInfoResponse {
  const { version, body } = openMessage(bytes, responseCode.keyPairInfo, 'KEY_PAIR_INFO');
  const [total, keyPairId] = [body.u8(), body.u8()];
  const [capabilities, usageCapabilities, usage] = [body.u16() & knownCapabilities, body.u16(), body.u16()];
  const [algorithms, algorithm] = [body.u32(), body.u32()];
  const length = body.u16();
  const slotMask = body.u8();
  const publicKeyInfo = body.take(length).slice();
  const [pqcAlgorithms, pqcAlgorithm] = version >= 0x14 ? [readBits(body), readBits(body)] : [0, 0];
  body.end();
  const isOne = isOneOf(algorithm, algorithms) && isOneOf(pqcAlgorithm, pqcAlgorithms) && (algorithm === 0 || pqcAlgorithm === 0);
  if (keyPairId === 0 || keyPairId > total || (usage & ~usageCapabilities) !== 0 || !isOne) throw malformed('KEY_PAIR_INFO: values');
  return {
    total,
    keyPairId,
    capabilities,
    usageCapabilities,
    usage,
    algorithms,
    algorithm,
    pqcAlgorithms,
    pqcAlgorithm,
    slotMask,
    publicKeyInfo,
  };
}

/** Bits with their length in front; what is beyond 32 bits has no name yet and must be zero. */
function readBits(body: Reader): number {
  const bytes = body.take(body.u8());
  if (bytes.subarray(pqcBytes).some(byte => byte !== 0)) throw malformed('KEY_PAIR_INFO: algorithms');
  return [...bytes.subarray(0, pqcBytes)].reduce((bits, byte, at) => bits + byte * 2 ** (8 * at), 0);
}

/** At most one bit, and one of those. */
export const isOneOf = (bit: number, bits: number): boolean => (bit & (bit - 1)) === 0 && (bit & ~bits) === 0;

const operations = ['change', 'erase', 'generate'] as const;
type KeyPairOperation = (typeof operations)[number];

/** What is zero stays as it is, but the slots of a change. */
export type SetKeyPairInfo = {
  readonly operation: KeyPairOperation;
  readonly keyPairId: number;
  readonly usage: number;
  readonly algorithm: number;
  readonly pqcAlgorithm: number;
  readonly slotMask: number;
};

export function encodeSetKeyPairInfo(version: number, request: SetKeyPairInfo): Uint8Array {
  const { operation, keyPairId, usage, algorithm, pqcAlgorithm, slotMask } = request;
  const since14 = version >= 0x14 ? [u8(pqcBytes), u32(pqcAlgorithm)] : [];
  const wishes = operation === 'erase' ? [] : [u8(0), u16(usage), u32(algorithm), u8(slotMask), ...since14];
  return encodeMessage(version, requestCode.setKeyPairInfo, operations.indexOf(operation), 0, u8(keyPairId), ...wishes);
}

/** @throws SPDM_MALFORMED */
export function decodeSetKeyPairInfo(bytes: Uint8Array): SetKeyPairInfo {
  const { version, param1, body } = openMessage(bytes, requestCode.setKeyPairInfo, 'SET_KEY_PAIR_INFO');
  const operation = operations[param1];
  if (operation === undefined) throw malformed('SET_KEY_PAIR_INFO: operation');
  const keyPairId = body.u8();
  if (operation === 'erase') {
    // An erase may be as long as the others: what is wished of an erased key counts for nothing.
    return { operation, keyPairId, usage: 0, algorithm: 0, pqcAlgorithm: 0, slotMask: 0 };
  }
  body.u8();
  const [usage, algorithm, slotMask] = [body.u16(), body.u32(), body.u8()];
  const pqcAlgorithm = version >= 0x14 ? readBits(body) : 0;
  body.end();
  return { operation, keyPairId, usage, algorithm, pqcAlgorithm, slotMask };
}

export const encodeSetKeyPairInfoAck = (version: number): Uint8Array => encodeMessage(version, responseCode.setKeyPairInfoAck, 0, 0);

/** @throws SPDM_MALFORMED */
export function decodeSetKeyPairInfoAck(bytes: Uint8Array): void {
  openMessage(bytes, responseCode.setKeyPairInfoAck, 'SET_KEY_PAIR_INFO_ACK').body.end();
}
