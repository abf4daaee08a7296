import { fromHex } from '../../bytes.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import { type Context, reader } from './context.ts';

/** What names one generation of a device in signed messages. */
export type DeviceIdBytes = { readonly uid: Uint8Array; readonly objId: Uint8Array };

export const idBytesOf = ({ uid, objId }: { readonly uid: string; readonly objId: string }): DeviceIdBytes => ({
  uid: fromHex(uid),
  objId: fromHex(objId),
});

/** The state of a device that has been minted. @param uid 32 hex @throws NusecError NOT_FOUND */
export const livingDevice = (ctx: Context, uid: string): Promise<LivingDevice> => livingDeviceIn(reader(ctx), uid);

/** The same, as far as `read` knows the log. @throws NusecError NOT_FOUND */
export async function livingDeviceIn(read: Read, uid: string): Promise<LivingDevice> {
  const state = await read(device, deviceStream(uid));
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no device ${uid}`);
  return state;
}
