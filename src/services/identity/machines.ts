import { equalBytes } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import { NusecError } from '../../errors.ts';
import { checkChain } from '../../pki/chain.ts';
import { type Certificate, parseCertificate } from '../../pki/parse.ts';

/** Who a client certificate belongs to. Nothing but the certificate says so (RULE-9). */
export type Machine = {
  readonly kind: 'device' | 'programmer' | 'gateway';
  /** UID (32 hex) of a device or programmer, id of a gateway. */
  readonly id: string;
  readonly serialHex: string;
  readonly certificateSha256: string;
  /** SubjectPublicKeyInfo, 91 bytes. */
  readonly publicKey: Uint8Array;
};

/** What the judge of certificates needs to know now; kept fresh by the server (see trust.ts). */
export type TrustAnchors = {
  readonly roots: readonly Uint8Array[];
  /** For devices only: the certificate of their production is for twenty years and cannot be replaced, so it outlives its root. Each issuer is
   *  known by name and not compromised, whatever became of the root. */
  readonly retiredRoots: readonly Uint8Array[];
  readonly issuers: readonly Certificate[];
};

/** Judges a machine's certificate: chain to one of our roots, validity, profile, revocation (T14, T23). Issuers that the peer did not send are filled in from our own.
 *  @param leaf DER
 *  @throws NusecError CLIENT_CERTIFICATE_REFUSED, CHAIN_REFUSED, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED */
export function identifyMachine(leaf: Uint8Array, trust: TrustAnchors, now: string, isRevoked: (serialHex: string) => boolean): Machine {
  const certificate = parseCertificate(leaf);
  const kind = certificate.kind;
  if (kind !== 'device' && kind !== 'programmer' && kind !== 'gateway')
    throw new NusecError('CLIENT_CERTIFICATE_REFUSED', 'not the certificate of a device, programmer or gateway');
  const issuer = trust.issuers.find(
    ({ subjectDer, ski = new Uint8Array() }) =>
      equalBytes(subjectDer, certificate.issuerDer) && (certificate.aki === undefined || equalBytes(ski, certificate.aki)),
  );
  if (issuer === undefined) throw new NusecError('CHAIN_REFUSED', 'the certificate is not from an issuing CA of this project');
  const roots = kind === 'device' ? [...trust.roots, ...trust.retiredRoots] : trust.roots;
  checkChain([leaf, issuer.der], { roots, now, purpose: kind, isRevoked });
  const id = kind === 'gateway' ? certificate.subject.commonName : certificate.uid;
  if (id === undefined) throw new NusecError('CLIENT_CERTIFICATE_REFUSED', 'the certificate names nobody');
  return { kind, id, serialHex: certificate.serialHex, certificateSha256: sha256Hex(leaf), publicKey: certificate.spki };
}
