import { encodeCertificateChain } from './certChain.ts';
import { type CertificatePortion, certificateHeadBytes, type GetCertificate } from './messages/certificate.ts';
import type { KeyPairInfo, SlotDigest } from './messages/digests.ts';
import { hashOf } from './signature.ts';
import type { Algorithms, HashAlgorithm } from './suite.ts';

/** The certificate slots of one side (DSP0274 §10.6), and their content in DIGESTS and CERTIFICATE: the responder's own, or the requester's
 *  in encapsulated messages. */

export type CertSlot = {
  /** DER, root first, leaf last. */
  readonly certificates: readonly Uint8Array[];
  /** Signature over `input` with the leaf's key: ECDSA over `hash`, that of the connection (raw r ‖ s, 64 or 96 bytes), or ML-DSA-65 with the
   *  context string `signingContextOf(input)` (3309 bytes). */
  readonly sign: (input: Uint8Array, hash: HashAlgorithm['name']) => Promise<Uint8Array>;
  /** Sent in DIGESTS on multi-key connections (1.3+); its certificate model also in CERTIFICATE. */
  readonly keyPair?: KeyPairInfo;
};
/** Index = slot number 0–7. */
export type CertSlots = readonly (CertSlot | undefined)[];
/** Slots, or how they follow from the negotiated algorithms, for a side with keys of several kinds. */
export type SlotSource = CertSlots | ((algorithms: Algorithms) => CertSlots);

export const slotsFor = (source: SlotSource, algorithms: Algorithms): CertSlots =>
  typeof source === 'function' ? source(algorithms) : source;

/** What the chain structure depends on. */
export type ChainContext = { readonly version: number; readonly hash: HashAlgorithm };

/** The certificate chain structure of a slot, made once per slot, form and hash. */
function chainStructure({ version, hash }: ChainContext, cert: CertSlot): Uint8Array {
  return kept(cert, version, hash).chain;
}

/** Its hash, as in DIGESTS. */
export function chainDigest({ version, hash }: ChainContext, cert: CertSlot): Uint8Array {
  return kept(cert, version, hash).digest;
}

type Structure = { readonly hash: HashAlgorithm; readonly isNewForm: boolean; readonly chain: Uint8Array; readonly digest: Uint8Array };
const structures = new WeakMap<CertSlot, Structure[]>();
const newForm = 0x14;

function kept(cert: CertSlot, version: number, hash: HashAlgorithm): Structure {
  const forms = structures.get(cert) ?? [];
  const isNewForm = version >= newForm;
  const known = forms.find(form => form.hash === hash && form.isNewForm === isNewForm);
  if (known) return known;
  const chain = encodeCertificateChain(version, hash, cert.certificates);
  const made = { hash, isNewForm, chain, digest: hashOf(hash, chain) };
  structures.set(cert, [...forms, made]);
  return made;
}

/** One bit for each slot with certificates. */
export function slotMask(slots: CertSlots): number {
  let mask = 0;
  for (let slot = 0; slot < slots.length; slot += 1) if (slots[slot]) mask |= 1 << slot;
  return mask;
}

export function slotDigests(context: ChainContext, manyKeys: boolean, slots: CertSlots): readonly SlotDigest[] {
  const digests: SlotDigest[] = [];
  for (let slot = 0; slot < slots.length; slot += 1) {
    const cert = slots[slot];
    if (!cert) continue;
    const digest = chainDigest(context, cert);
    digests.push(manyKeys ? { slot, digest, keyPair: cert.keyPair ?? unknownKeyPair } : { slot, digest });
  }
  return digests;
}

/** Key pair 1, a device certificate, usable for everything. */
const unknownKeyPair: KeyPairInfo = { keyPairId: 1, certificateInfo: 1, keyUsage: 0x0f };

/** @param roomBytes the longest CERTIFICATE message  @returns undefined for an offset behind the chain */
export function certificatePortion(
  context: ChainContext,
  manyKeys: boolean,
  cert: CertSlot,
  { slot, offset, length, large, sizeOnly }: GetCertificate,
  roomBytes: number,
): CertificatePortion | undefined {
  const chain = chainStructure(context, cert);
  const certificateInfo = manyKeys ? (cert.keyPair ?? unknownKeyPair).certificateInfo : 0;
  if (sizeOnly) return { slot, large, certificateInfo, portion: new Uint8Array(), remainder: chain.length };
  if (offset >= chain.length) return undefined;
  const room = roomBytes - (large ? certificateHeadBytes.large : certificateHeadBytes.short);
  const portion = chain.subarray(offset, offset + Math.min(length, room));
  return { slot, large, certificateInfo, portion, remainder: chain.length - offset - portion.length };
}
