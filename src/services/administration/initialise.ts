import { toBase64url } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { authority, authorityStream } from '../../domain/authority.ts';
import type { CreatedAuthority } from '../../domain/authorityState.ts';
import { signingKeyId, signingUses } from '../../domain/signingUse.ts';
import type { Curve } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { bootKekId } from '../../keystore/bootKeys.ts';
import { ensureKey } from '../../keystore/ensureKey.ts';
import { signer } from '../../keystore/signer.ts';
import { issueCertificate } from '../../pki/certificate.ts';
import { rootKeyId } from '../authority/authority.ts';
import { ensureSigningKey, establishIssuingCa } from '../authority/issuingCa.ts';
import { establishSigningKey } from '../authority/signingKey.ts';
import { publishTrustBundle } from '../authority/trustBundle.ts';
import { backdatedIso, type Context, execute, stateOf } from '../base/context.ts';
import { addOperator } from './operators.ts';

/** Key ceremony: a project begins with its root, its issuing CAs, a signing key for each use and two administrators (R1–R2, I16).
 *  Every step is done once: a ceremony that was cut off is finished by running it again. */

export type Ceremony = {
  readonly organization: string;
  /** Two different people; both become administrators. */
  readonly administrators: readonly [string, string];
  /** Curve of the root's key; default: P-256. */
  readonly curve?: Curve;
  /** Curve of the keys of issuing CAs; default: that of the root. */
  readonly icaCurve?: Curve;
};
export type CeremonyResult = {
  readonly rootSha256: string;
  readonly tokens: readonly { readonly name: string; readonly token: string }[];
};

/** @throws NusecError STATE when the project has been initialised, FOUR_EYES_REQUIRED when both names are the same, CONFLICT when a ceremony
 *  that was cut off began with another curve */
export async function initialiseProject(ctx: Context, ceremony: Ceremony): Promise<CeremonyResult> {
  const stream = authorityStream(ctx.project);
  const by = `operator:${ceremony.administrators[0]}`;
  const before = await stateOf(ctx, authority, stream);
  if (before.status === 'CREATED' && before.trustBundle.version > 0 && hasSigningKeys(before))
    throw new NusecError('STATE', `project ${ctx.project} is initialised already`);
  if (ceremony.administrators[0] === ceremony.administrators[1])
    throw new NusecError('FOUR_EYES_REQUIRED', 'creating the root needs two different people');
  await execute(ctx, authority, stream, { type: 'CreateProject', project: ctx.project, name: ceremony.organization, by }, by);
  const rootSha256 = await establishRoot(ctx, ceremony, by);
  await ensureKey(ctx.keystore, bootKekId(1), 'AES-256');
  for (const use of ['server', 'programmer', 'gateway'] as const) await ensureIssuingCa(ctx, use);
  for (const use of signingUses) await establishSigningKey(ctx, signingKeyId(use, 1), use, by);
  const tokens = [];
  for (const name of ceremony.administrators) tokens.push({ name, token: await addOperator(ctx, name, ['administrator'], by) });
  await publishTrustBundle(ctx);
  return { rootSha256, tokens };
}

const hasSigningKeys = ({ packageKeys }: CreatedAuthority): boolean =>
  signingUses.every(use => packageKeys.some(({ uses }) => uses.includes(use)));

async function establishRoot(ctx: Context, ceremony: Ceremony, by: Actor): Promise<string> {
  const { organization, administrators, curve = 'P-256', icaCurve = curve } = ceremony;
  const stream = authorityStream(ctx.project);
  const publicKey = await ensureSigningKey(ctx, rootKeyId, curve);
  const state = await stateOf(ctx, authority, stream);
  if (state.status === 'CREATED' && state.root !== undefined) {
    if (state.root.icaCurve !== icaCurve) throw new NusecError('CONFLICT', `issuing CAs of this root are ${state.root.icaCurve}`);
    return state.root.sha256;
  }
  const { der } = await issueCertificate(
    'rootCa',
    {
      publicKey,
      serial: ctx.randomBytes(16),
      notBefore: backdatedIso(ctx),
      organization,
      commonName: `${organization} Root CA`,
    },
    await signer(ctx.keystore, rootKeyId),
  );
  const root = { certificate: toBase64url(der), sha256: sha256Hex(der), keyId: rootKeyId, curve, icaCurve };
  await execute(ctx, authority, stream, { type: 'EstablishRootCa', approvers: administrators, ...root }, by);
  return root.sha256;
}

async function ensureIssuingCa(ctx: Context, use: 'server' | 'programmer' | 'gateway'): Promise<void> {
  const state = await stateOf(ctx, authority, authorityStream(ctx.project));
  const isThere = state.status === 'CREATED' && state.issuingCas.some(ca => ca.use === use && ca.status === 'ACTIVE');
  if (!isThere) await establishIssuingCa(ctx, use);
}
