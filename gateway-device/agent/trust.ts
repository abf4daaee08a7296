import { equalBytes, toHex } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { checkChainAsync } from '../../src/pki/chain.ts';
import { importKey } from '../../src/pki/keys.ts';
import { type TrustBundle, verifyTrustBundle } from '../../src/production/trustBundle.ts';
import type { VerifyOptions } from '../../src/spdm/evidence.ts';
import { createHttpClient } from '../link/httpClient.ts';
import type { AgentIdentity } from './identity.ts';

/** What a gateway judges device chains with (R84): the trust bundle of the server, signed by the root this gateway was given. */
export type AgentTrust = {
  /** The newest bundle; an older one than the present is not taken. */
  bundle(): TrustBundle;
  /** For `verifyEvidence`: chain to the root through a device issuer of the bundle, valid now, of this UID, not among the revoked ones that the
   *  cloud named last. */
  readonly judge: VerifyOptions['trust'];
  refresh(): Promise<void>;
  /** What the cloud pushed: an older bundle than the present is not taken, the revoked serial numbers (16 bytes each) replace those before.
   *  @throws NusecError COSE_SIGNATURE (not our root's) */
  apply(pushed: { readonly bundle: Uint8Array; readonly revoked: readonly Uint8Array[] }): Promise<void>;
};

/** @throws NusecError SERVER_UNREACHABLE, COSE_SIGNATURE (not our root's) */
export async function openTrust(identity: Pick<AgentIdentity, 'tls' | 'rootSpki'>, server: string): Promise<AgentTrust> {
  const fetchBundle = async (): Promise<TrustBundle> => {
    // With our certificate: the server then gives the bundle that our root has signed.
    const http = createHttpClient({ baseUrl: server, ...identity.tls });
    try {
      return await verifyTrustBundle(await http.bytes('GET', '/v1/trust-bundle'), identity.rootSpki);
    } finally {
      http.close();
    }
  };
  let current = await fetchBundle();
  let revoked: ReadonlySet<string> = new Set();
  const isRevoked = (serialHex: string): boolean => revoked.has(serialHex);
  const take = (next: TrustBundle): void => {
    if (next.version > current.version) current = next;
  };
  return {
    bundle: () => current,
    async judge(certificates, uidHex) {
      const chain = [...certificates].reverse();
      const isKnown = current.issuers.some(({ use, certificate }) => use === 'device' && chain[1] && equalBytes(certificate, chain[1]));
      if (!isKnown) throw new NusecError('CHAIN_REFUSED', 'certificate 1 is not a device issuer of the trust bundle');
      const policy = {
        roots: current.roots,
        now: Date.now(),
        purpose: 'device',
        isRevoked,
        ...(uidHex !== undefined && { uid: uidHex }),
      } as const;
      return importKey((await checkChainAsync(chain, policy)).spki);
    },
    async refresh() {
      take(await fetchBundle());
    },
    async apply(pushed) {
      take(await verifyTrustBundle(pushed.bundle, identity.rootSpki));
      revoked = new Set(pushed.revoked.map(toHex));
    },
  };
}
