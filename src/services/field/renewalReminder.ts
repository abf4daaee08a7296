import { requireCertifiable } from '../../domain/deviceIdentity.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { isInLastThird } from '../../times.ts';
import type { Context } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';
import { isDue } from '../identity/enrolment.ts';
import type { ConnectedDevices } from './connectedDevices.ts';
import type { DeviceChannel } from './deviceChannel.ts';

/** Asks a connected device to renew: it came with its IDevID, or with an LDevID in the last third of its life. The server has the
 *  clock; a device need not know the time. @param known its state, where it was read a moment ago */
export async function remindOfRenewal(
  ctx: Context,
  connected: ConnectedDevices,
  channel: Pick<DeviceChannel, 'remindOfRenewal'>,
  uid: string,
  known?: LivingDevice,
): Promise<void> {
  const { serialHex: serial, validity } = connected.get(uid) ?? {};
  const state = known ?? (await livingDevice(ctx, uid));
  const shown = state.certificates.find(certificate => certificate.serial === serial);
  if (shown === undefined) return;
  const isInTime = async () => !(validity === undefined ? await isDue(ctx, shown) : isInLastThird(validity, ctx.clock().getTime()));
  if (serial !== state.serial && (await isInTime())) return;
  requireCertifiable(state);
  // An upgrade ends with a restart and another hello; until then its blocks keep their connection.
  if (state.status === 'UPGRADING') return;
  await channel.remindOfRenewal(uid, shown.serial);
}
