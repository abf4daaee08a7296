import { concat } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { type CertSlots, certificatePortion, slotDigests } from '../certSlot.ts';
import { capability, headerBytes, maxMessageBytes, nonceBytes, requestCode, spdmError } from '../constants.ts';
import type { RandomSource } from '../ecdh.ts';
import { decodeGetCertificate, encodeCertificate } from '../messages/certificate.ts';
import { decodeGetDigests, encodeDigests, keyUse } from '../messages/digests.ts';
import { decodeGetEndpointInfo, deviceClassIdentifier, encodeEndpointInfo } from '../messages/endpointInfo.ts';
import { encodeError } from '../messages/error.ts';
import {
  decodeSendEvent,
  decodeSubscribeEventTypes,
  encodeEventAck,
  encodeSubscribeEventTypesAck,
  encodeSupportedEventTypes,
} from '../messages/events.ts';
import { decodeKeyUpdate, encodeKeyUpdateAck, keyUpdateOperation } from '../messages/keyUpdate.ts';
import { decodeHeadOnly } from '../messages/sessionControl.ts';
import type { SpdmSession } from '../session.ts';
import { signingInput } from '../signature.ts';
import { algorithmsOf, bothHave, type Connection } from './connection.ts';
import type { EventEnds, EventNotifier } from './events.ts';

/** The requester as one who is asked: answers to encapsulated requests (DSP0274 §10.18), which are about its certificates, its kind or the responder's
 *  keys, tell it what has happened, or subscribe to what it tells. */

export type EncapsulatedContext = {
  readonly connection: Connection;
  readonly slots: CertSlots;
  /** The session they came in; KEY_UPDATE needs one. */
  readonly session?: SpdmSession;
  /** For events in it. */
  readonly events?: EventEnds | undefined;
  /** Absent: GET_ENDPOINT_INFO is not supported. */
  readonly endpoint?: OwnEndpoint | undefined;
};

/** What kind of device we are (DSP0274 table "DeviceClassIdentifier"), for a responder that asks. */
export type OwnEndpoint = { readonly info: Uint8Array; readonly slots: CertSlots; readonly randomBytes: RandomSource };

/** @returns the encapsulated response; what is not understood is answered with ERROR */
export async function answerEncapsulated(context: EncapsulatedContext, request: Uint8Array): Promise<Uint8Array> {
  const { version } = context.connection;
  if (request.length < headerBytes) return encodeError(version, spdmError.invalidRequest);
  if (request[0] !== version) return encodeError(version, spdmError.versionMismatch);
  const handler = handlers[request[1]!];
  if (!handler) return encodeError(version, spdmError.unsupportedRequest, request[1]!);
  try {
    return await handler(context, request);
  } catch (error) {
    if (error instanceof NusecError) return encodeError(version, spdmError.invalidRequest);
    throw error;
  }
}

type Handler = (context: EncapsulatedContext, request: Uint8Array) => Uint8Array | Promise<Uint8Array>;

const handlers: Readonly<Record<number, Handler>> = {
  [requestCode.getDigests]: answerDigests,
  [requestCode.getCertificate]: answerCertificate,
  [requestCode.keyUpdate]: answerKeyUpdate,
  [requestCode.sendEvent]: answerEvents,
  [requestCode.getSupportedEventTypes]: answerEventTypes,
  [requestCode.subscribeEventTypes]: answerSubscription,
  [requestCode.getEndpointInfo]: answerEndpointInfo,
};

function answerDigests({ connection, slots }: EncapsulatedContext, request: Uint8Array): Uint8Array {
  decodeGetDigests(request);
  const { version } = connection;
  if (!has(connection, capability.certificate)) return encodeError(version, spdmError.unsupportedRequest, requestCode.getDigests);
  const { hash, requesterMultiKey } = algorithmsOf(connection);
  return encodeDigests(version, slotDigests({ version, hash }, requesterMultiKey, slots));
}

function answerCertificate({ connection, slots }: EncapsulatedContext, request: Uint8Array): Uint8Array {
  const { version, peer } = connection;
  const asked = decodeGetCertificate(request);
  if (asked.large && !has(connection, capability.largeResponse))
    return encodeError(version, spdmError.unsupportedRequest, requestCode.getCertificate);
  const cert = slots[asked.slot];
  const { hash, requesterMultiKey } = algorithmsOf(connection);
  const longest = bothHave(connection, capability.chunk) ? peer?.maxMessageBytes : peer?.dataTransferBytes;
  const room = (version >= 0x12 ? (longest ?? 0) : maxMessageBytes) - headerBytes;
  const part = cert && certificatePortion({ version, hash }, requesterMultiKey, cert, asked, room);
  return part ? encodeCertificate(version, part) : encodeError(version, spdmError.invalidRequest);
}

/** The responder's new sending key: the acknowledgement still goes out under ours, which does not change. */
function answerKeyUpdate({ connection: { version }, session }: EncapsulatedContext, request: Uint8Array): Uint8Array {
  const update = decodeKeyUpdate(request);
  if (!session || update.operation === keyUpdateOperation.updateAllKeys) return encodeError(version, spdmError.invalidRequest);
  if (update.operation === keyUpdateOperation.updateKey) session.rotate('response');
  return encodeKeyUpdateAck(version, update);
}

function answerEvents({ connection: { version, peer }, session, events }: EncapsulatedContext, request: Uint8Array): Uint8Array {
  const inbox = session && events?.inbox;
  if (!inbox || version < 0x13 || ((peer?.flags ?? 0) & capability.event) === 0)
    return encodeError(version, spdmError.unsupportedRequest, requestCode.sendEvent);
  inbox.take(decodeSendEvent(request));
  return encodeEventAck(version);
}

function answerEventTypes(context: EncapsulatedContext, request: Uint8Array): Uint8Array {
  const { version } = context.connection;
  const notifier = notifierOf(context);
  if (!notifier) return encodeError(version, spdmError.unsupportedRequest, requestCode.getSupportedEventTypes);
  decodeHeadOnly(request, requestCode.getSupportedEventTypes, 'GET_SUPPORTED_EVENT_TYPES');
  return encodeSupportedEventTypes(version, notifier.groups);
}

function answerSubscription(context: EncapsulatedContext, request: Uint8Array): Uint8Array {
  const { version } = context.connection;
  const notifier = notifierOf(context);
  if (!notifier) return encodeError(version, spdmError.unsupportedRequest, requestCode.subscribeEventTypes);
  const isKnown = notifier.subscribe(decodeSubscribeEventTypes(request));
  return isKnown ? encodeSubscribeEventTypesAck(version) : encodeError(version, spdmError.invalidRequest);
}

/** Signed by the key of a slot of ours, where that is asked for. IL1/IL2 = A ‖ GET_ENDPOINT_INFO ‖ ENDPOINT_INFO without its signature. */
async function answerEndpointInfo({ connection, endpoint }: EncapsulatedContext, request: Uint8Array): Promise<Uint8Array> {
  const { version, own, transcript } = connection;
  const unsupported = encodeError(version, spdmError.unsupportedRequest, requestCode.getEndpointInfo);
  if (!endpoint || version < 0x13 || (own.flags & capability.endpointInfo) === 0) return unsupported;
  const { subCode, signed } = decodeGetEndpointInfo(request);
  if (subCode !== deviceClassIdentifier) return encodeError(version, spdmError.invalidRequest);
  const { info, slots, randomBytes } = endpoint;
  if (!signed) return encodeEndpointInfo(version, { info });
  const { hash, requesterSignature, requesterMultiKey } = algorithmsOf(connection);
  if (!requesterSignature || (own.flags & capability.endpointInfo) !== capability.endpointInfoSigned) return unsupported;
  const signer = slots[signed.slot];
  const isForThis = !requesterMultiKey || ((signer?.keyPair?.keyUsage ?? keyUse.endpointInfo) & keyUse.endpointInfo) !== 0;
  if (!signer || !isForThis) return encodeError(version, spdmError.invalidRequest);
  const unsigned = encodeEndpointInfo(version, { info, signed: { slot: signed.slot, nonce: randomBytes(nonceBytes) } });
  const transcribed = concat(...transcript.vca, request, unsigned);
  return concat(unsigned, await signer.sign(signingInput(version, hash, 'requester-endpoint_info signing', transcribed), hash.name));
}

/** What we tell of, in a session and where our capabilities say so. */
function notifierOf({ connection, session, events }: EncapsulatedContext): EventNotifier | undefined {
  const tells = session && connection.version >= 0x13 && has(connection, capability.event);
  return tells ? events?.notifier : undefined;
}

const has = ({ own }: Connection, flag: number): boolean => (own.flags & flag) !== 0;
