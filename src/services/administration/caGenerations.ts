import { fromBase64url, toBase64url } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { authority, authorityStream } from '../../domain/authority.ts';
import { type CaFacts, firstRootId, type RolledRoot } from '../../domain/authorityEvents.ts';
import type { CreatedAuthority } from '../../domain/authorityState.ts';
import type { CeremonyAction, CeremonyOutcome } from '../../domain/ceremonies.ts';
import { listIdOf } from '../../domain/crlList.ts';
import { generationOf, signingKeyId, signingUses } from '../../domain/signingUse.ts';
import { type Curve, curveOf } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { signer } from '../../keystore/signer.ts';
import { issueCertificate } from '../../pki/certificate.ts';
import { describeName } from '../../pki/names.ts';
import { type Certificate, parseCertificate } from '../../pki/parse.ts';
import { authorityOf, crlUrlOf } from '../authority/authority.ts';
import { ensureSigningKey, makeIssuingCa } from '../authority/issuingCa.ts';
import { establishSigningKey } from '../authority/signingKey.ts';
import { publishTrustBundle } from '../authority/trustBundle.ts';
import { backdatedIso, type Context, execute } from '../base/context.ts';
import { issueCrl } from '../revocation/crl.ts';

/** Generations of the authorities: they overlap. A new issuing CA is trusted by everybody before it issues; the one before it stays trusted and
 *  keeps signing its lists. A new root is certified by the old one and certifies it, so trust in one extends to both. Every step can be
 *  taken again and then changes nothing. */

/** Executes an approved ceremony and publishes the resulting trust bundle.
 *  @param approvers the two people behind it @returns what the printed record says of the result
 *  @throws NusecError of the authority: CA_NOT_ACTIVE, STATE, NOT_FOUND, CONFLICT */
export async function carryOut(ctx: Context, action: CeremonyAction, approvers: readonly [string, string]): Promise<CeremonyOutcome> {
  const outcome = await act(ctx, action, approvers);
  await publishTrustBundle(ctx);
  const { trustBundle } = await authorityOf(ctx);
  return { ...outcome, 'trust bundle': `version ${trustBundle.version}`, 'trust bundle SHA-256': trustBundle.sha256 };
}

async function act(ctx: Context, action: CeremonyAction, approvers: readonly [string, string]): Promise<CeremonyOutcome> {
  const by = approvers[1];
  const command = (wish: Parameters<typeof authority.decide>[0]) => execute(ctx, authority, authorityStream(ctx.project), wish, by);
  switch (action.type) {
    case 'establishIssuingCa':
      return certificateOutcome(await makeIssuingCa(ctx, action));
    case 'activateIssuingCa':
      await command({ type: 'ActivateIssuingCa', icaId: action.icaId });
      return { activated: action.icaId };
    case 'retireIssuingCa':
      await command({ type: 'RetireIssuingCa', icaId: action.icaId });
      return { retired: action.icaId };
    case 'compromiseIssuingCa':
      return compromise(ctx, action.icaId, action.reason, by);
    case 'establishPackageKey':
      return establishSigningKeys(ctx, action, by);
    case 'compromisePackageKey':
      await command({ type: 'CompromisePackageKey', keyId: action.keyId, reason: action.reason, by });
      return { compromised: action.keyId };
    case 'rollRoot':
      return rollRoot(ctx, action, approvers);
    case 'retireRoot':
      await command({ type: 'RetireRootCa', rootId: action.rootId });
      return { retired: action.rootId };
  }
}

/** A key for the use that the ceremony names, or one for each use. */
async function establishSigningKeys(
  ctx: Context,
  { keyId, use }: Pick<Extract<CeremonyAction, { readonly type: 'establishPackageKey' }>, 'keyId' | 'use'>,
  by: Actor,
): Promise<CeremonyOutcome> {
  const outcome: Record<string, string> = {};
  for (const one of use === undefined ? signingUses : [use]) {
    const id = signingKeyId(one, generationOf(keyId));
    outcome[`${id} SHA-256`] = sha256Hex(await establishSigningKey(ctx, id, one, by));
  }
  return outcome;
}

/** From here on nothing under this authority is trusted; the list of its root says so to those who ask there. */
async function compromise(ctx: Context, icaId: string, reason: string, by: Actor): Promise<CeremonyOutcome> {
  const { state } = await execute(ctx, authority, authorityStream(ctx.project), { type: 'CompromiseIssuingCa', icaId, reason, by }, by);
  const ica = state.status === 'NONE' ? undefined : state.issuingCas.find(candidate => candidate.icaId === icaId);
  const { number } = await issueCrl(ctx, ica?.rootId ?? firstRootId);
  return { compromised: icaId, 'root CRL number': String(number) };
}

export const nextRootId = (roots: readonly unknown[]): string => `root-${roots.length + 1}`;

async function rollRoot(
  ctx: Context,
  { rootId, ...wanted }: { readonly rootId: string; readonly curve?: Curve; readonly icaCurve?: Curve },
  approvers: readonly [string, string],
): Promise<CeremonyOutcome> {
  const state = await authorityOf(ctx);
  const { curve = state.root.curve, icaCurve = curve } = wanted;
  const known = state.roots.find(root => root.rootId === rootId);
  if (known !== undefined) return certificateOutcome(known);
  if (rootId !== nextRootId(state.roots)) throw new NusecError('CONFLICT', `the next root is ${nextRootId(state.roots)}`);
  const previous = { ...state.root, parsed: parseCertificate(fromBase64url(state.root.certificate)) };
  const keyId = `root/${state.roots.length + 1}`;
  const organization = previous.parsed.subject.organization ?? ctx.project;
  const names = { organization, commonName: `${organization} Root CA ${state.roots.length + 1}` };
  const [newSigner, oldSigner] = [
    await ensureSigningKey(ctx, keyId, curve).then(() => signer(ctx.keystore, keyId)),
    await signer(ctx.keystore, previous.keyId),
  ];
  const common = () => ({ serial: ctx.randomBytes(16), notBefore: backdatedIso(ctx) });
  const publicKey = await ctx.keystore.publicKey(keyId);
  const { der } = await issueCertificate('rootCa', { ...common(), publicKey, ...names }, newSigner);
  const root = parseCertificate(der);
  const certify = async (subject: Certificate, subjectNames: typeof names, issuer: Certificate, issuerId: string, by: typeof newSigner) =>
    toBase64url(
      (
        await issueCertificate(
          'crossRoot',
          { ...common(), publicKey: subject.spki, ...subjectNames, issuer, crlUrl: crlUrlOf(ctx, issuerId) },
          by,
        )
      ).der,
    );
  const oldNames = { organization, commonName: previous.parsed.subject.commonName ?? '' };
  const rolled: RolledRoot = {
    rootId,
    previousRootId: previous.rootId,
    keyId,
    curve,
    icaCurve,
    certificate: toBase64url(der),
    sha256: sha256Hex(der),
    crossCertificate: await certify(root, names, previous.parsed, previous.rootId, oldSigner),
    backCertificate: await certify(previous.parsed, oldNames, root, rootId, newSigner),
  };
  // Names, as the first root has them: the log keeps names of people apart.
  const people = approvers.map(actor => actor.replace(/^operator:/, ''));
  await execute(ctx, authority, authorityStream(ctx.project), { type: 'RollRootCa', ...rolled, approvers: people }, approvers[1]);
  return certificateOutcome(rolled);
}

/** What a printed record says of a certificate. */
export function certificateOutcome({ certificate, sha256, keyId }: CaFacts): CeremonyOutcome {
  const { subject, serialHex, notBefore, notAfter, spki } = parseCertificate(fromBase64url(certificate));
  return {
    subject: describeName(subject),
    'serial number': serialHex,
    'not before': notBefore,
    'not after': notAfter,
    'certificate SHA-256': sha256,
    key: keyId,
    curve: curveOf(spki) ?? '',
    'public key SHA-256': sha256Hex(spki),
  };
}

/** The authorities as an answer shows them. @param devicesBehind in use without the newest trust bundle */
export function overviewOf(state: CreatedAuthority, devicesBehind: number) {
  const facts = ({ certificate, sha256, keyId, curve }: Required<CaFacts>) => {
    const { serialHex: serial, subject, notAfter } = parseCertificate(fromBase64url(certificate));
    return { sha256, serial, subject: describeName(subject), notAfter, keyId, curve };
  };
  const crlOf = (id: string) => {
    const crl = state.crls.find(crl => listIdOf(crl) === id);
    return crl === undefined
      ? null
      : { number: crl.number, nextUpdate: crl.nextUpdate, lists: state.crls.filter(({ icaId }) => icaId === id).length };
  };
  return {
    project: state.project,
    roots: state.roots.map(root => ({ ...facts(root), icaCurve: root.icaCurve, rootId: root.rootId, retired: root.retired })),
    issuingCas: state.issuingCas.map(ca => ({
      ...facts(ca),
      icaId: ca.icaId,
      use: ca.use,
      line: ca.line ?? null,
      generation: ca.generation,
      status: ca.status,
      rootId: ca.rootId ?? firstRootId,
      crl: crlOf(ca.icaId),
    })),
    packageKeys: state.packageKeys.map(({ keyId, publicKey, uses, compromised }) => ({
      keyId,
      uses: [...uses],
      publicKeySha256: sha256Hex(fromBase64url(publicKey)),
      compromised,
    })),
    trustBundle: { version: state.trustBundle.version, sha256: state.trustBundle.sha256, devicesBehind },
  };
}
