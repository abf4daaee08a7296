import { concat } from './bytes.ts';

/** ECDSA signatures in their two forms: DER SEQUENCE {r, s} (X.509, MCUboot, node:crypto's default) and raw r ‖ s (COSE, SPDM). */

/** @param der strict DER {r, s}  @param coordinateBytes 32 for P-256, 48 for P-384  @returns raw r ‖ s, or undefined when it is not strict DER of that size */
export function derToRaw(der: Uint8Array, coordinateBytes: number): Uint8Array | undefined {
  const head = der[1] === 0x81 ? 3 : 2;
  const bodyBytes = head === 3 ? der[2] : der[1];
  if (der[0] !== 0x30 || bodyBytes === undefined || bodyBytes !== der.length - head || (head === 3 && bodyBytes < 0x80)) return undefined;
  const raw = new Uint8Array(2 * coordinateBytes);
  const afterR = readInteger(der, head, raw, coordinateBytes, coordinateBytes);
  if (afterR === undefined) return undefined;
  return readInteger(der, afterR, raw, raw.length, coordinateBytes) === der.length ? raw : undefined;
}

/** @param raw r ‖ s, both half of its length, at most 48 bytes each  @returns strict DER */
export function rawToDer(raw: Uint8Array): Uint8Array {
  const half = raw.length / 2;
  const body = concat(writeInteger(raw.subarray(0, half)), writeInteger(raw.subarray(half)));
  return concat(Uint8Array.of(0x30, body.length), body);
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

function writeInteger(value: Uint8Array): Uint8Array {
  let start = 0;
  while (start < value.length - 1 && value[start] === 0) start += 1;
  const bytes = value.subarray(start);
  const pad = (bytes[0] ?? 0) >= 0x80 ? 1 : 0;
  return concat(Uint8Array.of(0x02, bytes.length + pad), new Uint8Array(pad), bytes);
}
