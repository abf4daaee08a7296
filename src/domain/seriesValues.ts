import { refuse } from './rules.ts';

/** Values of a series, as text: the forms of each kind, and the arithmetic of ranges. A range is its first value and a count; the next value of a
 *  serial number or label is one more in its last digits, of a MAC address one more as a number. */

/** `serial`, `label`: text of 1 to 64 printable characters · `mac`: EUI-48, `02:00:5e:10:00:01` · `calibration`: bytes as lower-case hex; no ranges. */
export const seriesKinds = ['serial', 'mac', 'label', 'calibration'] as const;
export type SeriesKind = (typeof seriesKinds)[number];

/** @property from the first value */
export type ValueRange = { readonly from: string; readonly count: number };

export const maxTextChars = 64;
export const maxCalibrationBytes = 1024;
/** Digits at the end of a serial number that are counted. */
const maxDigits = 15;
const macBits = 48n;
const printable = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/;
const macForm = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;

/** @returns why it is no value of this kind; undefined when it is one */
export function flawOf(kind: SeriesKind, value: string): string | undefined {
  if (kind === 'mac') {
    if (!macForm.test(value)) return 'a MAC address reads 02:00:5e:10:00:01';
    return (numberOfMac(value) >> 40n) & 1n ? 'it is a group address' : undefined;
  }
  if (kind === 'calibration') {
    const isHex = value.length > 0 && value.length % 2 === 0 && /^[0-9a-f]+$/.test(value);
    return isHex && value.length <= 2 * maxCalibrationBytes
      ? undefined
      : `calibration data is 1 to ${maxCalibrationBytes} bytes, in lower-case hex`;
  }
  return value.length <= maxTextChars && printable.test(value) ? undefined : `it is 1 to ${maxTextChars} printable characters`;
}

/** @throws NusecError BAD_REQUEST when the range does not fit its form */
export function requireRange(kind: SeriesKind, { from, count }: ValueRange): void {
  if (kind === 'calibration') refuse('BAD_REQUEST', 'calibration data comes as a list');
  const flaw = flawOf(kind, from);
  if (flaw !== undefined) refuse('BAD_REQUEST', `${from}: ${flaw}`);
  const { first, limit } = placeOf(kind, from);
  const last = first + BigInt(count) - 1n;
  if (last >= limit) refuse('BAD_REQUEST', `${count} values from ${from} on need more digits`);
  if (kind === 'mac' && flawOf(kind, valueAt(kind, { from, count }, count - 1)) !== undefined)
    refuse('BAD_REQUEST', 'the range runs into group addresses');
}

/** @param index from 0 */
export function valueAt(kind: SeriesKind, { from }: ValueRange, index: number): string {
  const { prefix, first, digits } = placeOf(kind, from);
  const number = first + BigInt(index);
  if (kind !== 'mac') return prefix + String(number).padStart(digits, '0');
  return (number.toString(16).padStart(12, '0').match(/../g) ?? []).join(':');
}

/** Whether two ranges of one kind have a value in common. */
export function overlap(kind: SeriesKind, one: ValueRange, other: ValueRange): boolean {
  const [a, b] = [placeOf(kind, one.from), placeOf(kind, other.from)];
  if (a.prefix !== b.prefix || a.digits !== b.digits) return false;
  return a.first < b.first + BigInt(other.count) && b.first < a.first + BigInt(one.count);
}

/** Whether a value is in a range of its kind. */
export const isInRange = (kind: SeriesKind, range: ValueRange, value: string): boolean =>
  (kind === 'mac' || /\d$/.test(value)) && overlap(kind, range, { from: value, count: 1 });

/** A range as what stays the same, a number, and how many digits it has. @throws NusecError BAD_REQUEST */
function placeOf(kind: SeriesKind, from: string) {
  if (kind === 'mac') return { prefix: '', first: numberOfMac(from), digits: 12, limit: 1n << macBits };
  const [, digits = ''] = new RegExp(`(\\d{1,${maxDigits}})$`).exec(from) ?? [];
  if (digits === '') refuse('BAD_REQUEST', `${from} does not end in digits`);
  return { prefix: from.slice(0, -digits.length), first: BigInt(digits), digits: digits.length, limit: 10n ** BigInt(digits.length) };
}

const numberOfMac = (text: string): bigint => BigInt(`0x${text.replaceAll(':', '')}`);
