import type { DeviceCertificate, LivingDevice } from '../../domain/deviceState.ts';
import { authorityOf } from '../authority/authority.ts';
import { chainOf } from '../authority/issuingCa.ts';
import type { Context } from '../base/context.ts';
import type { Enrolment } from '../identity/issuance.ts';
import { askedSpdm, type WirePolicy, wirePolicy } from './attestationPolicy.ts';

/** What a machine with a device on its wires is to know of it: who it is, and what its line has it asked for. */
export type WiredIdentity = Enrolment & { readonly spdm: WirePolicy };

/** @param certificate the one that the device has, or will have */
export async function wiredIdentity(
  ctx: Context,
  state: LivingDevice,
  certificate: Pick<DeviceCertificate, 'icaId' | 'certificateSha256'>,
): Promise<WiredIdentity> {
  const chain = chainOf(await authorityOf(ctx), certificate.icaId);
  const spdm = wirePolicy(await askedSpdm(ctx, state, certificate));
  return { certificate: await ctx.blobs.get(certificate.certificateSha256), ...chain, spdm };
}
