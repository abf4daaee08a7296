import { fromBase64url, toBase64url } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import { authority, authorityStream } from '../../domain/authority.ts';
import { type CaUse, firstRootId, type IssuingCa } from '../../domain/authorityEvents.ts';
import { type CreatedAuthority, requireActiveCa } from '../../domain/authorityState.ts';
import { type Curve, curveOf } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { ensureKey } from '../../keystore/ensureKey.ts';
import { type AuthoritySigner, signer } from '../../keystore/signer.ts';
import { issueCertificate } from '../../pki/certificate.ts';
import { type Certificate, parseCertificate } from '../../pki/parse.ts';
import { backdatedIso, type Condition, type Context, execute, nowIso } from '../base/context.ts';
import { retriedOn } from '../base/retry.ts';
import { type Authorities, authorityOf, crlUrlOf, parsedAuthority } from './authority.ts';
import { publishTrustBundle } from './trustBundle.ts';

/** Issuing CAs: which one signs what, and how the next generation comes to be. */

const system = 'system:authority';

/** An issuing CA ready to sign. `certificate` is parsed, so it is the `issuer` of a profile. */
export type ActiveCa = {
  readonly icaId: string;
  readonly certificate: Certificate;
  readonly signer: AuthoritySigner;
  readonly crlUrl: string;
};

/** The active CA of this use (and line, for devices). @throws NusecError CA_NOT_ACTIVE */
export function activeCa(ctx: Context, authorities: Authorities, use: CaUse, line?: string): Promise<ActiveCa> {
  return caOf(ctx, requireActiveCa(authorities, use, line));
}

/** A CA or root by its id, whatever its status: for CRLs, OCSP signers and for an issuing intent recorded under it. @throws NusecError NOT_FOUND */
export async function caById(ctx: Context, { issuingCas, roots }: Authorities, icaId: string): Promise<ActiveCa> {
  const ca = issuingCas.find(candidate => candidate.icaId === icaId) ?? roots.find(({ rootId }) => rootId === icaId);
  if (ca === undefined) throw new NusecError('NOT_FOUND', `there is no issuing CA ${icaId}`);
  return caOf(ctx, { ...ca, icaId });
}

/** As caById, but for signing new certificates: an authority that is compromised signs nothing more (I10). @throws NusecError NOT_FOUND, CA_NOT_ACTIVE */
export function signingCa(ctx: Context, authorities: Authorities, icaId: string): Promise<ActiveCa> {
  if (!canSign(authorities, icaId)) refuseSigning(icaId);
  return caById(ctx, authorities, icaId);
}

/** Whether an issuing CA signs what was intended under it: one that was replaced does, one that is compromised does not (I10). */
export function canSign({ issuingCas }: Pick<CreatedAuthority, 'issuingCas'>, icaId: string): boolean {
  const ica = issuingCas.find(candidate => candidate.icaId === icaId);
  return ica === undefined || ica.status === 'ACTIVE' || ica.status === 'RETIRED';
}

/** What a result depends on: nobody has declared its issuing CA compromised while it was signed. */
export const stillSigns =
  (ctx: Context, icaId: string): Condition =>
  async read => {
    const state = await read(authority, authorityStream(ctx.project));
    if (state.status === 'NONE' || !canSign(state, icaId)) refuseSigning(icaId);
  };

function refuseSigning(icaId: string): never {
  throw new NusecError('CA_NOT_ACTIVE', `the issuing CA ${icaId} signs no more`);
}

/** An issuing CA and the root under which it was made, DER. @throws NusecError NOT_FOUND */
export function chainOf({ issuingCas, roots, root }: Authorities, icaId: string): { readonly ica: Uint8Array; readonly root: Uint8Array } {
  const ica = issuingCas.find(candidate => candidate.icaId === icaId);
  if (ica === undefined) throw new NusecError('NOT_FOUND', `there is no issuing CA ${icaId}`);
  const own = roots.find(({ rootId }) => rootId === (ica.rootId ?? firstRootId)) ?? root;
  return { ica: fromBase64url(ica.certificate), root: fromBase64url(own.certificate) };
}

async function caOf(ctx: Context, { icaId, certificate, keyId }: Pick<IssuingCa, 'icaId' | 'certificate' | 'keyId'>): Promise<ActiveCa> {
  return {
    icaId,
    certificate: parsedAuthority(certificate),
    signer: await signer(ctx.keystore, keyId),
    crlUrl: crlUrlOf(ctx, icaId),
  };
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
 *  unused key, never a CA without one. @param wish `icaId` from nextIcaId, `curve` of its key; default: what the root says
 *  @throws NusecError CONFLICT when there is a key of this id on another curve */
export function makeIssuingCa(ctx: Context, wish: CaWish): Promise<IssuingCa> {
  // A trust bundle may be published meanwhile: the certificate must state that one.
  return retriedOn('REVISION_CONFLICT', () => makeOnce(ctx, wish));
}

type CaWish = Pick<IssuingCa, 'icaId' | 'use' | 'line' | 'curve'>;

async function makeOnce(ctx: Context, wish: CaWish): Promise<IssuingCa> {
  const { icaId, use, line } = wish;
  const state = await authorityOf(ctx);
  const known = state.issuingCas.find(ca => ca.icaId === icaId);
  if (known !== undefined) return known;
  const keyId = `ica/${icaId}`;
  const curve = wish.curve ?? (await curveOfKey(ctx, keyId)) ?? state.root.icaCurve;
  const publicKey = await ensureSigningKey(ctx, keyId, curve);
  const root = parseCertificate(fromBase64url(state.root.certificate));
  const { rootId } = state.root;
  const bundleBefore = state.trustBundle.version;
  const generation = Number(icaId.split('-').at(-1));
  const { der } = await issueCertificate(
    'ica',
    {
      publicKey,
      serial: ctx.randomBytes(16),
      // Older machines do not read which bundle came before an issuing CA; they compare the dates.
      notBefore: generation === 1 ? backdatedIso(ctx) : nowIso(ctx),
      issuer: root,
      crlUrl: crlUrlOf(ctx, rootId),
      organization: root.subject.organization ?? ctx.project,
      line: line ?? use,
      commonName: `${ctx.project} ${icaId}`,
      scope: { use, ...(line !== undefined && { line }) },
      bundleBefore,
    },
    await signer(ctx.keystore, state.root.keyId),
  );
  const ica: IssuingCa = {
    icaId,
    use,
    ...(line !== undefined && { line }),
    ...(rootId !== firstRootId && { rootId }),
    generation,
    keyId,
    curve,
    certificate: toBase64url(der),
    sha256: sha256Hex(der),
  };
  await execute(ctx, authority, authorityStream(ctx.project), { type: 'EstablishIssuingCa', bundleBefore, ...ica }, system);
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
