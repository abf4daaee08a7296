/** The algorithms of a connection as records, so that another curve or hash is another row (DSP0274 §10.4, tables of NEGOTIATE_ALGORITHMS). */

export type HashAlgorithm = {
  readonly bit: number;
  readonly name: 'sha256' | 'sha384';
  readonly hashBytes: number;
  readonly measurementBit: number;
};
export type SignatureAlgorithm = { readonly bit: number; readonly curve: 'P-256' | 'P-384'; readonly signatureBytes: number };
export type DheGroup = {
  readonly bit: number;
  readonly curve: 'prime256v1' | 'secp384r1';
  readonly exchangeBytes: number;
  readonly privateBytes: number;
};
export type Aead = {
  readonly bit: number;
  readonly name: 'aes-256-gcm' | 'chacha20-poly1305';
  readonly keyBytes: number;
  readonly ivBytes: number;
};

/** BaseHashAlgo; `measurementBit` is the same hash in MeasurementHashAlgo, where bit 0 means raw only. */
export const hashAlgorithms: readonly HashAlgorithm[] = [
  { bit: 0x1, name: 'sha256', hashBytes: 32, measurementBit: 0x2 },
  { bit: 0x2, name: 'sha384', hashBytes: 48, measurementBit: 0x4 },
];
/** BaseAsymAlgo and ReqBaseAsymAlg. */
export const signatureAlgorithms: readonly SignatureAlgorithm[] = [
  { bit: 0x10, curve: 'P-256', signatureBytes: 64 },
  { bit: 0x80, curve: 'P-384', signatureBytes: 96 },
];
/** DHE groups: ExchangeData is X ‖ Y. */
export const dheGroups: readonly DheGroup[] = [
  { bit: 0x8, curve: 'prime256v1', exchangeBytes: 64, privateBytes: 32 },
  { bit: 0x10, curve: 'secp384r1', exchangeBytes: 96, privateBytes: 48 },
];
/** AEADCipherSuite. */
export const aeads: readonly Aead[] = [
  { bit: 0x2, name: 'aes-256-gcm', keyBytes: 32, ivBytes: 12 },
  { bit: 0x4, name: 'chacha20-poly1305', keyBytes: 32, ivBytes: 12 },
];
/** KeySchedule: the one of SPDM itself. */
export const spdmKeySchedule = 0x1;
/** MeasurementSpecification: DMTF (DSP0274 §10.11.1). */
export const dmtfMeasurementSpecification = 0x1;
/** OtherParamsSupport: general opaque data format (1.2+) and one key pair per slot group (1.3+). */
export const opaqueFormat1 = 0x02;
export const multiKeyConnection = 0x10;

export function rowOf<Row extends { readonly bit: number }>(table: readonly Row[], bit: number): Row | undefined {
  return table.find(row => row.bit === bit);
}

/** What both sides agreed on. Fields are absent when the feature is off on one side. */
export type Algorithms = {
  readonly hash: HashAlgorithm;
  readonly signature: SignatureAlgorithm;
  readonly measurementHash?: HashAlgorithm;
  readonly dhe?: DheGroup;
  readonly aead?: Aead;
  readonly requesterSignature?: SignatureAlgorithm;
  readonly opaqueFormat1: boolean;
  readonly multiKey: boolean;
};
