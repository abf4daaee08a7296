import { concat } from './bytes.ts';

/** ECDSA signatures in their two forms: DER SEQUENCE {r, s} (X.509, MCUboot, node:crypto's default) and raw r ‖ s (COSE, SPDM). */

/** @param der strict DER {r, s}  @param coordinateBytes 32 for P-256, 48 for P-384  @returns raw r ‖ s, or undefined when it is not strict DER of that size */
export function derToRaw(der: Uint8Array, coordinateBytes: number): Uint8Array | undefined {
  const head = der[1] === 0x81 ? 3 : 2;
  const bodyBytes = head === 3 ? der[2] : der[1];
  if (der[0] !== 0x30 || bodyBytes === undefined || bodyBytes !== der.length - head || (head === 3 && bodyBytes < 0x80)) return undefined;
  const r = readInteger(der, head, coordinateBytes);
  if (!r) return undefined;
  const s = readInteger(der, r.next, coordinateBytes);
  return s && s.next === der.length ? concat(r.value, s.value) : undefined;
}

/** @param raw r ‖ s, both half of its length, at most 48 bytes each  @returns strict DER */
export function rawToDer(raw: Uint8Array): Uint8Array {
  const half = raw.length / 2;
  const body = concat(writeInteger(raw.subarray(0, half)), writeInteger(raw.subarray(half)));
  return concat(Uint8Array.of(0x30, body.length), body);
}

function readInteger(der: Uint8Array, at: number, size: number): { value: Uint8Array; next: number } | undefined {
  const length = der[at + 1];
  if (der[at] !== 0x02 || length === undefined || length === 0 || at + 2 + length > der.length) return undefined;
  const first = der[at + 2] ?? 0;
  const second = der[at + 3] ?? 0;
  if (first >= 0x80 || (first === 0 && length > 1 && second < 0x80)) return undefined;
  const bytes = der.subarray(at + 2 + (first === 0 ? 1 : 0), at + 2 + length);
  if (bytes.length > size) return undefined;
  const value = new Uint8Array(size);
  value.set(bytes, size - bytes.length);
  return { value, next: at + 2 + length };
}

function writeInteger(value: Uint8Array): Uint8Array {
  let start = 0;
  while (start < value.length - 1 && value[start] === 0) start += 1;
  const bytes = value.subarray(start);
  const pad = (bytes[0] ?? 0) >= 0x80 ? 1 : 0;
  return concat(Uint8Array.of(0x02, bytes.length + pad), new Uint8Array(pad), bytes);
}
