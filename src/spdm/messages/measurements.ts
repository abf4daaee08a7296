import { encodeMessage, malformed, openMessage, u8, u16, u24 } from '../codec.ts';
import { nonceBytes, requestCode, responseCode } from '../constants.ts';
import { checkedOpaque } from '../opaque.ts';
import { contextBytes } from './challenge.ts';

/** GET_MEASUREMENTS and MEASUREMENTS (DSP0274 §10.11). */

/** Operation (param2 of the request): the number of measurements, one index, or all of them. */
export const countOperation = 0x00;
export const allOperation = 0xff;

const signatureRequested = 0x01;
const rawRequested = 0x02;
const slotBits = 0x0f;
/** Content changed, bits 5:4 of param2 in a signed response since 1.2. */
const contentBits = 0x30;
const contentChanges = { 0: 'not watched', 16: 'changed', 32: 'unchanged' } as const;
const noChange = 0x20;

export type GetMeasurements = {
  readonly operation: number;
  readonly raw: boolean;
  readonly context: Uint8Array;
  /** Present when a signature is asked for. In 1.0 the slot is always 0 and not on the wire. */
  readonly signed?: { readonly nonce: Uint8Array; readonly slot: number };
};
export type Measurements = {
  /** Only for the count operation. */
  readonly count: number;
  readonly slot: number;
  readonly blockCount: number;
  readonly record: Uint8Array;
  readonly nonce: Uint8Array;
  readonly opaque: Uint8Array;
  readonly context: Uint8Array;
  readonly signature: Uint8Array;
  /** Whether a measurement changed since it was reported before in this transcript, as the responder says; signed responses since 1.2 only. */
  readonly content: (typeof contentChanges)[keyof typeof contentChanges];
};

export function encodeGetMeasurements(version: number, request: GetMeasurements): Uint8Array {
  const { operation, raw, context, signed } = request;
  const attributes = (signed ? signatureRequested : 0) | (raw ? rawRequested : 0);
  const proof = signed ? [signed.nonce, ...(version >= 0x11 ? [u8(signed.slot)] : [])] : [];
  return encodeMessage(version, requestCode.getMeasurements, attributes, operation, ...proof, context);
}

/** @throws SPDM_MALFORMED */
export function decodeGetMeasurements(bytes: Uint8Array): GetMeasurements {
  const { version, param1, param2, body } = openMessage(bytes, requestCode.getMeasurements, 'GET_MEASUREMENTS');
  const isSigned = (param1 & signatureRequested) !== 0;
  const signed = isSigned ? { signed: { nonce: body.take(nonceBytes), slot: version >= 0x11 ? body.u8() & slotBits : 0 } } : {};
  const context = body.take(contextBytes(version));
  body.end();
  return { operation: param2, raw: (param1 & rawRequested) !== 0, context, ...signed };
}

/** Without the signature, which is made over this. */
export function encodeMeasurements(version: number, signed: boolean, response: Omit<Measurements, 'signature' | 'content'>): Uint8Array {
  const { count, slot, blockCount, record, nonce, opaque, context } = response;
  const param2 = signed ? slot | (version >= 0x12 ? noChange : 0) : 0;
  const head = [u8(blockCount), u24(record.length), record, nonce, u16(opaque.length), opaque, context];
  return encodeMessage(version, responseCode.measurements, count, param2, ...head);
}

/** @param signatureBytes 0 for an unsigned request  @throws SPDM_MALFORMED */
export function decodeMeasurements(bytes: Uint8Array, signatureBytes: number): Measurements {
  const { version, param1, param2, body } = openMessage(bytes, responseCode.measurements, 'MEASUREMENTS');
  const blockCount = body.u8();
  const record = body.take(body.u24());
  const nonce = body.take(nonceBytes);
  const opaque = checkedOpaque(body.take(body.u16()), 'MEASUREMENTS');
  const context = body.take(contextBytes(version));
  const signature = body.take(signatureBytes);
  body.end();
  if ((blockCount === 0) !== (record.length === 0)) throw malformed('MEASUREMENTS: blocks without record');
  const content = version >= 0x12 && signatureBytes > 0 ? contentOf(param2 & contentBits) : 'not watched';
  return { count: param1, slot: param2 & slotBits, content, blockCount, record, nonce, opaque, context, signature };
}

function contentOf(bits: number): Measurements['content'] {
  if (bits in contentChanges) return contentChanges[bits as keyof typeof contentChanges];
  throw malformed('MEASUREMENTS: reserved content change');
}
