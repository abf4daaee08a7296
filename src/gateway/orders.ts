import { decodeAs } from '../cbor/schema.ts';
import { orderReply } from '../mqttMessages.ts';
import type { Channel } from './channel.ts';
import type { Handler } from './handler.ts';

/** up/order: the device's signed receipt for an order, or why it refuses (R96, T31). */
export const orderHandler =
  (channel: Pick<Channel, 'settle'>): Handler =>
  async ({ uid, payload }) => {
    const { cid, ...answer } = decodeAs(orderReply, payload);
    channel.settle('order', uid, cid, answer);
  };
