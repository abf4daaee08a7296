import { requireCertifiable } from '../../domain/deviceIdentity.ts';
import type { Context } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';
import { isDue } from '../identity/enrolment.ts';
import type { ConnectedDevices } from './connectedDevices.ts';
import type { DeviceChannel } from './deviceChannel.ts';

/** Asks a connected device to renew: it came with its IDevID, or with an LDevID in the last third of its life. The server has the
 *  clock; a device need not know the time. */
export async function remindOfRenewal(
  ctx: Context,
  connected: ConnectedDevices,
  channel: Pick<DeviceChannel, 'remindOfRenewal'>,
  uid: string,
): Promise<void> {
  const serial = connected.get(uid)?.serialHex;
  const state = await livingDevice(ctx, uid);
  const shown = state.certificates.find(certificate => certificate.serial === serial);
  if (shown === undefined || (serial !== state.serial && !(await isDue(ctx, shown)))) return;
  requireCertifiable(state);
  // An upgrade ends with a restart and another hello; until then its blocks keep their connection.
  if (state.status === 'UPGRADING') return;
  await channel.remindOfRenewal(uid, shown.serial);
}
