import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { NusecError } from '../../errors.ts';

/** Who is at the other end of a connection, taken from the certificate and from nothing else (RULE-9). */
export type Identity = ({ readonly kind: 'device'; readonly uid: string } | { readonly kind: 'gateway'; readonly gatewayId: string }) & {
  readonly serialHex: string;
  readonly certificateSha256: string;
  /** Of the certificate, ISO. */
  readonly validity?: Validity;
};
type Validity = { readonly notBefore: string; readonly notAfter: string };

/** Judges a client certificate.
 *  @param leafDer what its peer sent besides does not count @param isVerified TLS has verified the signatures of its chain, now or when the session that
 *  is resumed began; otherwise it had not all certificates of it, and they are verified here
 *  @throws NusecError for whatever is not a valid device or gateway certificate */
export type CheckClient = (leafDer: Uint8Array, isVerified: boolean) => Identity | Promise<Identity>;

/** id-kp-clientAuth, RFC 5280 §4.2.1.12. */
const clientAuthOid = '1.3.6.1.5.5.7.3.2';
const uidForm = /^[0-9a-f]{32}$/;
const gatewayIdForm = /^[A-Za-z0-9_-]{1,64}$/;

/** The other end of a connection. */
export type Peer = {
  readonly remoteAddress: string;
  /** The certificate it has shown; undefined when it showed none. Asked again when trust has changed. */
  shown(): Shown | undefined;
};

type Shown = {
  /** Fingerprint. */
  readonly sha256Hex: string;
  /** @throws NusecError CLIENT_CERTIFICATE_REFUSED */
  readonly certificate: () => X509Certificate | Promise<X509Certificate>;
  /** TLS has verified its chain. */
  readonly isVerified: boolean;
  /** Why TLS does not accept its chain. */
  readonly trouble?: string | undefined;
};

type Known = { readonly identity: Identity; readonly notBefore: number; readonly notAfter: number };

/** Checks the peer of a connection: certificate there, chain accepted by TLS or incomplete (`checkClient` then has the issuer), EKU clientAuth, `checkClient`, form of the uid; kept by fingerprint.
 *  The validity is looked at every time, because a resumed session and a kept result both outlive the moment of the full check.
 *  @throws NusecError CLIENT_CERTIFICATE_REQUIRED, CLIENT_CERTIFICATE_REFUSED, CERTIFICATE_EXPIRED, and what `checkClient` throws */
export function createPeerCheck(checkClient: CheckClient, maxCached: number) {
  const known = new Map<string, Known>();
  let forgotten = 0;
  const judge = async (shown: Shown): Promise<Known> => {
    const { sha256Hex } = shown;
    const before = forgotten;
    const found = known.get(sha256Hex) ?? (await judgeAnew(checkClient, shown));
    // Trust has changed meanwhile: what was found may no longer hold.
    if (before !== forgotten) return judge(shown);
    known.delete(sha256Hex);
    known.set(sha256Hex, found);
    if (known.size > maxCached) known.delete(known.keys().next().value as string);
    return found;
  };
  return {
    async check(peer: Peer, now: number): Promise<Identity> {
      const shown = peer.shown();
      if (!shown) throw new NusecError('CLIENT_CERTIFICATE_REQUIRED', 'no client certificate');
      if (shown.trouble !== undefined) throw new NusecError('CLIENT_CERTIFICATE_REFUSED', shown.trouble);
      const { identity, notBefore, notAfter } = await judge(shown);
      if (now < notBefore || now > notAfter) throw new NusecError('CERTIFICATE_EXPIRED', 'outside the validity of the certificate');
      return identity;
    },
    /** After a change of trust (CA retired or compromised): everything is judged again. */
    forget(): void {
      known.clear();
      forgotten += 1;
    },
  };
}

/** OpenSSL's names for a chain that the peer did not send as a whole. */
const incomplete = ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY'];

/** The peer of a TLS connection. */
export function peerOf(socket: TLSSocket): Peer {
  return {
    remoteAddress: socket.remoteAddress ?? 'unknown',
    shown() {
      const certificate = socket.getPeerX509Certificate();
      if (certificate === undefined) return undefined;
      const trouble = String(socket.authorizationError);
      const isRefused = !socket.authorized && !incomplete.includes(trouble);
      const { authorized: isVerified } = socket;
      return {
        sha256Hex: fingerprintOf(certificate),
        certificate: () => certificate,
        isVerified,
        trouble: isRefused ? trouble : undefined,
      };
    },
  };
}

/** SHA-256 of the DER, as OpenSSL has it: to copy the certificate out for it takes longer. */
const fingerprintOf = ({ fingerprint256 }: X509Certificate): string => fingerprint256.replaceAll(':', '').toLowerCase();

async function judgeAnew(checkClient: CheckClient, shown: Shown): Promise<Known> {
  const certificate = await shown.certificate();
  if (!certificate.keyUsage?.includes(clientAuthOid)) throw new NusecError('CLIENT_CERTIFICATE_REFUSED', 'not for client authentication');
  const { validFromDate: from, validToDate: to } = certificate;
  const validity = { notBefore: from.toISOString(), notAfter: to.toISOString() };
  const checked = await checkClient(new Uint8Array(certificate.raw), shown.isVerified);
  const identity = { ...checked, certificateSha256: shown.sha256Hex, validity };
  const wellFormed = identity.kind === 'device' ? uidForm.test(identity.uid) : gatewayIdForm.test(identity.gatewayId);
  if (!wellFormed) throw new NusecError('CLIENT_CERTIFICATE_REFUSED', 'no uid in the certificate');
  return { identity, notBefore: from.getTime(), notAfter: to.getTime() };
}
