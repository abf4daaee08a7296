import type { Curve } from './ecKey.ts';
import { NusecError } from './errors.ts';

/** ECDSA signatures in their two forms: DER SEQUENCE {r, s} (X.509, MCUboot, node:crypto's default) and raw r ‖ s (COSE, SPDM). */

/** @param der strict DER {r, s}  @param size 32 for P-256, 48 for P-384  @returns raw r ‖ s, or undefined when it is not strict DER of that size */
export function derToRaw(der: Uint8Array, size: number): Uint8Array | undefined {
  const head = der[1] === 0x81 ? 3 : 2;
  const bodyBytes = head === 3 ? der[2] : der[1];
  if (der[0] !== 0x30 || bodyBytes === undefined || bodyBytes !== der.length - head || (head === 3 && bodyBytes < 0x80)) return undefined;
  const raw = new Uint8Array(2 * size);
  const afterR = readInteger(der, head, raw, size, size);
  if (afterR === undefined) return undefined;
  return readInteger(der, afterR, raw, raw.length, size) === der.length ? raw : undefined;
}

/** Bytes of r, and of s, in a raw signature. */
export const coordinateBytes: Readonly<Record<Curve, number>> = { 'P-256': 32, 'P-384': 48 };

/** @param raw r ‖ s, 64 bytes for P-256 (default), 96 for P-384  @returns strict DER
 *  @throws NusecError KEY_REFUSED for any other length: the halves of it would be other numbers than the signer's */
export function rawToDer(raw: Uint8Array, curve: Curve = 'P-256'): Uint8Array {
  const half = coordinateBytes[curve];
  if (raw.length !== 2 * half) throw new NusecError('KEY_REFUSED', `a raw ${curve} signature has ${2 * half} bytes`);
  const [rBytes, sBytes] = [integerBytes(raw, 0, half), integerBytes(raw, half, raw.length)];
  const der = Buffer.allocUnsafe(2 + 2 + rBytes + 2 + sBytes);
  der.set([0x30, der.length - 2]);
  writeInteger(der, 2, raw.subarray(0, half), rBytes);
  writeInteger(der, 4 + rBytes, raw.subarray(half), sBytes);
  return der;
}

/** Copies the INTEGER at `at` into `raw` so that it ends at `end`. @returns where the next one begins, or undefined when it is not strict DER of that size */
function readInteger(der: Uint8Array, at: number, raw: Uint8Array, end: number, size: number): number | undefined {
  const length = der[at + 1];
  const next = at + 2 + (length ?? 0);
  if (der[at] !== 0x02 || length === undefined || length === 0 || next > der.length) return undefined;
  const first = der[at + 2] ?? 0;
  if (first >= 0x80 || (first === 0 && length > 1 && (der[at + 3] ?? 0) < 0x80)) return undefined;
  const valueBytes = first === 0 ? length - 1 : length;
  if (valueBytes > size) return undefined;
  for (let i = 1; i <= valueBytes; i += 1) raw[end - i] = der[next - i]!;
  return next;
}

/** Length of the INTEGER in raw[from..end): without leading zeros, but one where the first bit would be a sign. */
function integerBytes(raw: Uint8Array, from: number, end: number): number {
  let start = from;
  while (start < end - 1 && raw[start] === 0) start += 1;
  return end - start + ((raw[start] ?? 0) >= 0x80 ? 1 : 0);
}

function writeInteger(der: Uint8Array, at: number, value: Uint8Array, length: number): void {
  der[at] = 0x02;
  der[at + 1] = length;
  der[at + 2] = 0;
  const from = Math.max(0, value.length - length);
  der.set(value.subarray(from), at + 2 + length - (value.length - from));
}
