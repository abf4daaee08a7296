import { createHash } from 'node:crypto';
import { concat, fromBase64url, toBase64url, toHex } from '../bytes.ts';
import { keyIdOf } from '../cose/publicKey.ts';
import {
  authority,
  authorityStream,
  type CaUse,
  type CreatedAuthority,
  firstRootId,
  type IssuingCa,
  requireActiveCa,
  requirePackageKey,
} from '../domain/authority.ts';
import { NusecError } from '../errors.ts';
import { coseSigner, signer } from '../keystore/signer.ts';
import { type Signer as CertificateSigner, issueCertificate } from '../pki/certificate.ts';
import { type Certificate, parseCertificate } from '../pki/parse.ts';
import { remembered } from '../pki/remembered.ts';
import type { Signer } from '../production/signed.ts';
import { signTrustBundle } from '../production/trustBundle.ts';
import { type Context, execute, nowIso, stateOf } from './context.ts';

/** The project's authorities in use: who signs which certificate, which keys sign packages, what machines trust. */

export const rootKeyId = 'root/1';
const system = 'system:authority';

export const sha256Hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

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
  const key = requirePackageKey(await authorityOf(ctx));
  return { kid: keyIdOf(fromBase64url(key.publicKey)), sign: coseSigner(ctx.keystore, key.keyId) };
}

/** Establishes and activates the next generation of an issuing CA (R1–R2). The new key comes first: a crash leaves an unused key, never a CA without one. */
export async function establishIssuingCa(ctx: Context, use: CaUse, line?: string): Promise<IssuingCa> {
  const state = await authorityOf(ctx);
  const peers = state.issuingCas.filter(ca => ca.use === use && ca.line === line);
  const generation = Math.max(0, ...peers.map(ca => ca.generation)) + 1;
  const icaId = [use, line, generation].filter(part => part !== undefined).join('-');
  const keyId = `ica/${icaId}`;
  const known = (await ctx.keystore.list()).some(key => key.id === keyId);
  const publicKey = known ? await ctx.keystore.publicKey(keyId) : (await ctx.keystore.generate(keyId, 'P-256')).publicKey;
  if (publicKey === undefined) throw new NusecError('KEY_REFUSED', `key ${keyId} has no public half`);
  const root = parseCertificate(fromBase64url(state.root.certificate));
  const { der } = await issueCertificate(
    'ica',
    {
      publicKey,
      serial: ctx.randomBytes(16),
      notBefore: nowIso(ctx),
      issuer: root,
      crlUrl: crlUrlOf(ctx, 'root'),
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
    generation,
    keyId,
    certificate: toBase64url(der),
    sha256: sha256Hex(der),
  };
  const stream = authorityStream(ctx.project);
  await execute(ctx, authority, stream, { type: 'EstablishIssuingCa', ...ica }, system);
  await execute(ctx, authority, stream, { type: 'ActivateIssuingCa', icaId }, system);
  await publishTrustBundle(ctx);
  return ica;
}

/** Builds, signs and publishes the next version of the trust bundle; it is a blob named in the event. */
export async function publishTrustBundle(ctx: Context): Promise<void> {
  const state = await authorityOf(ctx);
  const root = fromBase64url(state.root.certificate);
  const rootKey = await ctx.keystore.publicKey(state.root.keyId);
  const trusted = state.issuingCas.filter(ca => ca.status === 'ACTIVE' || ca.status === 'RETIRED');
  const version = state.trustBundle.version + 1;
  const bytes = await signTrustBundle(
    {
      version,
      issuedAtSeconds: Math.floor(ctx.clock().getTime() / 1000),
      roots: [root],
      issuers: trusted.map(({ icaId, use, certificate }) => ({ icaId, use, certificate: fromBase64url(certificate) })),
      signingKeys: state.packageKeys
        .filter(key => !key.compromised)
        .map(key => fromBase64url(key.publicKey))
        .map(spki => ({ kid: keyIdOf(spki), point: spki.slice(-65), use: 'package' as const })),
    },
    { kid: keyIdOf(rootKey), sign: coseSigner(ctx.keystore, state.root.keyId) },
  );
  const sha256 = await ctx.blobs.put(bytes);
  await execute(ctx, authority, authorityStream(ctx.project), { type: 'PublishTrustBundle', version, sha256 }, system);
}

/** The newest trust bundle, as machines fetch it. @returns COSE_Sign1 */
export async function currentTrustBundle(ctx: Context): Promise<Uint8Array> {
  return ctx.blobs.get((await authorityOf(ctx)).trustBundle.sha256);
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

/** A random registration id, 32 hex. */
export const newHexId = (ctx: Context): string => toHex(concat(ctx.randomBytes(16)));
