import { hash, type KeyObject, verify } from 'node:crypto';
import { equalBytes } from '../bytes.ts';
import { digestOf, importKey } from '../ecKey.ts';
import { type ErrorCode, NusecError } from '../errors.ts';
import { lru } from '../lru.ts';
import { hostMatches } from './hosts.ts';
import { type IssuerRecord, issuerRefusal, type LeafPurpose } from './issuerRecord.ts';
import { nameRefusal } from './nameConstraints.ts';
import { describeName } from './names.ts';
import { oids } from './oids.ts';
import { type Certificate, parseCertificate } from './parse.ts';
import { policyRefusal } from './policyConstraints.ts';

/** Path validation (RFC 5280 §6.1) of short chains: leaf, issuing authority, root. A refusal names the certificate and the reason. */

/** Certificates in a chain, root included. */
export const maxChainCertificates = 5;
/** Authorities whose parsed certificate and key are kept, and links between them that are known to verify. */
const maxKnownAuthorities = 256;

/** What the leaf must be valid for. `device`, `programmer`, `gateway`, `server`, `ocspResponder`: issued from that profile of ours by an issuing CA
 *  for it; `spdmResponder`, `spdmRequester`: any SPDM implementation, only the pairing rule of DSP0274 counts (the other role alone is refused). */
type ChainPurpose = LeafPurpose | 'spdmResponder' | 'spdmRequester';

/** What a leaf and the CA that issued it are judged for. */
export type PurposePolicy<Purpose = LeafPurpose> = {
  readonly purpose: Purpose;
  /** What the event log or a trust bundle records of the CA that issued the leaf; for CAs that do not state their use. Nothing when left out. */
  readonly recorded?: (issuer: Certificate) => IssuerRecord;
  /** The product line of the device. */
  readonly line?: string;
};

export type ChainPolicy = PurposePolicy<ChainPurpose> & {
  /** DER of the trusted roots: the chain must end in one of them, byte for byte, or be issued by one. */
  readonly roots: readonly Uint8Array[];
  /** ISO or milliseconds; undefined where there is no trusted clock (programmer, target): validity is then not checked. */
  readonly now: string | number | undefined;
  /** Asked for every certificate below the root. `issuerKeyId` is the subject key identifier of the issuer (R86, RULE-16). */
  readonly isRevoked?: (serialHex: string, issuerKeyId: Uint8Array | undefined) => boolean;
  /** The UID the leaf must carry in its subject, 32 lower-case hex. */
  readonly uid?: string;
  /** DNS name or IP address the server was dialled by (T14). */
  readonly host?: string;
  /** Somebody else has verified the signature of the leaf, or does not need it. */
  readonly isLeafVerified?: boolean;
};

/** Checks a chain, **leaf first**; the root may be left out. @param parsed the leaf, where it was parsed before @returns the leaf
 *  @throws NusecError CHAIN_REFUSED, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED */
export function checkChain(chainDer: readonly Uint8Array[], policy: ChainPolicy, parsed?: Certificate): Certificate {
  const { leaf, links } = prepare(chainDer, policy, parsed);
  for (const link of links) {
    const isVerified = link.place === 0 && policy.isLeafVerified === true;
    settle(link, isVerified || verify(link.digest, link.child.tbs, link.key, link.child.signature));
  }
  return leaf;
}

/** `checkChain` with the signatures verified in the thread pool, for servers. */
export async function checkChainAsync(chainDer: readonly Uint8Array[], policy: ChainPolicy): Promise<Certificate> {
  const { leaf, links } = prepare(chainDer, policy);
  for (const link of links) settle(link, await verifyInPool(link));
  return leaf;
}

type Authority = { readonly certificate: Certificate; readonly digestHex: string; readonly key: KeyObject };
/** A signature still to be verified. `id` is there for authorities, whose links are remembered. */
type Link = { readonly place: number; readonly child: Certificate; readonly key: KeyObject; readonly digest: string; readonly id?: string };

const authorities = lru<Authority>(maxKnownAuthorities);
const verifiedLinks = lru<true>(maxKnownAuthorities);

/** Everything but the signatures, so that these can be verified here or in the thread pool. */
function prepare(
  chainDer: readonly Uint8Array[],
  policy: ChainPolicy,
  parsed?: Certificate,
): { leaf: Certificate; links: readonly Link[] } {
  const [leafDer, ...authorityDer] = chainDer;
  if (!leafDer || chainDer.length > maxChainCertificates)
    throw new NusecError('CHAIN_REFUSED', `a chain has 1 to ${maxChainCertificates} certificates`);
  const leaf = parsed ?? readable(0, () => parseCertificate(leafDer));
  const known = authorityDer.map((der, index) => readable(index + 1, () => authorityOf(der)));
  const issuers = upToRoot(leaf, known, policy.roots);
  const path = [leaf, ...issuers.map(issuer => issuer.certificate)];
  const at = policy.now === undefined ? undefined : wholeSecond(policy.now);
  path.forEach((certificate, place) => {
    checkValidity(place, certificate, at);
    const issuer = path[place + 1];
    if (issuer) checkLink(place, certificate, issuer, policy);
    if (place > 0) checkAuthority(place, path);
  });
  checkPolicies(path);
  checkLeaf(leaf, policy);
  checkPurpose(leaf, path[1], policy);
  checkUsages(path, policy);
  return { leaf, links: issuers.flatMap((issuer, place) => linkTo(place, path[place] as Certificate, issuers[place - 1], issuer)) };
}

/** The issuers of the path, trusted root last: the chain ends in a root, or a root that issued its last certificate is added. */
function upToRoot(leaf: Certificate, issuers: readonly Authority[], roots: readonly Uint8Array[]): readonly Authority[] {
  const last = issuers.at(-1)?.certificate ?? leaf;
  if (issuers.length > 0 && roots.some(root => equalBytes(root, last.der))) return issuers;
  const candidates = roots.flatMap(readableAuthority).filter(({ certificate }) => names(certificate, last));
  const [first = refuse(issuers.length, last, 'is not issued by a trusted root'), ...others] = candidates;
  // Roots of one name, and a certificate that does not say which key signed it: the signature does.
  const root = others.length === 0 ? first : candidates.find(({ certificate }) => isSignedBy(last, certificate));
  return [...issuers, root ?? first];
}

const emptyNameBytes = 2;

/** Whether `issuer` is what `child` names as its issuer: the name, and the key identifier where both are given. */
function names(issuer: Certificate, child: Certificate): boolean {
  const sameKey = !child.aki || !issuer.ski || equalBytes(child.aki, issuer.ski);
  return sameKey && equalBytes(issuer.subjectDer, child.issuerDer);
}

function checkLink(place: number, child: Certificate, issuer: Certificate, policy: ChainPolicy): void {
  if (!names(issuer, child)) refuse(place, child, 'names another issuer than the next certificate');
  if (issuer.subjectDer.length <= emptyNameBytes) refuse(place + 1, issuer, 'is an authority without a name');
  if (!issuer.isCa) refuse(place + 1, issuer, 'is not an authority (basicConstraints)');
  if (!issuer.keyUsage?.keyCertSign) refuse(place + 1, issuer, 'may not sign certificates (keyUsage)');
  if (child.signatureCurve === undefined || child.signatureCurve !== issuer.curve)
    refuse(place, child, 'has a signature algorithm that is not its issuer’s');
  if (policy.isRevoked?.(child.serialHex, issuer.ski)) refuse(place, child, 'is revoked or on hold', 'CERTIFICATE_REVOKED');
}

/** What an authority lays down for all that is below it (RFC 5280 §6.1.4). Certificates that authorities made over their own names do not count:
 *  they only carry a name on to another key. */
function checkAuthority(place: number, path: readonly Certificate[]): void {
  const authority = path[place] as Certificate;
  const below = path.slice(0, place).filter((certificate, index) => index === 0 || !certificate.isSelfIssued);
  if (authority.pathLength !== undefined && below.length - 1 > authority.pathLength)
    refuse(place, authority, 'has too many authorities below it (path length)');
  const { nameConstraints } = authority;
  if (nameConstraints !== undefined) {
    for (const certificate of below) {
      const reason = nameRefusal(nameConstraints, certificate);
      if (reason !== undefined) refuse(path.indexOf(certificate), certificate, reason);
    }
  }
}

/** An authority that says what it issues for issues for nothing else, however far below. It needs no ocspSigning to delegate that, and what
 *  authorities of SPDM devices say is not in DSP0274. */
function checkUsages(path: readonly Certificate[], { purpose }: ChainPolicy): void {
  if (purpose === 'spdmResponder' || purpose === 'spdmRequester' || purpose === 'ocspResponder') return;
  const usages = [usageOf[purpose], oids.anyExtendedKeyUsage];
  path.slice(1).forEach((authority, index) => {
    if (authority.eku !== undefined && !usages.some(usage => authority.eku?.includes(usage)))
      refuse(index + 1, authority, `does not issue for a ${purpose} (extended key usage)`);
  });
}

function checkPolicies(path: readonly Certificate[]): void {
  const refused = policyRefusal(path.toReversed());
  const place = refused === undefined ? undefined : path.length - 1 - refused;
  if (place !== undefined) refuse(place, path[place] as Certificate, 'has none of the policies that an authority above it requires');
}

/** Validity is in whole seconds. */
const wholeSecond = (time: string | number): string => `${new Date(time).toISOString().slice(0, 19)}.000Z`;

function checkValidity(place: number, certificate: Certificate, at: string | undefined): void {
  if (at === undefined) return;
  if (at < certificate.notBefore) refuse(place, certificate, `is not valid before ${certificate.notBefore}`);
  if (at > certificate.notAfter) refuse(place, certificate, `was valid until ${certificate.notAfter}`, 'CERTIFICATE_EXPIRED');
}

function checkLeaf(leaf: Certificate, { uid, host }: ChainPolicy): void {
  if (leaf.isCa) refuse(0, leaf, 'is an authority');
  if (!leaf.keyUsage?.digitalSignature) refuse(0, leaf, 'may not sign (keyUsage)');
  if (leaf.keyUsage.keyCertSign) refuse(0, leaf, 'is no authority and yet may sign certificates (keyUsage)');
  if (uid !== undefined && leaf.uid !== uid) refuse(0, leaf, `is not of ${uid}`);
  if (host !== undefined && !hostMatches(host, leaf)) refuse(0, leaf, `is not of ${host}`);
}

/** @throws NusecError CHAIN_REFUSED */
function checkPurpose(leaf: Certificate, issuer: Certificate | undefined, policy: ChainPolicy): void {
  const { purpose } = policy;
  if (purpose !== 'spdmResponder' && purpose !== 'spdmRequester') {
    if (leaf.curve === undefined) refuse(0, leaf, 'has a key that is neither P-256 nor P-384');
    const reason = purposeRefusal(leaf, issuer, { ...policy, purpose });
    if (reason !== undefined) refuse(0, leaf, reason);
  } else if (!fitsRole(leaf, purpose)) refuse(0, leaf, `is not for a ${purpose} (extended key usage)`);
}

/** Whether this issuer made the signature of the certificate; nothing else is looked at. */
export function isSignedBy({ tbs, signature, signatureCurve }: Certificate, { curve, spki }: Certificate): boolean {
  return curve !== undefined && curve === signatureCurve && verify(digestOf[curve], tbs, importKey(spki), signature);
}

/** The one judgement of kind, use and product line: what the leaf is for, and whether the CA that issued it may issue that. Signatures, names and
 *  validity are judged elsewhere, by `checkChain` or by TLS.
 *  @returns why it is refused; undefined when it is not @throws NusecError CHAIN_REFUSED (the issuer states two uses) */
export function purposeRefusal(
  leaf: Certificate,
  issuer: Certificate | undefined,
  { purpose, recorded = () => [], line }: PurposePolicy,
): string | undefined {
  if (leaf.kind !== purpose || !leaf.eku?.includes(usageOf[purpose])) return `is not for a ${purpose} (extended key usage)`;
  if (issuer === undefined) return 'has no issuer';
  return issuerRefusal(issuer, purpose, recorded(issuer), line);
}

const usageOf: Readonly<Record<LeafPurpose, string>> = {
  device: oids.clientAuth,
  programmer: oids.clientAuth,
  gateway: oids.clientAuth,
  server: oids.serverAuth,
  ocspResponder: oids.ocspSigning,
};

function fitsRole({ eku = [] }: Certificate, purpose: 'spdmResponder' | 'spdmRequester'): boolean {
  const responder = eku.includes(oids.spdmResponderAuth);
  const requester = eku.includes(oids.spdmRequesterAuth);
  return purpose === 'spdmResponder' ? responder || !requester : requester || !responder;
}

function linkTo(place: number, child: Certificate, childAuthority: Authority | undefined, issuer: Authority): readonly Link[] {
  const link = { place, child, key: issuer.key, digest: digestOf[issuer.certificate.curve ?? 'P-256'] };
  if (!childAuthority) return [link];
  const id = `${childAuthority.digestHex} ${issuer.digestHex}`;
  return verifiedLinks.get(id) ? [] : [{ ...link, id }];
}

function settle(link: Link, verified: boolean): void {
  if (!verified) refuse(link.place, link.child, 'has a signature that its issuer did not make');
  if (link.id !== undefined) verifiedLinks.set(link.id, true);
}

function verifyInPool({ digest, child, key }: Link): Promise<boolean> {
  return new Promise((resolve, reject) => {
    verify(digest, child.tbs, key, child.signature, (error, verified) => (error ? reject(error) : resolve(verified)));
  });
}

function authorityOf(der: Uint8Array): Authority {
  const digestHex = hash('sha256', der);
  const known = authorities.get(digestHex);
  if (known) return known;
  const certificate = parseCertificate(Uint8Array.from(der));
  const authority = { certificate, digestHex, key: importKey(certificate.spki) };
  authorities.set(digestHex, authority);
  return authority;
}

/** A root that cannot be read vouches for nothing, and leaves the others as they are. */
function readableAuthority(der: Uint8Array): readonly Authority[] {
  try {
    return [authorityOf(der)];
  } catch (error) {
    if (error instanceof NusecError) return [];
    throw error;
  }
}

function readable<T>(place: number, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof NusecError) throw new NusecError('CHAIN_REFUSED', `certificate ${place}: ${error.message}`, { cause: error });
    throw error;
  }
}

function refuse(place: number, certificate: Certificate, reason: string, code: ErrorCode = 'CHAIN_REFUSED'): never {
  throw new NusecError(code, `certificate ${place} (${describeName(certificate.subject)}) ${reason}`);
}
