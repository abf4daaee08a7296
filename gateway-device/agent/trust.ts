import { equalBytes } from '../../src/bytes.ts';
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
  /** For `verifyEvidence`: chain to the root through a device issuer of the bundle, valid now, of this UID. Revocation is the cloud's to know. */
  readonly judge: VerifyOptions['trust'];
  refresh(): Promise<void>;
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
  return {
    bundle: () => current,
    async judge(certificates, uidHex) {
      const chain = [...certificates].reverse();
      const isKnown = current.issuers.some(({ use, certificate }) => use === 'device' && chain[1] && equalBytes(certificate, chain[1]));
      if (!isKnown) throw new NusecError('CHAIN_REFUSED', 'certificate 1 is not a device issuer of the trust bundle');
      const policy = { roots: current.roots, now: Date.now(), purpose: 'device', ...(uidHex !== undefined && { uid: uidHex }) } as const;
      return importKey((await checkChainAsync(chain, policy)).spki);
    },
    async refresh() {
      const next = await fetchBundle();
      if (next.version > current.version) current = next;
    },
  };
}
