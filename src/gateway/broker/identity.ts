import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { NusecError } from '../../errors.ts';

/** Who is at the other end of a connection, taken from the certificate and from nothing else (RULE-9). */
export type Identity =
  | { readonly kind: 'device'; readonly uid: string; readonly serialHex: string; readonly certificateSha256: string }
  | { readonly kind: 'gateway'; readonly gatewayId: string; readonly serialHex: string; readonly certificateSha256: string };

/** Judges a client certificate, leaf first in DER; only the leaf is there when the TLS session was resumed, or when the peer sent no more. The
 *  chain is judged here, whatever TLS thought of it.
 *  @throws NusecError for whatever is not a valid device or gateway certificate */
export type CheckClient = (certificatesDer: readonly Uint8Array[]) => Identity | Promise<Identity>;

/** id-kp-clientAuth, RFC 5280 §4.2.1.12. */
const clientAuthOid = '1.3.6.1.5.5.7.3.2';
const uidForm = /^[0-9a-f]{32}$/;
const gatewayIdForm = /^[A-Za-z0-9_-]{1,64}$/;
const maxChainCertificates = 4;

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
    const { certificate, sha256Hex } = shown;
    const before = forgotten;
    const found = known.get(sha256Hex) ?? (await judgeAnew(checkClient, await certificate(), sha256Hex));
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
      return { sha256Hex: fingerprintOf(certificate), certificate: () => certificate, trouble: isRefused ? trouble : undefined };
    },
  };
}

/** SHA-256 of the DER, as OpenSSL has it: to copy the certificate out for it takes longer. */
const fingerprintOf = ({ fingerprint256 }: X509Certificate): string => fingerprint256.replaceAll(':', '').toLowerCase();

async function judgeAnew(checkClient: CheckClient, certificate: X509Certificate, certificateSha256: string): Promise<Known> {
  if (!certificate.keyUsage?.includes(clientAuthOid)) throw new NusecError('CLIENT_CERTIFICATE_REFUSED', 'not for client authentication');
  const identity = { ...(await checkClient(chainOf(certificate))), certificateSha256 };
  const wellFormed = identity.kind === 'device' ? uidForm.test(identity.uid) : gatewayIdForm.test(identity.gatewayId);
  if (!wellFormed) throw new NusecError('CLIENT_CERTIFICATE_REFUSED', 'no uid in the certificate');
  return { identity, notBefore: Date.parse(certificate.validFrom), notAfter: Date.parse(certificate.validTo) };
}

function chainOf(leaf: X509Certificate): Uint8Array[] {
  const chain: Uint8Array[] = [];
  for (
    let next: X509Certificate | undefined = leaf;
    next !== undefined && chain.length < maxChainCertificates;
    next = next.issuerCertificate
  ) {
    chain.push(new Uint8Array(next.raw));
  }
  return chain;
}
