import { equalBytes, fromBase64url, toBase64url } from '../../bytes.ts';
import { keyIdOf } from '../../cose/publicKey.ts';
import { sha256Hex } from '../../digest.ts';
import { authority, authorityStream } from '../../domain/authority.ts';
import { type CaUse, firstRootId, type IssuingCa } from '../../domain/authorityEvents.ts';
import { type CreatedAuthority, requireActiveCa, requirePackageKey } from '../../domain/authorityState.ts';
import { type Curve, curveOf } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { ensureKey } from '../../keystore/ensureKey.ts';
import { coseSigner, signer } from '../../keystore/signer.ts';
import { type Signer as CertificateSigner, issueCertificate } from '../../pki/certificate.ts';
import { type Certificate, parseCertificate } from '../../pki/parse.ts';
import { remembered } from '../../pki/remembered.ts';
import type { Signer } from '../../production/signed.ts';
import { signTrustBundle } from '../../production/trustBundle.ts';
import { type Context, execute, nowIso, stateOf } from '../base/context.ts';

/** The project's authorities in use: who signs which certificate, which keys sign packages, what machines trust. */

export const rootKeyId = 'root/1';
const system = 'system:authority';

/** @throws NusecError STATE before `nusec init` */
export async function authorityOf(ctx: Context): Promise<CreatedAuthority & { readonly root: NonNullable<CreatedAuthority['root']> }> {
  const state = await stateOf(ctx, authority, authorityStream(ctx.project));
  if (state.status === 'NONE' || state.root === undefined)
    throw new NusecError('STATE', 'the project is not initialised: run `nusec init`');
  return { ...state, root: state.root };
}

export const rootDer = async (ctx: Context): Promise<Uint8Array> => fromBase64url((await authorityOf(ctx)).root.certificate);

/** An issuing CA ready to sign. `certificate` is parsed, so it is the `issuer` of a profile. */
export type ActiveCa = {
  readonly icaId: string;
  readonly certificate: Certificate;
  readonly signer: CertificateSigner;
  readonly crlUrl: string;
  readonly deltaCrlUrl: string;
};

/** The active CA of this use (and line, for devices). @throws NusecError CA_NOT_ACTIVE */
export async function activeCa(ctx: Context, use: CaUse, line?: string): Promise<ActiveCa> {
  const ica = requireActiveCa(await authorityOf(ctx), use, line);
  return caOf(ctx, ica);
}

/** A CA or root by its id, whatever its status: for CRLs, OCSP signers and for an issuing intent recorded under it. @throws NusecError NOT_FOUND */
export async function caById(ctx: Context, icaId: string): Promise<ActiveCa> {
  const { issuingCas, roots } = await authorityOf(ctx);
  const ca = issuingCas.find(candidate => candidate.icaId === icaId) ?? roots.find(({ rootId }) => rootId === icaId);
  if (ca === undefined) throw new NusecError('NOT_FOUND', `there is no issuing CA ${icaId}`);
  return caOf(ctx, { ...ca, icaId });
}

/** As caById, but for signing new certificates: an authority that is compromised signs nothing more (I10). @throws NusecError NOT_FOUND, CA_NOT_ACTIVE */
export async function signingCa(ctx: Context, icaId: string): Promise<ActiveCa> {
  const ica = (await authorityOf(ctx)).issuingCas.find(candidate => candidate.icaId === icaId);
  if (ica !== undefined && ica.status !== 'ACTIVE' && ica.status !== 'RETIRED')
    throw new NusecError('CA_NOT_ACTIVE', `the issuing CA ${icaId} is ${ica.status}`);
  return caById(ctx, icaId);
}

/** The root under which an issuing CA was made, DER. */
export async function rootOfCa(ctx: Context, icaId: string): Promise<Uint8Array> {
  const { issuingCas, roots, root } = await authorityOf(ctx);
  const rootId = issuingCas.find(candidate => candidate.icaId === icaId)?.rootId ?? firstRootId;
  return fromBase64url((roots.find(candidate => candidate.rootId === rootId) ?? root).certificate);
}

async function caOf(ctx: Context, { icaId, certificate, keyId }: Pick<IssuingCa, 'icaId' | 'certificate' | 'keyId'>): Promise<ActiveCa> {
  return {
    icaId,
    certificate: parsed(certificate),
    signer: await signer(ctx.keystore, keyId),
    crlUrl: crlUrlOf(ctx, icaId),
    deltaCrlUrl: `${ctx.crlBaseUrl}/delta/${icaId}.crl`,
  };
}

const maxParsedAuthorities = 256;
/** Authorities are few: each is parsed once. */
const parsed = remembered(maxParsedAuthorities, certificate => parseCertificate(fromBase64url(certificate)));

export const crlUrlOf = (ctx: Context, icaId: string): string => `${ctx.crlBaseUrl}/crl/${icaId}.crl`;
/** Where everybody may ask for the status of one certificate (RFC 6960). */
export const ocspUrlOf = (ctx: Context): string => `${ctx.crlBaseUrl}/ocsp`;

/** Signs packages, grants and orders. @throws NusecError CA_NOT_ACTIVE */
export async function packageSigner(ctx: Context): Promise<Signer> {
  return coseSigner(ctx.keystore, requirePackageKey(await authorityOf(ctx)).keyId);
}

/** Id of the generation that follows the newest one of this use and line. */
export function nextIcaId(state: CreatedAuthority, use: CaUse, line?: string): string {
  const peers = state.issuingCas.filter(ca => ca.use === use && ca.line === line);
  const generation = Math.max(0, ...peers.map(ca => ca.generation)) + 1;
  return [use, line, generation].filter(part => part !== undefined).join('-');
}

/** The first issuing CA of a use and line, or the next generation: established, activated, published (R1–R2). */
export async function establishIssuingCa(ctx: Context, use: CaUse, line?: string): Promise<IssuingCa> {
  const icaId = nextIcaId(await authorityOf(ctx), use, line);
  const ica = await makeIssuingCa(ctx, { icaId, use, ...(line !== undefined && { line }) });
  await execute(ctx, authority, authorityStream(ctx.project), { type: 'ActivateIssuingCa', icaId: ica.icaId }, system);
  await publishTrustBundle(ctx);
  return ica;
}

/** Makes an issuing CA under the newest root; it is not active yet. Done again it gives the same. The new key comes first: a crash leaves an
 *  unused key, never a CA without one. @param wish `icaId` from nextIcaId, `curve` of its key: what the root says unless told
 *  @throws NusecError CONFLICT when there is a key of this id on another curve */
export async function makeIssuingCa(ctx: Context, wish: Pick<IssuingCa, 'icaId' | 'use' | 'line' | 'curve'>): Promise<IssuingCa> {
  const { icaId, use, line } = wish;
  const state = await authorityOf(ctx);
  const known = state.issuingCas.find(ca => ca.icaId === icaId);
  if (known !== undefined) return known;
  const keyId = `ica/${icaId}`;
  const curve = wish.curve ?? (await curveOfKey(ctx, keyId)) ?? state.root.icaCurve;
  const publicKey = await ensureSigningKey(ctx, keyId, curve);
  const root = parseCertificate(fromBase64url(state.root.certificate));
  const { rootId } = state.root;
  const { der } = await issueCertificate(
    'ica',
    {
      publicKey,
      serial: ctx.randomBytes(16),
      notBefore: nowIso(ctx),
      issuer: root,
      crlUrl: crlUrlOf(ctx, rootId),
      organization: root.subject.organization ?? ctx.project,
      line: line ?? use,
      commonName: `${ctx.project} ${icaId}`,
    },
    await signer(ctx.keystore, state.root.keyId),
  );
  const ica: IssuingCa = {
    icaId,
    use,
    ...(line !== undefined && { line }),
    ...(rootId !== firstRootId && { rootId }),
    generation: Number(icaId.split('-').at(-1)),
    keyId,
    curve,
    certificate: toBase64url(der),
    sha256: sha256Hex(der),
  };
  await execute(ctx, authority, authorityStream(ctx.project), { type: 'EstablishIssuingCa', ...ica }, system);
  return ica;
}

/** A signing key of this id, made when it is missing. @returns SubjectPublicKeyInfo @throws NusecError CONFLICT (there is one on another curve) */
export async function ensureSigningKey(ctx: Context, keyId: string, curve: Curve = 'P-256'): Promise<Uint8Array> {
  await ensureKey(ctx.keystore, keyId, curve);
  const publicKey = await ctx.keystore.publicKey(keyId);
  if (curveOf(publicKey) !== curve) throw new NusecError('CONFLICT', `key ${keyId} is not ${curve}`);
  return publicKey;
}

async function curveOfKey(ctx: Context, keyId: string): Promise<Curve | undefined> {
  const known = (await ctx.keystore.list()).find(({ id }) => id === keyId);
  return known?.publicKey && curveOf(known.publicKey);
}

/** Builds and publishes the next version of the trust bundle, signed by every root that is trusted: who trusts one of them, follows it to the
 *  others. The bundles are blobs named in the event. */
export async function publishTrustBundle(ctx: Context): Promise<void> {
  const state = await authorityOf(ctx);
  const roots = state.roots.filter(({ retired }) => !retired);
  const trusted = state.issuingCas.filter(({ status }) => status !== 'COMPROMISED');
  const links = (await crossCertificates(ctx)).map(certificate => ({ icaId: sha256Hex(certificate), use: 'root', certificate }));
  const version = state.trustBundle.version + 1;
  const bundle = {
    version,
    issuedAtSeconds: Math.floor(ctx.clock().getTime() / 1000),
    roots: roots.map(({ certificate }) => fromBase64url(certificate)),
    issuers: [...trusted.map(({ icaId, use, certificate }) => ({ icaId, use, certificate: fromBase64url(certificate) })), ...links],
    signingKeys: state.packageKeys
      .filter(key => !key.compromised)
      .map(key => fromBase64url(key.publicKey))
      .map(spki => ({ kid: keyIdOf(spki), point: spki.slice(-65), use: 'package' as const })),
  };
  const byRoot: Record<string, string> = {};
  for (const { rootId, keyId } of roots) {
    byRoot[rootId] = await ctx.blobs.put(await signTrustBundle(bundle, await coseSigner(ctx.keystore, keyId)));
  }
  const sha256 = byRoot[state.root.rootId] ?? '';
  await execute(ctx, authority, authorityStream(ctx.project), { type: 'PublishTrustBundle', version, sha256, byRoot }, system);
}

/** The newest trust bundle, as machines fetch it. @param by id, or SHA-256 of the certificate (hex), of the root that signed it; the newest root
 *  unless told @returns COSE_Sign1 @throws NusecError NOT_FOUND (no such root, or retired) */
export async function currentTrustBundle(ctx: Context, by?: string): Promise<Uint8Array> {
  const { roots, trustBundle } = await authorityOf(ctx);
  const rootId = roots.find(root => root.rootId === by || root.sha256 === by)?.rootId ?? '';
  const wanted = by === undefined ? trustBundle.sha256 : trustBundle.byRoot?.[rootId];
  if (wanted === undefined) throw new NusecError('NOT_FOUND', `no trust bundle is signed by root ${by}`);
  return ctx.blobs.get(wanted);
}

/** The root that a reader of the trust bundle knows: that of its certificate, or the oldest that is trusted. @param leaf DER, ours or foreign */
export async function rootForReader(ctx: Context, leaf: Uint8Array | undefined): Promise<string> {
  const { issuingCas, roots } = await authorityOf(ctx);
  const oldest = roots.find(({ retired }) => !retired)?.rootId ?? firstRootId;
  const aki = leaf === undefined ? undefined : issuerKeyIdOf(leaf);
  const ica = issuingCas.find(({ certificate }) => {
    const { ski } = parsed(certificate);
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

/** Issuing CA certificates that may stand between a machine's certificate and a root: compromised ones may not. */
export async function trustedIssuers(ctx: Context): Promise<readonly Uint8Array[]> {
  const { issuingCas } = await authorityOf(ctx);
  return issuingCas.filter(ca => ca.status !== 'COMPROMISED').map(ca => fromBase64url(ca.certificate));
}

/** Roots in which a chain may end: all that are not retired. */
export async function trustedRoots(ctx: Context): Promise<readonly Uint8Array[]> {
  const { roots } = await authorityOf(ctx);
  return roots.filter(({ retired }) => !retired).map(({ certificate }) => fromBase64url(certificate));
}

/** Certificates by which the roots that are trusted vouch for each other, DER. */
export async function crossCertificates(ctx: Context): Promise<readonly Uint8Array[]> {
  const { roots } = await authorityOf(ctx);
  const isTrusted = (rootId: string | undefined) => roots.some(root => root.rootId === rootId && !root.retired);
  return roots
    .filter(({ retired, previousRootId }) => !retired && isTrusted(previousRootId))
    .flatMap(({ crossCertificate, backCertificate }) => [crossCertificate, backCertificate])
    .filter(certificate => certificate !== undefined)
    .map(fromBase64url);
}

/** Every authority's certificate that is trusted: roots, the certificates between them, issuing CAs. */
export async function trustedAuthorities(ctx: Context): Promise<readonly Uint8Array[]> {
  return [...(await trustedRoots(ctx)), ...(await crossCertificates(ctx)), ...(await trustedIssuers(ctx))];
}

/** Hash under which a public key is reserved for ever (I4). */
export const publicKeySha256 = (spki: Uint8Array): string => sha256Hex(spki);
