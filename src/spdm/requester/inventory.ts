import { concat } from '../../bytes.ts';
import { malformed } from '../codec.ts';
import { capability, nonceBytes, responseCode } from '../constants.ts';
import {
  type DeviceClass,
  decodeDeviceClasses,
  decodeEndpointInfo,
  deviceClassIdentifier,
  encodeGetEndpointInfo,
} from '../messages/endpointInfo.ts';
import {
  decodeKeyPairInfo,
  decodeSetKeyPairInfoAck,
  encodeGetKeyPairInfo,
  encodeSetKeyPairInfo,
  type KeyPairInfoResponse,
  type SetKeyPairInfo,
} from '../messages/keyPairInfo.ts';
import { decodeLogEntries, decodeMeasurementLog, encodeGetMeasurementLog, type LogEntry } from '../messages/measurementLog.ts';
import { importLeafKey, type LeafKey, signingInput, verifyByKey } from '../signature.ts';
import { algorithmsOf, requirePeer, unexpected } from './connection.ts';
import { type Asking, exchange } from './exchange.ts';

/** What a requester asks of a responder beside its identity: key pairs, the kind of device, the measurement extension log. */

/** @param keyPairId 1 and up @throws SPDM_UNSUPPORTED, SPDM_UNEXPECTED, SPDM_MALFORMED */
export async function getKeyPairInfo(asking: Asking, keyPairId: number): Promise<KeyPairInfoResponse> {
  const { connection } = asking;
  requirePeer(connection, capability.keyPairInfo, 'GET_KEY_PAIR_INFO');
  const info = decodeKeyPairInfo(await exchange(asking, encodeGetKeyPairInfo(connection.version, keyPairId), responseCode.keyPairInfo));
  if (info.keyPairId !== keyPairId) throw unexpected('KEY_PAIR_INFO is of another key pair');
  return info;
}

/** @throws SPDM_UNSUPPORTED, SPDM_UNEXPECTED (refused, or only after a reset), SPDM_MALFORMED */
export async function setKeyPairInfo(asking: Asking, request: SetKeyPairInfo): Promise<void> {
  const { connection } = asking;
  requirePeer(connection, capability.setKeyPairInfo, 'SET_KEY_PAIR_INFO');
  decodeSetKeyPairInfoAck(await exchange(asking, encodeSetKeyPairInfo(connection.version, request), responseCode.setKeyPairInfoAck));
}

/** @param signed by which slot, with the requester's nonce (32 bytes), and the key that must have signed; not signed when not given
 *  @throws SPDM_UNSUPPORTED, SPDM_UNEXPECTED, SPDM_MALFORMED, SPDM_SIGNATURE */
export async function getDeviceClasses(
  asking: Asking,
  signed?: { readonly slot: number; readonly nonce: Uint8Array; readonly leafKey: LeafKey },
): Promise<readonly DeviceClass[]> {
  const { connection } = asking;
  const { version, transcript } = connection;
  if (signed && signed.nonce.length !== nonceBytes) throw malformed('nonce is not 32 bytes long');
  if (signed) requirePeer(connection, capability.endpointInfoSigned, 'signed ENDPOINT_INFO');
  else if (((connection.peer?.flags ?? 0) & capability.endpointInfo) === 0)
    requirePeer(connection, capability.endpointInfo, 'ENDPOINT_INFO');
  const request = encodeGetEndpointInfo(version, { subCode: deviceClassIdentifier, ...(signed && { signed }) });
  const response = await exchange(asking, request, responseCode.endpointInfo);
  if (!signed) return decodeDeviceClasses(decodeEndpointInfo(response, 0).info);
  const algorithms = algorithmsOf(connection);
  const { info, signature, signed: answered } = decodeEndpointInfo(response, algorithms.signature.signatureBytes);
  if (answered?.slot !== signed.slot) throw unexpected('ENDPOINT_INFO is signed by another slot');
  const unsigned = response.subarray(0, response.length - signature.length);
  const input = signingInput(version, algorithms.hash, 'responder-endpoint_info signing', concat(...transcript.vca, request, unsigned));
  await verifyByKey(algorithms, importLeafKey(algorithms.signature, signed.leafKey), input, signature, 'ENDPOINT_INFO');
  return decodeDeviceClasses(info);
}

/** Bytes asked for at a time, and of a whole log. */
const portionBytes = 1024;
const maxLogBytes = 1024 * 1024;

/** @throws SPDM_UNSUPPORTED, SPDM_UNEXPECTED, SPDM_MALFORMED */
export async function getMeasurementLog(asking: Asking): Promise<readonly LogEntry[]> {
  const { connection } = asking;
  requirePeer(connection, capability.measurementExtensionLog, 'measurement extension log');
  const parts: Uint8Array[] = [];
  for (let offset = 0; ; ) {
    const request = encodeGetMeasurementLog(connection.version, { offset, length: portionBytes });
    const { portion, remainder } = decodeMeasurementLog(await exchange(asking, request, responseCode.measurementExtensionLog));
    if (portion.length === 0 || portion.length > portionBytes) throw unexpected('MEASUREMENT_EXTENSION_LOG is not the portion asked for');
    parts.push(portion.slice());
    offset += portion.length;
    if (offset + remainder > maxLogBytes) throw unexpected('the measurement extension log is too long');
    if (remainder === 0) return decodeLogEntries(concat(...parts));
  }
}
