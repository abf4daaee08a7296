import { toBase64url } from '../../bytes.ts';
import type { Actor } from '../../domain/actor.ts';
import { authority, authorityStream } from '../../domain/authority.ts';
import type { SigningUse } from '../../domain/signingUse.ts';
import { type Context, execute } from '../base/context.ts';
import { ensureSigningKey } from './issuingCa.ts';

/** Makes the signing key of one use and records what it is for. Done again it gives the same.
 *  @returns SubjectPublicKeyInfo @throws NusecError CONFLICT (the key serves another use) */
export async function establishSigningKey(ctx: Context, keyId: string, use: SigningUse, by: Actor): Promise<Uint8Array> {
  const publicKey = await ensureSigningKey(ctx, keyId);
  const command = { type: 'EstablishPackageKey', keyId, publicKey: toBase64url(publicKey), uses: [use] } as const;
  await execute(ctx, authority, authorityStream(ctx.project), command, by);
  return publicKey;
}
