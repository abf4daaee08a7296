import { fromHex, toHex, utf8 } from '../bytes.ts';
import { array, bytesUpTo, type CodecType, decodeAs, encodeAs, field, oneOf, optionalField, record, refine, text } from '../cbor/schema.ts';
import { sha256Hex } from '../digest.ts';
import { maxCalibrationBytes, maxTextChars, type SeriesKind, valueAt } from '../domain/seriesValues.ts';
import { NusecError } from '../errors.ts';
import { u32 } from './fields.ts';

/** Unit data: the values that each unit gets for itself (serial number, MAC address, label, calibration). A package has them by range or one by one,
 *  in the order of the reservations of its share; the grant's number says which ones are of this unit, so no value is given twice. The target keeps
 *  what is written to it as one object. */

export const maxUnitDataFields = 8;
/** Ranges and lists of one field in a package. */
const maxSources = 64;
/** Values of lists in one package, together. */
export const maxListedBytes = 40 * 1024;
const maxListedValues = 8192;
const maxNameChars = 32;

const kind = oneOf({ serial: 1, mac: 2, label: 3, calibration: 4 } satisfies Record<SeriesKind, number>);
/** Where a value goes: `sealed`: to the target in the session, with the application (step 14) · `plain`: to the target before the lock (step 6), and again
 *  with the sealed ones · `report`: to nobody but the report, for what is printed on the unit. */
const destinations = { plain: 1, sealed: 2, report: 3 } as const;
export type Destination = keyof typeof destinations;

const source = refine(
  record({
    /** Reservation that gets the first value. */
    firstNumber: field(1, u32),
    count: field(2, u32),
    /** First value of a range, in the form of its kind … */
    from: optionalField(3, text(maxTextChars)),
    /** … or the values themselves. */
    values: optionalField(4, array(bytesUpTo(maxCalibrationBytes, 1), maxListedValues)),
  }),
  'a range, or as many values as it counts',
  ({ count, from, values }) => (from === undefined) !== (values === undefined) && (values === undefined || values.length === count),
);
const unitDataField = record({
  name: field(1, text(maxNameChars)),
  kind: field(2, kind),
  destination: field(3, oneOf(destinations)),
  sources: field(4, array(source, maxSources)),
});
export const unitDataRule = array(unitDataField, maxUnitDataFields, 1);
export type UnitDataRule = CodecType<typeof unitDataRule>;
export type UnitDataSource = CodecType<typeof source>;

/** What a target keeps, PUT type 7. */
const unitObject = array(
  record({ name: field(1, text(maxNameChars)), kind: field(2, kind), value: field(3, bytesUpTo(maxCalibrationBytes, 1)) }),
  maxUnitDataFields,
  1,
);
export const decodeUnitObject = (bytes: Uint8Array): CodecType<typeof unitObject> => decodeAs(unitObject, bytes);

export type UnitValue = { readonly name: string; readonly kind: SeriesKind; readonly destination: Destination; readonly value: Uint8Array };
/** As reports show it. */
export type ReportedValue = { readonly name: string; readonly value: string };

/** A value from its text to what goes into packages and targets: the six bytes of a MAC address, calibration bytes, else UTF-8. */
export function valueBytes(of: SeriesKind, value: string): Uint8Array {
  if (of === 'mac') return fromHex(value.replaceAll(':', ''));
  return of === 'calibration' ? fromHex(value) : utf8(value);
}

/** The text of a value in reports: calibration data is shown by its SHA-256. */
export function reportedText(of: SeriesKind, value: Uint8Array): string {
  if (of === 'calibration') return sha256Hex(value);
  if (of === 'mac') return (toHex(value).match(/../g) ?? []).join(':');
  return new TextDecoder().decode(value);
}

/** The values of one unit. @param number of its grant @throws NusecError VALUES_EXHAUSTED when the package has none for it */
export const valuesOf = (rule: UnitDataRule, number: number): readonly UnitValue[] =>
  rule.map(({ sources, ...of }) => ({ name: of.name, kind: of.kind, destination: of.destination, value: valueIn(of, sources, number) }));

function valueIn(
  { name, kind: of }: { readonly name: string; readonly kind: SeriesKind },
  sources: readonly UnitDataSource[],
  number: number,
): Uint8Array {
  const found = sources.find(({ firstNumber, count }) => number >= firstNumber && number < firstNumber + count);
  if (found === undefined) throw new NusecError('VALUES_EXHAUSTED', `the package has no ${name} for reservation ${number}`);
  const { firstNumber, count, from, values } = found;
  const listed = values?.[number - firstNumber];
  return listed ?? valueBytes(of, valueAt(of, { from: from ?? '', count }, number - firstNumber));
}

/** What is written to the target: at step 6 what is `plain`; with the application everything but what is for the report, when something is sealed.
 *  @returns undefined when nothing is written there */
export function unitObjectAt(values: readonly UnitValue[], step: 'plain' | 'sealed'): Uint8Array | undefined {
  if (!values.some(({ destination }) => destination === step)) return undefined;
  const written = values.filter(({ destination }) => destination === 'plain' || (step === 'sealed' && destination === 'sealed'));
  return encodeAs(
    unitObject,
    written.map(({ name, kind: of, value }) => ({ name, kind: of, value })),
  );
}

/** What the target has in the end; undefined when nothing is written to it. */
export const finalUnitObject = (values: readonly UnitValue[]): Uint8Array | undefined =>
  unitObjectAt(values, 'sealed') ?? unitObjectAt(values, 'plain');

export const reportOf = (values: readonly UnitValue[]): readonly ReportedValue[] =>
  values.map(({ name, kind: of, value }) => ({ name, value: reportedText(of, value) }));
