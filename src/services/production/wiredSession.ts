import { equalBytes } from '../../bytes.ts';
import { importKey } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { spdmVersions } from '../../spdm/constants.ts';
import { decodeEvidence, type NegotiatedFacts, verifyEvidence } from '../../spdm/evidence.ts';
import type { LeafKey } from '../../spdm/signature.ts';

/** Evidence of the session that a programmer had with a chip: with this very device, not with an interposer (T9).
 *  @param evidence of SPDM KEY_EXCHANGE, canonical JSON form
 *  @param expected.leaf certificate of the device, DER, and its key; `publicKey`: SubjectPublicKeyInfo, where the line allows a device without certificates
 *  @returns what was agreed on, to be held against the policy of the line
 *  @throws NusecError SPDM_…, CHAIN_REFUSED */
export async function provenSession(
  evidence: Uint8Array,
  expected: {
    readonly leaf: Uint8Array;
    readonly leafKey: LeafKey;
    readonly publicKey?: Uint8Array | undefined;
    readonly nonce: Uint8Array;
    readonly uid: string;
  },
): Promise<NegotiatedFacts> {
  const { leaf, leafKey, publicKey, nonce, uid } = expected;
  const read = decodeEvidence(evidence);
  if (read.kind !== 'session') throw new NusecError('SPDM_UNEXPECTED', 'the evidence is not of a session');
  const requireSame = (shown: Uint8Array, known: Uint8Array): void => {
    if (!equalBytes(shown, known)) throw new NusecError('CHAIN_REFUSED', 'the session is with another device');
  };
  const trust = (chain: readonly Uint8Array[]): LeafKey => {
    requireSame(chain.at(-1) ?? new Uint8Array(), leaf);
    return leafKey;
  };
  const byKey = publicKey && {
    trustKey: (shown: Uint8Array): LeafKey => {
      requireSame(shown, publicKey);
      return importKey(shown);
    },
  };
  return (await verifyEvidence(read, { trust, nonce, uidHex: uid, versions: spdmVersions, ...byKey })).negotiated;
}
