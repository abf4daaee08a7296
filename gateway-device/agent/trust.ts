import { equalBytes, toHex } from '../../src/bytes.ts';
import { importKey } from '../../src/ecKey.ts';
import { isUnreachable, NusecError } from '../../src/errors.ts';
import { checkChainAsync } from '../../src/pki/chain.ts';
import type { TrustBundle } from '../../src/production/trustBundle.ts';
import type { VerifyOptions } from '../../src/spdm/evidence.ts';
import { fetchTrustBundle } from '../link/httpClient.ts';
import { recordedIn } from '../link/knownIssuers.ts';
import type { ServerTrust } from '../link/serverCheck.ts';
import { verifiedBy } from '../link/trustBundles.ts';
import type { AgentClock } from './clock.ts';
import type { AgentIdentity } from './identity.ts';

/** What a gateway judges device chains with (R84): the trust bundle of the server, signed by the root this gateway was given. */
export type AgentTrust = {
  /** The newest bundle; an older one than the present is not taken. */
  bundle(): TrustBundle;
  /** For `verifyEvidence`: issued by a device issuer that the bundle names, valid now, of this UID, not among the revoked ones that the
   *  cloud named last. */
  readonly judge: VerifyOptions['trust'];
  /** Whether a chain ends under a device issuer of the bundle. */
  readonly isOurs: (certificates: readonly Uint8Array[]) => boolean;
  refresh(): Promise<void>;
  /** What the server's certificate is judged by. */
  server(): ServerTrust;
  /** What the cloud pushed: an older bundle than the present is not taken, the revoked serial numbers (16 bytes each) replace those before.
   *  @throws NusecError COSE_SIGNATURE (not our root's) */
  apply(pushed: { readonly bundle: Uint8Array; readonly revoked: readonly Uint8Array[] }): Promise<void>;
};

export type TrustParts = {
  /** The present one: it may be renewed. */
  readonly identity: () => Pick<AgentIdentity, 'tls' | 'root'>;
  readonly server: string;
  /** Name in the certificate of the server, over MQTT. */
  readonly servername: string;
  readonly clock: AgentClock;
};

/** Fetches the trust bundle, and by it the time. @throws NusecError SERVER_UNREACHABLE, COSE_SIGNATURE (not our root's) */
export async function openTrust({ identity, server, servername, clock }: TrustParts): Promise<AgentTrust> {
  const fetched = async (): Promise<TrustBundle> => {
    const { tls, root } = identity();
    const fetch = async (byOwnClock: boolean) => (await fetchTrustBundle(server, tls.ca, [root], byOwnClock)).bundle;
    // It may be our clock that TLS refuses the server by. The bundle is signed, and the server is judged by the bundle and its own time after it.
    const bundle = await fetch(true).catch(refusal => {
      if (!isUnreachable(refusal)) throw refusal;
      return fetch(false).catch(() => {
        throw refusal;
      });
    });
    await clock.learn(bundle);
    return bundle;
  };
  let current = await fetched();
  /** A root that is named by a trusted root is trusted as well. */
  const verified = (bundle: Uint8Array): Promise<TrustBundle> => verifiedBy(bundle, [identity().root, ...current.roots]);
  let revoked: ReadonlySet<string> = new Set();
  const isRevoked = (serialHex: string): boolean => revoked.has(serialHex);
  const isOurs = (certificates: readonly Uint8Array[]): boolean =>
    current.issuers.some(({ certificate }) => equalBytes(certificate, certificates.at(-2) ?? new Uint8Array()));
  const take = (next: TrustBundle): void => {
    if (next.version > current.version) current = next;
  };
  return {
    bundle: () => current,
    isOurs,
    async judge(certificates, uidHex) {
      const [leaf = new Uint8Array(), ica = new Uint8Array()] = [...certificates].reverse();
      if (!isOurs(certificates)) throw new NusecError('CHAIN_REFUSED', 'certificate 1 is not an issuer of the trust bundle');
      // The bundle vouches for the issuer: its root may be retired, the devices it was made for outlive that.
      const policy = {
        roots: [ica],
        now: clock.nowMs(),
        purpose: 'device',
        recorded: recordedIn(current),
        isRevoked,
        ...(uidHex !== undefined && { uid: uidHex }),
      } as const;
      return importKey((await checkChainAsync([leaf], policy)).spki);
    },
    server: () => ({ roots: [identity().root], bundle: current, byServerTime: { nowMs: clock.nowMs(), host: servername } }),
    async refresh() {
      take(await fetched());
    },
    async apply(pushed) {
      take(await verified(pushed.bundle));
      revoked = new Set(pushed.revoked.map(toHex));
    },
  };
}
