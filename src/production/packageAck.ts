import { type CodecType, field, record, uint } from '../cbor/schema.ts';
import type { KeyResolver } from '../cose/sign1.ts';
import { hash32, id16, u32, uid } from './fields.ts';
import { type SignedFormat, type Signer, signAs, verifyAs } from './signed.ts';

/** Acknowledgement of an import: the programmer reports to the server which package it now counts with, signed with its AUTH key (R62–R64). */

const packageAck = record({
  progUid: field(1, uid),
  jobId: field(2, id16),
  packageId: field(3, id16),
  sequence: field(4, uint()),
  epoch: field(5, u32),
  /** SHA-256 of the whole file. */
  packageSha256: field(6, hash32),
  remaining: field(7, u32),
  /** Ledger head after the import record. */
  ledgerHead: field(8, hash32),
});
export type PackageAck = CodecType<typeof packageAck>;

const format: SignedFormat<PackageAck> = { type: 'application/nusec-package-ack', codec: packageAck };

export const signPackageAck = (value: PackageAck, signer: Signer): Promise<Uint8Array> => signAs(format, value, signer);

/** @throws NusecError COSE_MALFORMED, COSE_SIGNATURE, CBOR_MALFORMED */
export const verifyPackageAck = (bytes: Uint8Array, programmerKeys: KeyResolver): Promise<PackageAck> =>
  verifyAs(format, bytes, programmerKeys);
