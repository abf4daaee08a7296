import { concat, equalBytes } from '../bytes.ts';
import { malformed, openReader, u16, u32 } from './codec.ts';
import { maxChainBytes } from './constants.ts';
import { hashOf } from './signature.ts';
import type { HashAlgorithm } from './suite.ts';

/** The certificate chain structure of a slot (DSP0274 §10.6.1): length ‖ root hash ‖ certificates from the root (or its first child) to the leaf.
 *  Whether to trust it is decided elsewhere (src/pki). */

const headBytes = 4;
/** Since 1.4 the length has four bytes. */
const newForm = 0x14;
const maxCertificates = 8;

/** @param certificates DER, root first, leaf last */
export function encodeCertificateChain(version: number, hash: HashAlgorithm, certificates: readonly Uint8Array[]): Uint8Array {
  const root = hashOf(hash, certificates[0] ?? new Uint8Array());
  const body = concat(root, ...certificates);
  const length = headBytes + body.length;
  return concat(version >= newForm ? u32(length) : concat(u16(length), u16(0)), body);
}

/** What is known of a chain that somebody keeps, once it has been asked for. */
type Kept = {
  digest?: { readonly hash: HashAlgorithm; readonly bytes: Uint8Array };
  read?: { readonly form: string; readonly chain: CertificateChain };
};
const kept = new WeakMap<Uint8Array, Kept>();

/** A copy of a chain structure for a verifier that will meet it again (`knownChain`): its digest and its certificates are found out once.
 *  Nobody writes to it. */
export function keepChain(chain: Uint8Array): Uint8Array {
  if (kept.has(chain)) return chain;
  const copy = chain.slice();
  kept.set(copy, {});
  return copy;
}

/** Hash of a chain structure, as in DIGESTS. */
export function digestOfChain(hash: HashAlgorithm, chain: Uint8Array): Uint8Array {
  const known = kept.get(chain);
  if (known === undefined) return hashOf(hash, chain);
  if (known.digest?.hash !== hash) known.digest = { hash, bytes: hashOf(hash, chain) };
  return known.digest.bytes;
}

/** Whether a chain (root first) is that of this very certificate: for `isOurs` of a requester that knows it, as a device may have others too. */
export const endsIn =
  (certificate: Uint8Array) =>
  (certificates: readonly Uint8Array[]): boolean =>
    equalBytes(certificates.at(-1) ?? new Uint8Array(), certificate);

export type CertificateChain = { readonly rootHash: Uint8Array; readonly certificates: readonly Uint8Array[] };

/** @returns the certificates, root first, leaf last; only their outer lengths are read
 *  @throws SPDM_MALFORMED for a wrong length, more than 8 certificates or more than 64 KiB */
export function decodeCertificateChain(version: number, hash: HashAlgorithm, chain: Uint8Array): CertificateChain {
  const known = kept.get(chain);
  if (known === undefined) return readChain(version, hash, chain, 'slice');
  const form = `${version >= newForm} ${hash.name}`;
  if (known.read?.form !== form) known.read = { form, chain: readChain(version, hash, chain, 'subarray') };
  return known.read.chain;
}

/** @param cut views of a chain that is kept, copies of one in a buffer that is not ours */
function readChain(version: number, hash: HashAlgorithm, chain: Uint8Array, cut: 'slice' | 'subarray'): CertificateChain {
  if (chain.length > maxChainBytes) throw malformed('certificate chain: too long');
  const reader = openReader(chain, 'certificate chain');
  const length = version >= newForm ? reader.u32() : reader.u16();
  if (version < newForm) reader.u16();
  if (length !== chain.length) throw malformed('certificate chain: length');
  const rootHash = reader.take(hash.hashBytes);
  const certificates = splitCertificates(reader.take(reader.left()), cut);
  return { rootHash, certificates };
}

function splitCertificates(der: Uint8Array, cut: 'slice' | 'subarray'): readonly Uint8Array[] {
  const certificates: Uint8Array[] = [];
  for (let at = 0; at < der.length; ) {
    const length = sequenceBytes(der, at);
    if (length > der.length - at || certificates.length === maxCertificates) throw malformed('certificate chain: certificates');
    certificates.push(der[cut](at, at + length));
    at += length;
  }
  if (certificates.length === 0) throw malformed('certificate chain: empty');
  return certificates;
}

/** Length of the DER SEQUENCE at that offset: a certificate has two length bytes (128 bytes to 64 KiB), or one for up to 255. */
function sequenceBytes(der: Uint8Array, at: number): number {
  if (at + 4 > der.length || der[at] !== 0x30) throw malformed('certificate chain: not a certificate');
  const form = der[at + 1];
  if (form === 0x81) return 3 + der[at + 2]!;
  if (form === 0x82) return 4 + der[at + 2]! * 256 + der[at + 3]!;
  throw malformed('certificate chain: certificate length');
}
