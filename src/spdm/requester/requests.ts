import { NusecError } from '../../errors.ts';
import { encodeCertificateChain } from '../certChain.ts';
import { malformed } from '../codec.ts';
import { capability, nonceBytes, requestCode, requesterContextBytes, responseCode, spdmError } from '../constants.ts';
import type { Evidence } from '../evidence.ts';
import { decodeCsr, encodeGetCsr, type GetCsr } from '../messages/csr.ts';
import {
  decodeEncapsulatedAck,
  decodeEncapsulatedRequest,
  encodeDeliverResponse,
  encodeGetEncapsulatedRequest,
} from '../messages/encapsulated.ts';
import { decodeError } from '../messages/error.ts';
import { allOperation, encodeGetMeasurements } from '../messages/measurements.ts';
import { decodeSetCertificateRsp, encodeSetCertificate, type SetCertificate } from '../messages/setCertificate.ts';
import { decodeVendorResponse, encodeVendorRequest, type VendorDefined } from '../messages/vendorDefined.ts';
import type { SpdmSession } from '../session.ts';
import { acceptMeasurements, algorithmsOf, type Connection, checkHead, requirePeer, takeMeasurements, unexpected } from './connection.ts';
import { deliver } from './delivery.ts';
import { answerEncapsulated, type OwnEndpoint } from './encapsulated.ts';
import type { EventEnds } from './events.ts';
import { type Asking, exchange } from './exchange.ts';

/** Single requests of a requester, in a session or, where the responder allows it, in the clear. */

export type SessionMeasurements = {
  readonly nonce: Uint8Array;
  /** 0xFF all measurements, or one index. */
  readonly operation?: number;
  readonly raw?: boolean;
  readonly slot?: number;
};

/** Signed measurements in a session. @returns the session's evidence with them: see `verifyEvidence`, whose nonce must then be that of both */
export async function measureInSession(asking: Asking, evidence: Evidence, options: SessionMeasurements): Promise<Evidence> {
  const { connection } = asking;
  requirePeer(connection, capability.measurementsSigned, 'signed measurements');
  const { nonce, operation = allOperation, raw = false, slot = 0 } = options;
  if (nonce.length !== nonceBytes) throw malformed('nonce is not 32 bytes long');
  const context = nonce.slice(0, connection.version >= 0x13 ? requesterContextBytes : 0);
  const request = encodeGetMeasurements(connection.version, { operation, raw, context, signed: { nonce, slot } });
  const response = await exchange(asking, request, responseCode.measurements);
  const [, measurements] = takeMeasurements(acceptMeasurements(connection, request, response));
  return { ...evidence, measurements };
}

const newCsr = { requesterInfo: new Uint8Array(), opaque: new Uint8Array(), trackingTag: 0, overwrite: false };

/** @returns a certification request (PKCS#10, DER), not verified  @throws SPDM_UNSUPPORTED, SPDM_UNEXPECTED (also for ResetRequired), SPDM_MALFORMED */
export async function getCsr(asking: Asking, given: Partial<GetCsr> = {}): Promise<Uint8Array> {
  const { connection } = asking;
  requirePeer(connection, capability.csr, 'CSR');
  const request = encodeGetCsr(connection.version, { ...newCsr, ...keyOf(connection), ...given });
  return decodeCsr(await exchange(asking, request, responseCode.csr));
}

/** @param certificates DER, root first, leaf last; none to erase the slot (1.3+)  @throws SPDM_UNSUPPORTED, SPDM_UNEXPECTED, SPDM_MALFORMED */
export async function setCertificate(
  asking: Asking,
  slot: number,
  certificates: readonly Uint8Array[],
  given: Partial<Pick<SetCertificate, 'keyPairId' | 'certificateModel'>> = {},
): Promise<void> {
  const { connection } = asking;
  requirePeer(connection, capability.setCertificate, 'SET_CERTIFICATE');
  const erase = certificates.length === 0;
  if (erase && connection.version < 0x13) throw new NusecError('SPDM_UNSUPPORTED', 'a slot can be erased since 1.3 only');
  const chain = erase ? new Uint8Array() : encodeCertificateChain(connection.version, algorithmsOf(connection).hash, certificates);
  const { keyPairId, certificateModel } = { ...keyOf(connection), ...given };
  const model = erase ? 0 : certificateModel;
  const request = encodeSetCertificate(connection.version, { slot, chain, erase, keyPairId, certificateModel: model });
  const response = await exchange(asking, request, responseCode.setCertificateRsp);
  if (decodeSetCertificateRsp(response) !== slot) throw unexpected('SET_CERTIFICATE_RSP is for another slot');
}

/** On multi-key connections a key and a certificate model must be named: the first key, a device certificate. */
function keyOf(connection: Connection): { readonly keyPairId: number; readonly certificateModel: number } {
  return algorithmsOf(connection).multiKey ? { keyPairId: 1, certificateModel: 1 } : { keyPairId: 0, certificateModel: 0 };
}

/** Sends a vendor-defined request and gives the answer (DSP0274 §10.23).
 *  @throws NusecError SPDM_UNSUPPORTED, SPDM_MALFORMED, SPDM_UNEXPECTED */
export async function vendorRequest(asking: Asking, message: VendorDefined): Promise<VendorDefined> {
  const request = encodeVendorRequest(asking.connection.version, message);
  return decodeVendorResponse(await exchange(asking, request, responseCode.vendorDefined));
}

const maxQuestions = 64;

/** Asks whether the responder wants something, and answers it: new keys of its own, events (DSP0274 §10.18).
 *  @param events without an inbox events are not taken, without a notifier none are told
 *  @param endpoint what kind of device we are, for who asks for it
 *  @returns how many requests it had */
export async function answerQuestions(asking: Asking, session: SpdmSession, events?: EventEnds, endpoint?: OwnEndpoint): Promise<number> {
  const { connection } = asking;
  const { version } = connection;
  const first = await deliver(asking.ask, connection, encodeGetEncapsulatedRequest(version), asking.wait);
  if (first[1] === responseCode.error && nothingPending.has(decodeError(first).code)) return 0;
  checkHead(connection, first, responseCode.encapsulatedRequest);
  let question = decodeEncapsulatedRequest(first);
  for (let answered = 1; answered <= maxQuestions; answered += 1) {
    const message = await answerEncapsulated({ connection, slots: [], session, events, endpoint }, question.message);
    const request = encodeDeliverResponse(version, { requestId: question.requestId, message });
    const ack = await exchange(asking, request, responseCode.encapsulatedResponseAck);
    const { next } = decodeEncapsulatedAck(ack);
    if (!next) return answered;
    question = next;
  }
  throw unexpected(`more than ${maxQuestions} answers to ${requestCode.getEncapsulatedRequest}`);
}

const nothingPending: ReadonlySet<number> = new Set([spdmError.noPendingRequests, spdmError.unexpectedRequest]);
