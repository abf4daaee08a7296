import { concat } from '../../bytes.ts';
import { capability, nonceBytes, requestCode, spdmError } from '../constants.ts';
import { keyUse } from '../messages/digests.ts';
import { decodeGetEndpointInfo, deviceClassIdentifier, encodeEndpointInfo } from '../messages/endpointInfo.ts';
import {
  decodeGetKeyPairInfo,
  decodeSetKeyPairInfo,
  encodeKeyPairInfo,
  encodeSetKeyPairInfoAck,
  isOneOf,
  type KeyPair,
  keyPairCapability,
  type SetKeyPairInfo,
} from '../messages/keyPairInfo.ts';
import { decodeGetMeasurementLog, encodeMeasurementLog } from '../messages/measurementLog.ts';
import { signingInput } from '../signature.ts';
import { signerOf } from './slots.ts';
import { type Exchange, invalidRequest, longestResponse, negotiated, Refusal, type Reply } from './state.ts';

/** What a responder says of itself beside its identity: its key pairs, what kind of device it is, its measurement extension log. */

export async function handleGetKeyPairInfo(exchange: Exchange): Promise<Reply> {
  const { settings, state, request } = exchange;
  const pairs = await keyPairsOf(exchange);
  const pair = pairNamed(pairs, decodeGetKeyPairInfo(request));
  const canChange = (settings.capabilities.flags & capability.setKeyPairInfo) !== 0;
  const shown = canChange ? pair : { ...pair, capabilities: 0 };
  return { message: encodeKeyPairInfo(state.version, pairs.length, shown) };
}

export async function handleSetKeyPairInfo(exchange: Exchange): Promise<Reply> {
  const { settings, state, request } = exchange;
  const asked = decodeSetKeyPairInfo(request);
  const pairs = await keyPairsOf(exchange);
  requireChangeable(pairNamed(pairs, asked.keyPairId), asked, pairs);
  const { onSetKeyPairInfo } = settings;
  if (!onSetKeyPairInfo) throw new Refusal(spdmError.unsupportedRequest, requestCode.setKeyPairInfo);
  const result = await onSetKeyPairInfo(asked);
  if (result === 'refused') throw new Refusal(spdmError.operationFailed);
  if (result === 'policy') throw new Refusal(spdmError.invalidPolicy);
  if (result === 'reset') throw new Refusal(spdmError.resetRequired);
  return { message: encodeSetKeyPairInfoAck(state.version) };
}

async function keyPairsOf({ settings, request }: Exchange): Promise<readonly KeyPair[]> {
  if (!settings.keyPairs) throw new Refusal(spdmError.unsupportedRequest, request[1]);
  return settings.keyPairs();
}

function pairNamed(pairs: readonly KeyPair[], id: number): KeyPair {
  const pair = pairs.find(({ keyPairId }) => keyPairId === id);
  if (!pair) throw invalidRequest();
  return pair;
}

/** What the key pair does not let anybody change, and what would contradict itself (DSP0274 §10.28). */
function requireChangeable(pair: KeyPair, asked: SetKeyPairInfo, pairs: readonly KeyPair[]): void {
  const { generate, erasable, association, usage, algorithm, shareable } = keyPairCapability;
  const may = (flag: number): boolean => (pair.capabilities & flag) !== 0;
  const isNewAlgorithm = asked.algorithm !== 0 || asked.pqcAlgorithm !== 0;
  const isMade = pair.algorithm !== 0 || pair.pqcAlgorithm !== 0;
  const fits =
    (asked.operation !== 'generate' || may(generate)) &&
    (asked.operation !== 'erase' || may(erasable)) &&
    (asked.slotMask === 0 || asked.slotMask === pair.slotMask || may(association)) &&
    (asked.usage === 0 || (may(usage) && (asked.usage & ~pair.usageCapabilities) === 0)) &&
    (!isNewAlgorithm || may(algorithm)) &&
    isOneOf(asked.algorithm, pair.algorithms) &&
    isOneOf(asked.pqcAlgorithm, pair.pqcAlgorithms) &&
    (asked.algorithm === 0 || asked.pqcAlgorithm === 0) &&
    (may(shareable) || isOneOf(asked.slotMask, 0xff)) &&
    !(asked.operation === 'change' && isMade && isNewAlgorithm && !isSameAlgorithm(pair, asked));
  if (!fits) throw invalidRequest();
  if (asked.operation !== 'change' && pair.slotMask !== 0) throw new Refusal(spdmError.operationFailed);
  if (asked.operation === 'generate' && !isMade && !isNewAlgorithm) throw new Refusal(spdmError.operationFailed);
  if (pairs.some(other => other.keyPairId !== pair.keyPairId && takesSlotOf(other, pair, asked)))
    throw new Refusal(spdmError.operationFailed);
}

/** A slot is of one key pair for each algorithm: a connection has one algorithm, and DIGESTS name one key pair for a slot. */
function takesSlotOf(other: KeyPair, pair: KeyPair, asked: SetKeyPairInfo): boolean {
  const algorithm = asked.algorithm === 0 && asked.pqcAlgorithm === 0 ? pair : asked;
  const isSame = other.algorithm === algorithm.algorithm && other.pqcAlgorithm === algorithm.pqcAlgorithm;
  return isSame && (other.slotMask & asked.slotMask) !== 0;
}

const isSameAlgorithm = (pair: KeyPair, asked: SetKeyPairInfo): boolean =>
  (asked.algorithm === 0 || asked.algorithm === pair.algorithm) && (asked.pqcAlgorithm === 0 || asked.pqcAlgorithm === pair.pqcAlgorithm);

/** IL1/IL2 = A ‖ GET_ENDPOINT_INFO ‖ ENDPOINT_INFO without its signature. */
export async function handleGetEndpointInfo(exchange: Exchange): Promise<Reply> {
  const { settings, state, request } = exchange;
  const { subCode, signed } = decodeGetEndpointInfo(request);
  if (subCode !== deviceClassIdentifier) throw invalidRequest();
  if (!settings.endpointInfo) throw new Refusal(spdmError.unsupportedRequest, requestCode.getEndpointInfo);
  if (signed && !(settings.capabilities.flags & capability.endpointInfoSigned))
    throw new Refusal(spdmError.unsupportedRequest, requestCode.getEndpointInfo);
  const info = settings.endpointInfo;
  if (!signed) return { message: encodeEndpointInfo(state.version, { info }) };
  const signer = signerOf(exchange, signed.slot, keyUse.endpointInfo);
  const nonce = settings.randomBytes(nonceBytes);
  const unsigned = encodeEndpointInfo(state.version, { info, signed: { slot: signer.slot, nonce } });
  const transcript = concat(...state.transcript.vca, request, unsigned);
  const { hash } = negotiated(state);
  const input = signingInput(state.version, hash, 'responder-endpoint_info signing', transcript);
  return { message: concat(unsigned, await signer.sign(input, hash.name)) };
}

/** Bytes of the response in front of its portion. */
const logHeadBytes = 12;

export async function handleGetMeasurementLog(exchange: Exchange): Promise<Reply> {
  const { settings, state, request } = exchange;
  const { offset, length } = decodeGetMeasurementLog(request);
  if (!settings.measurementLog || !negotiated(state).measurementHash)
    throw new Refusal(spdmError.unsupportedRequest, requestCode.getMeasurementExtensionLog);
  const log = await settings.measurementLog();
  if (offset >= log.length || length === 0) throw invalidRequest();
  const portion = log.subarray(offset, offset + Math.min(length, longestResponse(exchange) - logHeadBytes));
  return { message: encodeMeasurementLog(state.version, { portion, remainder: log.length - offset - portion.length }) };
}
