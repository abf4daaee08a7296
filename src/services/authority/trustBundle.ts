import { equalBytes, fromBase64url } from '../../bytes.ts';
import { keyIdOf } from '../../cose/publicKey.ts';
import { sha256Hex } from '../../digest.ts';
import { authority, authorityStream } from '../../domain/authority.ts';
import { firstRootId } from '../../domain/authorityEvents.ts';
import type { CreatedAuthority, KnownIssuingCa } from '../../domain/authorityState.ts';
import { nextNumber } from '../../domain/numbers.ts';
import { NusecError } from '../../errors.ts';
import { coseSigner } from '../../keystore/signer.ts';
import { parseCertificate } from '../../pki/parse.ts';
import { signTrustBundle } from '../../production/trustBundle.ts';
import { secondsOf } from '../../times.ts';
import { type Context, execute } from '../base/context.ts';
import { retriedOn } from '../base/retry.ts';
import { type Authorities, authorityOf, crossCertificates, parsedAuthority } from './authority.ts';

/** The signed trust bundle: what machines trust, one version after the other. */

const system = 'system:authority';

/** Builds and publishes the next version of the trust bundle, signed by every root that is trusted: who trusts one of them, follows it to the
 *  others. The bundles are blobs named in the event. */
export function publishTrustBundle(ctx: Context): Promise<void> {
  // Another one may be published meanwhile, as when two lines are defined at once: ours, with what that one names too, comes after it.
  return retriedOn('CONFLICT', () => publishNext(ctx));
}

async function publishNext(ctx: Context): Promise<void> {
  const state = await authorityOf(ctx);
  const roots = state.roots.filter(({ retired }) => !retired);
  const trusted = state.issuingCas.filter(ca => isNamed(ca, state));
  const links = crossCertificates(state).map(certificate => ({ icaId: sha256Hex(certificate), use: 'root', certificate }));
  const issuedAtSeconds = secondsOf(ctx.clock().getTime());
  const version = nextNumber(state.trustBundle.version, issuedAtSeconds);
  const bundle = {
    version,
    issuedAtSeconds,
    roots: roots.map(({ certificate }) => fromBase64url(certificate)),
    issuers: [...trusted.map(({ icaId, use, certificate }) => ({ icaId, use, certificate: fromBase64url(certificate) })), ...links],
    signingKeys: state.packageKeys
      .filter(key => !key.compromised)
      .map(({ publicKey, uses }) => ({ spki: fromBase64url(publicKey), uses }))
      .map(({ spki, uses }) => ({ kid: keyIdOf(spki), point: spki.slice(-65), uses })),
  };
  const byRoot: Record<string, string> = {};
  for (const { rootId, keyId } of roots) {
    byRoot[rootId] = await ctx.blobs.put(await signTrustBundle(bundle, await coseSigner(ctx.keystore, keyId)));
  }
  const sha256 = byRoot[state.root.rootId] ?? '';
  const publish = { type: 'PublishTrustBundle', after: state.trustBundle.version, version, sha256, byRoot } as const;
  await execute(ctx, authority, authorityStream(ctx.project), publish, system);
}

/** Whether the bundle names an issuing CA: those whose certificates are still in use. A server replaces its certificate as soon as the next
 *  issuing CA is active, so that a retired one has nothing left to vouch for, and its key is of no use to anybody (T14). */
function isNamed({ status, use }: KnownIssuingCa, { issuingCas }: CreatedAuthority): boolean {
  if (status === 'RETIRED' && use === 'server') return !issuingCas.some(other => other.use === 'server' && other.status === 'ACTIVE');
  return status !== 'COMPROMISED';
}

/** The newest trust bundle, as machines fetch it. @param by id, or SHA-256 of the certificate (hex), of the root that signed it; the newest root
 *  by default @returns COSE_Sign1 @throws NusecError NOT_FOUND (no such root, or retired) */
export async function currentTrustBundle(ctx: Context, { roots, trustBundle }: Authorities, by?: string): Promise<Uint8Array> {
  const rootId = roots.find(root => root.rootId === by || root.sha256 === by)?.rootId ?? '';
  const wanted = by === undefined ? trustBundle.sha256 : trustBundle.byRoot?.[rootId];
  if (wanted === undefined) throw new NusecError('NOT_FOUND', `no trust bundle is signed by root ${by}`);
  return ctx.blobs.get(wanted);
}

/** The root that a reader of the trust bundle knows: that of its certificate, or the oldest that is trusted. @param leaf DER, ours or foreign */
export function rootForReader({ issuingCas, roots }: Authorities, leaf: Uint8Array | undefined): string {
  const oldest = roots.find(({ retired }) => !retired)?.rootId ?? firstRootId;
  const aki = leaf === undefined ? undefined : issuerKeyIdOf(leaf);
  const ica = issuingCas.find(({ certificate }) => {
    const { ski } = parsedAuthority(certificate);
    return aki !== undefined && ski !== undefined && equalBytes(ski, aki);
  });
  const own = ica && (ica.rootId ?? firstRootId);
  return roots.some(({ rootId, retired }) => rootId === own && !retired) ? (own ?? oldest) : oldest;
}

function issuerKeyIdOf(leaf: Uint8Array): Uint8Array | undefined {
  try {
    return parseCertificate(leaf).aki;
  } catch {
    return undefined;
  }
}
