import { requestCode } from './constants.ts';
import type { Evidence } from './evidence.ts';
import { allOperation, decodeGetMeasurements } from './messages/measurements.ts';

/** Whether the requester of this evidence asked for all measurements, raw and signed. A device answers what it is asked: who asks for less, or leaves
 *  the answer out, makes a genuine device look false.
 *  @throws SPDM_MALFORMED */
export function asksForEverything({ measurements }: Pick<Evidence, 'measurements'>): boolean {
  const request = measurements.at(-2);
  if (measurements.length !== 2 || request?.[1] !== requestCode.getMeasurements) return false;
  const { operation, raw, signed } = decodeGetMeasurements(request);
  return operation === allOperation && raw && signed !== undefined;
}
