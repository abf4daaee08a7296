import { concat } from '../../bytes.ts';
import { capability, nonceBytes, requestCode, spdmError } from '../constants.ts';
import { encodeMeasurementBlock, type MeasurementSource, reportedMeasurement } from '../measurement.ts';
import { keyUse } from '../messages/digests.ts';
import { allOperation, countOperation, decodeGetMeasurements, encodeMeasurements } from '../messages/measurements.ts';
import { hashOf, signingInput } from '../signature.ts';
import { maxTranscriptBytes, measurementTranscript, transcriptBytes } from '../transcript.ts';
import { signerOf } from './slots.ts';
import { type Exchange, invalidRequest, negotiated, Refusal, type Reply } from './state.ts';

/** MEASUREMENTS (DSP0274 §10.11). L1/L2 is kept apart for each session. */

export async function handleGetMeasurements(exchange: Exchange): Promise<Reply> {
  const { settings, state, request } = exchange;
  const { operation, raw, context, signed } = decodeGetMeasurements(request);
  const { measurementHash, hash } = negotiated(state);
  if (!measurementHash) throw new Refusal(spdmError.unsupportedRequest, requestCode.getMeasurements);
  if (signed && !(settings.capabilities.flags & capability.measurementsSigned)) throw invalidRequest();
  const cert = signed && signerOf(exchange, signed.slot, keyUse.measurements);
  const sources = await settings.measurements();
  const blocks = selected(sources, operation).map(source => encodeMeasurementBlock(reportedMeasurement(measurementHash, source, raw)));
  const unsigned = encodeMeasurements(state.version, signed !== undefined, {
    count: operation === countOperation ? sources.length : 0,
    slot: signed?.slot ?? 0,
    blockCount: blocks.length,
    record: concat(...blocks),
    nonce: settings.randomBytes(nonceBytes),
    opaque: new Uint8Array(),
    context,
  });
  const messages = [...pending(exchange), request, unsigned];
  if (transcriptBytes(messages) > maxTranscriptBytes) throw invalidRequest();
  if (!cert) {
    keep(exchange, messages);
    return { message: unsigned };
  }
  const transcript = measurementTranscript(state.version, state.transcript.vca, messages);
  const signature = await cert.sign(signingInput(state.version, hash, 'responder-measurements signing', transcript), hash.name);
  keep(exchange, []);
  return { message: concat(unsigned, signature) };
}

/** MeasurementSummaryHash: hash over the blocks, all (0xFF) or those of the trusted computing base (1); empty for type 0. */
export async function measurementSummary({ settings, state }: Exchange, summaryType: number): Promise<Uint8Array> {
  if (summaryType === 0) return new Uint8Array();
  const { measurementHash, hash } = negotiated(state);
  if (!measurementHash || (summaryType !== 1 && summaryType !== allOperation)) throw invalidRequest();
  const sources = (await settings.measurements()).filter(({ tcb }) => summaryType === allOperation || tcb);
  return hashOf(hash, concat(...sources.map(source => encodeMeasurementBlock(reportedMeasurement(measurementHash, source, false)))));
}

/** An ERROR response empties L1/L2. */
export function dropMeasurements(exchange: Pick<Exchange, 'state' | 'session'>): void {
  keep(exchange, []);
}

function selected(sources: readonly MeasurementSource[], operation: number): readonly MeasurementSource[] {
  if (operation === countOperation) return [];
  if (operation === allOperation) return sources;
  const source = sources.find(({ index }) => index === operation);
  if (!source) throw invalidRequest();
  return [source];
}

function pending({ state, session }: Exchange): readonly Uint8Array[] {
  return session ? session.measurements : state.transcript.measurements;
}

function keep({ state, session }: Pick<Exchange, 'state' | 'session'>, messages: readonly Uint8Array[]): void {
  if (session) session.measurements = messages;
  else state.transcript = { ...state.transcript, measurements: messages };
}
