/** The algorithms of a connection as records, so that another curve or hash is another row (DSP0274 §10.4, tables of NEGOTIATE_ALGORITHMS). */

export type HashAlgorithm = {
  readonly bit: number;
  readonly name: 'sha256' | 'sha384';
  readonly hashBytes: number;
  /** Of its compression function. */
  readonly blockBytes: number;
  readonly measurementBit: number;
};
export type EcdsaAlgorithm = { readonly bit: number; readonly curve: 'P-256' | 'P-384'; readonly signatureBytes: number };
/** FIPS 204, since 1.4. */
export type MlDsaAlgorithm = {
  readonly bit: number;
  readonly mlDsa: 'ml-dsa-44' | 'ml-dsa-65' | 'ml-dsa-87';
  readonly signatureBytes: number;
};
export type SignatureAlgorithm = EcdsaAlgorithm | MlDsaAlgorithm | typeof noSignature;
export type DheGroup = {
  readonly bit: number;
  readonly curve: 'prime256v1' | 'secp384r1';
  readonly exchangeBytes: number;
  readonly privateBytes: number;
};
/** FIPS 203, since 1.4: `exchangeBytes` is the encapsulation key in KEY_EXCHANGE, `ciphertextBytes` what KEY_EXCHANGE_RSP carries. */
export type KemAlgorithm = {
  readonly bit: number;
  readonly mlKem: 'ml-kem-512' | 'ml-kem-768' | 'ml-kem-1024';
  readonly exchangeBytes: number;
  readonly ciphertextBytes: number;
};
export type KeyAgreement = DheGroup | KemAlgorithm;
export type Aead = {
  readonly bit: number;
  readonly name: 'aes-256-gcm' | 'chacha20-poly1305';
  readonly keyBytes: number;
  readonly ivBytes: number;
};

/** BaseHashAlgo; `measurementBit` is the same hash in MeasurementHashAlgo, where bit 0 means raw only. */
export const hashAlgorithms: readonly HashAlgorithm[] = [
  { bit: 0x1, name: 'sha256', hashBytes: 32, blockBytes: 64, measurementBit: 0x2 },
  { bit: 0x2, name: 'sha384', hashBytes: 48, blockBytes: 128, measurementBit: 0x4 },
];
/** BaseAsymAlgo and ReqBaseAsymAlg. */
export const signatureAlgorithms: readonly EcdsaAlgorithm[] = [
  { bit: 0x10, curve: 'P-256', signatureBytes: 64 },
  { bit: 0x80, curve: 'P-384', signatureBytes: 96 },
];
/** PqcAsymAlgo and ReqPqcAsymAlg. */
export const pqcSignatureAlgorithms: readonly MlDsaAlgorithm[] = [
  { bit: 0x1, mlDsa: 'ml-dsa-44', signatureBytes: 2420 },
  { bit: 0x2, mlDsa: 'ml-dsa-65', signatureBytes: 3309 },
  { bit: 0x4, mlDsa: 'ml-dsa-87', signatureBytes: 4627 },
];
/** A connection without anything that is signed, such as PSK alone. */
export const noSignature = { bit: 0, signatureBytes: 0 } as const;
/** DHE groups: ExchangeData is X ‖ Y. */
export const dheGroups: readonly DheGroup[] = [
  { bit: 0x8, curve: 'prime256v1', exchangeBytes: 64, privateBytes: 32 },
  { bit: 0x10, curve: 'secp384r1', exchangeBytes: 96, privateBytes: 48 },
];
/** KEM algorithms. */
export const kemAlgorithms: readonly KemAlgorithm[] = [
  { bit: 0x1, mlKem: 'ml-kem-512', exchangeBytes: 800, ciphertextBytes: 768 },
  { bit: 0x2, mlKem: 'ml-kem-768', exchangeBytes: 1184, ciphertextBytes: 1088 },
  { bit: 0x4, mlKem: 'ml-kem-1024', exchangeBytes: 1568, ciphertextBytes: 1568 },
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
/** OtherParamsSupport and OtherParamsSelection: general opaque data format (1.2+); several key pairs (1.3+): in the request those of the
 *  responder, in the response those of the requester. */
export const opaqueFormat1 = 0x02;
export const multiKeyConnection = 0x10;

export function rowOf<Row extends { readonly bit: number }>(table: readonly Row[], bit: number): Row | undefined {
  return table.find(row => row.bit === bit);
}

/** Length of ExchangeData in KEY_EXCHANGE_RSP. */
export const responseExchangeBytes = (agreement: KeyAgreement): number =>
  'mlKem' in agreement ? agreement.ciphertextBytes : agreement.exchangeBytes;

/** What both sides agreed on. Fields are absent when the feature is off on one side. */
export type Algorithms = {
  readonly hash: HashAlgorithm;
  readonly signature: SignatureAlgorithm;
  readonly measurementHash?: HashAlgorithm;
  readonly dhe?: KeyAgreement;
  readonly aead?: Aead;
  readonly requesterSignature?: SignatureAlgorithm;
  readonly opaqueFormat1: boolean;
  /** DIGESTS of the responder contain key pairs and are part of the session transcripts. */
  readonly multiKey: boolean;
  /** The same for the requester's encapsulated DIGESTS. */
  readonly requesterMultiKey: boolean;
};
