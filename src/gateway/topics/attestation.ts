import { decodeAs } from '../../cbor/schema.ts';
import { eatAnswer, spdmMessage } from '../../mqttMessages.ts';
import type { Handler } from '../broker/handler.ts';
import type { Channel } from '../reach/channel.ts';

/** up/spdm: the device answers an SPDM request of the server. An answer nobody waits for (late, repeated) is dropped. */
export const spdmHandler =
  (channel: Pick<Channel, 'settle'>): Handler =>
  async ({ uid, payload }) => {
    const { cid, data } = decodeAs(spdmMessage, payload);
    channel.settle('spdm', uid, cid, data);
  };

/** up/eat: the device answers with a token, or says why there is none. */
export const eatHandler =
  (channel: Pick<Channel, 'settle'>): Handler =>
  async ({ uid, payload }) => {
    const { cid, ...answer } = decodeAs(eatAnswer, payload);
    channel.settle('eat', uid, cid, answer);
  };
