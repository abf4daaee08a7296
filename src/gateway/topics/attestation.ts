import { decodeAs } from '../../cbor/schema.ts';
import { spdmMessage } from '../../mqttMessages.ts';
import type { Handler } from '../broker/handler.ts';
import type { Channel } from '../reach/channel.ts';

/** up/spdm: the device answers an SPDM request of the server. An answer nobody waits for (late, repeated) is dropped. */
export const spdmHandler =
  (channel: Pick<Channel, 'settle'>): Handler =>
  async ({ uid, payload }) => {
    const { cid, data } = decodeAs(spdmMessage, payload);
    channel.settle('spdm', uid, cid, data);
  };
