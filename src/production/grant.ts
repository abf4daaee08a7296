import { equalBytes } from '../bytes.ts';
import { type CodecType, field, optionalField, record, uint } from '../cbor/schema.ts';
import type { KeyResolver } from '../cose/sign1.ts';
import { NusecError } from '../errors.ts';
import type { Seconds } from '../times.ts';
import { hash32, id16, timeSeconds, uid } from './fields.ts';
import { type SignedFormat, type Signer, signAs, verifyAs } from './signed.ts';
import { uidProof } from './uidList.ts';

/** Grant: the server's leave to build one unit, signed by a key for grants. Used once, 15 minutes long (I12). */

const grant = record({
  grantId: field(1, id16),
  jobId: field(2, id16),
  uid: field(3, uid),
  /** Registration id that the server minted for this unit. */
  objId: field(4, id16),
  progUid: field(5, uid),
  /** Which reservation of this job and programmer it is, from 1. */
  number: field(6, uint(Number.MAX_SAFE_INTEGER, 1)),
  expiresAtSeconds: field(7, timeSeconds),
  /** The ledger head that the programmer quoted when it asked. */
  ledgerHead: field(8, hash32),
  /** Where the package names its UIDs by a tree only. */
  uidProof: optionalField(9, uidProof),
});
export type Grant = CodecType<typeof grant>;

const format: SignedFormat<Grant> = { type: 'application/nusec-grant', codec: grant };

export const signGrant = (value: Grant, signer: Signer): Promise<Uint8Array> => signAs(format, value, signer);

/** What the programmer asked for; a grant for anything else is refused. `nowSeconds` is absent where there is no trusted clock. */
export type GrantExpectation = Pick<Grant, 'jobId' | 'uid' | 'progUid' | 'ledgerHead'> & { readonly nowSeconds?: Seconds };

/** @throws NusecError COSE_MALFORMED, COSE_SIGNATURE, CBOR_MALFORMED, GRANT_REFUSED (for another unit, job, programmer or ledger), GRANT_EXPIRED */
export async function verifyGrant(bytes: Uint8Array, expected: GrantExpectation, grantKeys: KeyResolver): Promise<Grant> {
  const value = await verifyAs(format, bytes, grantKeys);
  const names = ['jobId', 'uid', 'progUid', 'ledgerHead'] as const;
  if (!names.every(name => equalBytes(value[name], expected[name])))
    throw new NusecError('GRANT_REFUSED', 'the grant is for something else');
  if (expected.nowSeconds !== undefined && expected.nowSeconds >= value.expiresAtSeconds) {
    throw new NusecError('GRANT_EXPIRED', 'the grant has expired');
  }
  return value;
}
