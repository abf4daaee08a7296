import { createPublicKey, X509Certificate } from 'node:crypto';
import { NusecError } from '../../errors.ts';
import type { SlotSource } from '../../spdm/certSlot.ts';
import {
  type Algorithms,
  type HashAlgorithm,
  hashAlgorithms,
  pqcSignatureAlgorithms,
  type SignatureAlgorithm,
  signatureAlgorithms,
} from '../../spdm/suite.ts';
import type { CommonOptions } from './options.ts';
import { type Kind, type LoadedSlots, loadSlots, makeSlots, type Role } from './slots.ts';

/** Who we are, by the algorithm that was negotiated, and whom we trust. */

export type Identities = {
  readonly slots: SlotSource;
  /** @throws KEY_NOT_FOUND for an algorithm without certificates */
  forSignature(signature: SignatureAlgorithm): LoadedSlots;
};

const mlDsaKinds = { 'ml-dsa-44': 'mldsa44', 'ml-dsa-65': 'mldsa65', 'ml-dsa-87': 'mldsa87' } as const;

function kindOf(signature: SignatureAlgorithm): Kind {
  if ('mlDsa' in signature) return mlDsaKinds[signature.mlDsa];
  return 'curve' in signature && signature.curve === 'P-384' ? 'ecp384' : 'ecp256';
}

/** The algorithms that a public key known before is for: the first that is offered, as there is no negotiation of such a key. */
export function soleAlgorithms({ asym, pqcAsym, hash }: CommonOptions): {
  readonly hash: HashAlgorithm;
  readonly signature: SignatureAlgorithm;
} {
  const rows = [...pqcSignatureAlgorithms.filter(({ bit }) => pqcAsym & bit), ...signatureAlgorithms.filter(({ bit }) => asym & bit)];
  const [signature] = rows;
  const used = hashAlgorithms.find(({ bit }) => hash & bit);
  if (!signature || !used) throw new NusecError('KEY_NOT_FOUND', 'a public key known before needs --asym or --pqc-asym, and --hash');
  return { signature, hash: used };
}

/** The responder's public key (SubjectPublicKeyInfo, DER), which a requester knows before, from the same folder. @throws KEY_NOT_FOUND */
export function responderKey(options: CommonOptions): Uint8Array {
  if (options.certificates === undefined)
    throw new NusecError('KEY_NOT_FOUND', 'PUB_KEY_ID needs --certificates: both ends know the key from there');
  const { key } = loadSlots(options.certificates, kindOf(soleAlgorithms(options).signature), 'responder', 1);
  return new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }));
}

export async function openIdentities({ certificates: folder, slots: count }: CommonOptions, role: Role): Promise<Identities> {
  const made = folder === undefined ? await makeSlots(role, count) : undefined;
  const loaded = new Map<Kind, LoadedSlots>();
  const forSignature = (signature: SignatureAlgorithm): LoadedSlots => {
    const kind = kindOf(signature);
    const known = loaded.get(kind) ?? (folder === undefined ? ownOnly(made!, kind) : loadSlots(folder, kind, role, count));
    loaded.set(kind, known);
    return known;
  };
  const own = (algorithms: Algorithms): SignatureAlgorithm =>
    role === 'responder' ? algorithms.signature : (algorithms.requesterSignature ?? algorithms.signature);
  return { forSignature, slots: algorithms => forSignature(own(algorithms)).slots(algorithms.hash) };
}

function ownOnly(made: LoadedSlots, kind: Kind): LoadedSlots {
  if (kind !== 'ecp256') throw new NusecError('KEY_NOT_FOUND', 'without --certificates there are only P-256 certificates');
  return made;
}

/** Trusts a chain whose every link verifies. Whether its root is one to be trusted is not the question here: this is a tool for tests of the protocol. */
export function trustLinks(certificates: readonly Uint8Array[]) {
  const chain = certificates.map(der => new X509Certificate(der));
  chain.forEach((certificate, i) => {
    const issuer = chain[Math.max(0, i - 1)]!;
    if (i > 0 && !certificate.verify(issuer.publicKey)) throw new NusecError('SPDM_SIGNATURE', `certificate ${i} is not of its issuer`);
  });
  return chain.at(-1)!.publicKey;
}
