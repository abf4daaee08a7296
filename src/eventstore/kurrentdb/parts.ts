import { sha256Hex } from '../../digest.ts';
import { damaged } from '../storeError.ts';

/** A commit that is larger than one append may be: its bytes in pieces, and what names them. */

/** The server takes an append of 1 MiB by default, with everything around the data. */
const maxAppendBytes = 900 * 1024;

/** @property parts stream of the pieces @property sha256 of all of them, one behind the other */
export type PartsList = { readonly parts: string; readonly count: number; readonly sha256: string };

export const isPartsList = (data: unknown): data is PartsList => typeof (data as Partial<PartsList> | null)?.parts === 'string';

/** @returns undefined when it fits into one append */
export function splitIntoParts(whole: Uint8Array): readonly Uint8Array[] | undefined {
  if (whole.length <= maxAppendBytes) return undefined;
  const count = Math.ceil(whole.length / maxAppendBytes);
  return Array.from({ length: count }, (_, i) => whole.subarray(i * maxAppendBytes, (i + 1) * maxAppendBytes));
}

/** @param stored what is in the stream: the pieces in order, one perhaps twice where an answer was lost
 *  @throws NusecError STORE_DAMAGED */
export function joinParts(stored: readonly Uint8Array[], { count, sha256 }: PartsList, where: string): Uint8Array {
  const parts = stored.filter((part, i) => i === 0 || Buffer.compare(part, stored[i - 1] as Uint8Array) !== 0);
  const whole = Buffer.concat(parts);
  if (parts.length !== count || sha256Hex(whole) !== sha256) throw damaged(`${where} is not whole`);
  return whole;
}
