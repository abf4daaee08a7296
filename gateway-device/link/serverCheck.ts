import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { NusecError } from '../../src/errors.ts';
import { checkChain, isSignedBy, maxChainCertificates } from '../../src/pki/chain.ts';
import { type Certificate, parseCertificate } from '../../src/pki/parse.ts';
import type { TrustBundle } from '../../src/production/trustBundle.ts';
import { recordedIn } from './knownIssuers.ts';

/** Judges the certificate of a server beyond what TLS does: it must come from an issuing CA of servers that is in use (T14, RULE-16). */

export type ServerTrust = {
  /** DER; the chain must end in one of them. */
  readonly roots: readonly Uint8Array[];
  /** Names the issuing CAs; undefined while there is none, then an issuing CA must state its use itself. */
  readonly bundle: TrustBundle | undefined;
  /** Where the machine does not go by its own clock, and TLS judges neither dates nor names: the time, undefined while it is not known, and the
   *  name that was dialled. */
  readonly byServerTime?: { readonly nowMs: number | undefined; readonly host: string };
};

/** The chain of a server is valid for TLS but not for NuSEC. */
export class UntrustedServer extends Error {
  constructor(reason: string) {
    super(`the certificate of the server is refused: ${reason}`);
    this.name = 'UntrustedServer';
  }
}

/** Certificates of a handshake that are looked at: leaf, issuing CA, and those between roots in both directions. */
const maxSent = 16;
const maxChains = 64;

/** Ends the connection before anything is sent on it when the server is refused. A resumed session was judged when it began.
 *  @param socket that connects; nobody else listens to it yet @param trust what is trusted now @param judged called with the certificates */
export function checkServer<Socket extends TLSSocket>(
  socket: Socket,
  trust: () => ServerTrust,
  judged: (sent: readonly Uint8Array[]) => void = () => undefined,
): Socket {
  return socket.once('secureConnect', () => {
    if (socket.isSessionReused()) return;
    const sent = sentBy(socket.getPeerX509Certificate());
    const reason = serverRefusal(sent, trust());
    judged(sent);
    if (reason !== undefined) socket.destroy(new UntrustedServer(reason));
  });
}

/** The certificates as the server sent them. (`getPeerCertificate` links them by their names, and loses some.) */
function sentBy(leaf: X509Certificate | undefined): readonly Uint8Array[] {
  const sent: Uint8Array[] = [];
  for (let next = leaf; next !== undefined && sent.length < maxSent; next = next.issuerCertificate) sent.push(new Uint8Array(next.raw));
  return sent;
}

/** Verifies everything again, as it is not known which of the certificates TLS has used.
 *  @param sent leaf first, the others in any order, DER @returns why no chain to a root is valid; undefined when one is */
export function serverRefusal(sent: readonly Uint8Array[], { roots, bundle, byServerTime }: ServerTrust): string | undefined {
  const now = byServerTime ? byServerTime.nowMs : Date.now();
  const host = byServerTime ? { host: byServerTime.host } : {};
  let refusal = 'it shows no certificate';
  for (const chain of chainsIn(sent.flatMap(readable))) {
    try {
      checkChain(chain, { roots, now, ...host, purpose: 'server', recorded: recordedIn(bundle) });
      return undefined;
    } catch (error) {
      if (!(error instanceof NusecError)) throw error;
      refusal = error.message;
    }
  }
  return refusal;
}

function readable(der: Uint8Array): readonly Certificate[] {
  try {
    return [parseCertificate(der)];
  } catch {
    return [];
  }
}

/** Chains that begin with the first certificate, shortest first; each certificate is signed by the next. Each pair is checked only once. */
function chainsIn([leaf, ...others]: readonly Certificate[]): readonly (readonly Uint8Array[])[] {
  const issuers = new Map<Certificate, readonly Certificate[]>();
  const issuersOf = (child: Certificate): readonly Certificate[] => {
    const known = issuers.get(child) ?? others.filter(other => hasIssued(other, child));
    issuers.set(child, known);
    return known;
  };
  let longest: readonly (readonly Certificate[])[] = leaf ? [[leaf]] : [];
  const found = [...longest];
  while (found.length < maxChains && longest.length > 0 && (longest[0]?.length ?? 0) < maxChainCertificates) {
    longest = longest.flatMap(chain =>
      issuersOf(chain.at(-1) as Certificate)
        .filter(issuer => !chain.includes(issuer))
        .map(issuer => [...chain, issuer]),
    );
    found.push(...longest);
  }
  return found.slice(0, maxChains).map(chain => chain.map(({ der }) => der));
}

function hasIssued(issuer: Certificate, child: Certificate): boolean {
  if (Buffer.compare(issuer.subjectDer, child.issuerDer) !== 0) return false;
  try {
    return isSignedBy(child, issuer);
  } catch {
    return false;
  }
}
