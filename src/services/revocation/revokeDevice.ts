import type { Actor } from '../../domain/actor.ts';
import { type InList, listIdOf } from '../../domain/crlList.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { RevocationReason } from '../../domain/deviceEvents.ts';
import type { DeviceCertificate } from '../../domain/deviceState.ts';
import { type Context, execute } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';
import { issueCrl } from './crl.ts';
import type { Revocations } from './revocations.ts';

/** Ends a device's identity (R86, RULE-16, T23): every certificate that is still valid is revoked. It is in force in this process when this
 *  returns: handshakes are refused, the live connection is cut, the CRL is signed again. The boot keys stay in custody.
 *  Again on a revoked device: nothing more is recorded.
 *  @throws NusecError NOT_FOUND */
export async function revokeDevice(
  ctx: Context,
  revocations: Revocations,
  uid: string,
  reason: RevocationReason,
  by: Actor,
): Promise<{ readonly revoked: readonly string[] }> {
  const revoked: DeviceCertificate[] = [];
  // Again until none is left: a next one may have been issued before the first was revoked; none is issued after that.
  for (let good = await goodOnes(ctx, uid); good.length > 0; good = await goodOnes(ctx, uid)) {
    for (const certificate of good) {
      await execute(ctx, device, deviceStream(uid), { type: 'RevokeCertificate', serial: certificate.serial, reason, by }, by);
      revoked.push(certificate);
    }
  }
  await putRevocationInForce(ctx, revocations, revoked);
  return { revoked: revoked.map(({ serial }) => serial) };
}

async function goodOnes(ctx: Context, uid: string): Promise<readonly DeviceCertificate[]> {
  return (await livingDevice(ctx, uid)).certificates.filter(({ status }) => status !== 'revoked');
}

/** Puts every certificate of the device on hold, or makes them valid again (R86). In force in this process when this returns.
 *  @throws NusecError NOT_FOUND, DEVICE_STATE (in production, in repair, out of use) */
export async function holdDevice(
  ctx: Context,
  revocations: Revocations,
  uid: string,
  step: { readonly type: 'SuspendDevice'; readonly reason: string } | { readonly type: 'ResumeDevice' },
  by: Actor,
): Promise<void> {
  await execute(ctx, device, deviceStream(uid), { ...step, by }, by);
  const { certificates } = await livingDevice(ctx, uid);
  await putRevocationInForce(ctx, revocations, certificates);
}

/** Waits until this process knows everything recorded so far, then signs the lists that these certificates are on. A list that cannot be signed (its
 *  authority is compromised) does not undo the revocation. */
export async function putRevocationInForce(ctx: Context, revocations: Revocations, certificates: readonly InList[]): Promise<void> {
  await revocations.caughtUp(await ctx.store.head());
  for (const listId of new Set(certificates.map(listIdOf)))
    await issueCrl(ctx, listId).catch(error => ctx.log.warn({ listId, error: (error as Error).message }, 'the CRL was not signed anew'));
}
