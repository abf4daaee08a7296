import { equalBytes } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import { NusecError } from '../../errors.ts';
import { checkChain, isSignedBy, type PurposePolicy, purposeRefusal } from '../../pki/chain.ts';
import type { IssuerScope } from '../../pki/issuerScope.ts';
import type { Certificate } from '../../pki/parse.ts';

/** Who a client certificate belongs to. Nothing but the certificate says so (RULE-9). */
export type Machine = {
  readonly kind: 'device' | 'programmer' | 'gateway';
  /** UID (32 hex) of a device or programmer, id of a gateway. */
  readonly id: string;
  readonly serialHex: string;
  readonly certificateSha256: string;
  /** The issuing CA of the certificate. */
  readonly icaId: string;
  /** SubjectPublicKeyInfo, 91 bytes. */
  readonly publicKey: Uint8Array;
};

/** An issuing CA that is not compromised, with the use and line that the log records. */
export type KnownIssuer = IssuerScope & { readonly icaId: string; readonly certificate: Certificate };

/** What the judge of certificates needs to know now; kept fresh by the server (see clientTrust.ts). */
export type TrustAnchors = {
  readonly roots: readonly Uint8Array[];
  /** For devices only: the certificate of their production is for twenty years and cannot be replaced, so it outlives its root. Each issuer is
   *  known by name and not compromised, whatever became of the root. */
  readonly retiredRoots: readonly Uint8Array[];
  readonly issuers: readonly KnownIssuer[];
};

/** How a certificate is judged. */
export type Manner = {
  /** Default: that of the server. */
  readonly isRevoked?: (serialHex: string) => boolean;
  /** TLS has verified the signatures of its chain, now or when the session that is resumed began. Default: nobody has. */
  readonly isVerified?: boolean;
};

/** Judges a machine's certificate: chain to one of our roots, validity, revocation, and that its issuing CA issues for such a machine (T14, T23).
 *  Issuers that the peer did not send are filled in from our own.
 *  @param line the product line that a device must be of, once it is known
 *  @throws NusecError CLIENT_CERTIFICATE_REFUSED, CHAIN_REFUSED, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED */
export function identifyMachine(
  certificate: Certificate,
  trust: TrustAnchors,
  now: string,
  { isRevoked, isVerified = false }: Manner & Required<Pick<Manner, 'isRevoked'>>,
  line?: string,
): Machine {
  const kind = kindOf(certificate);
  const issuer = issuerOf(certificate, trust);
  if (issuer === undefined) throw new NusecError('CHAIN_REFUSED', 'the certificate is not from an issuing CA of this project');
  const roots = kind === 'device' ? [...trust.roots, ...trust.retiredRoots] : trust.roots;
  const policy = { roots, now, isRevoked, isLeafVerified: isVerified, ...purposeOf(kind, issuer, line) };
  checkChain([certificate.der, issuer.certificate.der], policy, certificate);
  const id = kind === 'gateway' ? certificate.subject.commonName : certificate.uid;
  if (id === undefined) throw new NusecError('CLIENT_CERTIFICATE_REFUSED', 'the certificate names nobody');
  const { serialHex, spki: publicKey } = certificate;
  return { kind, id, serialHex, certificateSha256: sha256Hex(certificate.der), icaId: issuer.icaId, publicKey };
}

/** The issuing CA of ours that really signed this certificate although it does not issue for such a machine: its key is in other hands (T17).
 *  @param certificate refused before @returns undefined when nothing of that kind is the matter */
export function misusedIssuer(certificate: Certificate, trust: TrustAnchors, line?: string): KnownIssuer | undefined {
  const issuer = issuerOf(certificate, trust);
  if (issuer === undefined || !isSignedBy(certificate, issuer.certificate)) return undefined;
  return purposeRefusal(certificate, issuer.certificate, purposeOf(kindOf(certificate), issuer, line)) === undefined ? undefined : issuer;
}

/** Whether a certificate that `identifyMachine` has accepted a moment ago is not revoked now, and is of the line that only the log knows. */
export function isOfLine(
  certificate: Certificate,
  trust: TrustAnchors,
  isRevoked: (serialHex: string) => boolean,
  line: string | undefined,
): boolean {
  const issuer = issuerOf(certificate, trust);
  if (issuer === undefined || isRevoked(certificate.serialHex) || isRevoked(issuer.certificate.serialHex)) return false;
  return purposeRefusal(certificate, issuer.certificate, purposeOf(kindOf(certificate), issuer, line)) === undefined;
}

const purposeOf = (kind: Machine['kind'], issuer: KnownIssuer, line: string | undefined): PurposePolicy<Machine['kind']> => ({
  purpose: kind,
  recorded: () => [issuer],
  ...(line !== undefined && { line }),
});

function kindOf({ kind }: Certificate): Machine['kind'] {
  if (kind === 'device' || kind === 'programmer' || kind === 'gateway') return kind;
  throw new NusecError('CLIENT_CERTIFICATE_REFUSED', 'not the certificate of a device, programmer or gateway');
}

const none = new Uint8Array();

function issuerOf({ issuerDer, aki }: Certificate, { issuers }: TrustAnchors): KnownIssuer | undefined {
  return issuers.find(
    ({ certificate: { subjectDer, ski = none } }) => equalBytes(subjectDer, issuerDer) && (aki === undefined || equalBytes(ski, aki)),
  );
}
