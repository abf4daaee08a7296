import { encodeMessage, malformed, openMessage, openReader, u32 } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';

/** GET_MEASUREMENT_EXTENSION_LOG and MEASUREMENT_EXTENSION_LOG (DSP0274 §10.12, since 1.3): what went into measurements that are extended. */

type LogPortionAsked = { readonly offset: number; readonly length: number };
type LogPortion = { readonly portion: Uint8Array /** Bytes that follow it. */; readonly remainder: number };

export const encodeGetMeasurementLog = (version: number, { offset, length }: LogPortionAsked): Uint8Array =>
  encodeMessage(version, requestCode.getMeasurementExtensionLog, 0, 0, u32(offset), u32(length));

/** @throws SPDM_MALFORMED */
export function decodeGetMeasurementLog(bytes: Uint8Array): LogPortionAsked {
  const { body } = openMessage(bytes, requestCode.getMeasurementExtensionLog, 'GET_MEASUREMENT_EXTENSION_LOG');
  const asked = { offset: body.u32(), length: body.u32() };
  body.end();
  return asked;
}

export const encodeMeasurementLog = (version: number, { portion, remainder }: LogPortion): Uint8Array =>
  encodeMessage(version, responseCode.measurementExtensionLog, 0, 0, u32(portion.length), u32(remainder), portion);

/** @throws SPDM_MALFORMED */
export function decodeMeasurementLog(bytes: Uint8Array): LogPortion {
  const { body } = openMessage(bytes, responseCode.measurementExtensionLog, 'MEASUREMENT_EXTENSION_LOG');
  const [length, remainder] = [body.u32(), body.u32()];
  const portion = body.take(length);
  body.end();
  return { portion, remainder };
}

/** One entry of a log in the format of DMTF. */
export type LogEntry = {
  readonly logIndex: number;
  /** Of the measurement that it is part of. */
  readonly measurementIndex: number;
  readonly type: number;
  readonly raw: boolean;
  readonly value: Uint8Array;
};

const rawFlag = 0x80;

/** @throws SPDM_MALFORMED */
export function decodeLogEntries(log: Uint8Array): readonly LogEntry[] {
  const body = openReader(log, 'measurement extension log');
  const [count, length] = [body.u32(), body.u32()];
  body.take(8);
  if (length !== body.left() || count > length) throw malformed('measurement extension log: length');
  const entries = Array.from({ length: count }, () => {
    const logIndex = body.u32();
    const measurementIndex = body.u8();
    body.take(3);
    const type = body.u8();
    return { logIndex, measurementIndex, type: type & ~rawFlag, raw: (type & rawFlag) !== 0, value: body.take(body.u16()).slice() };
  });
  body.end();
  return entries;
}
