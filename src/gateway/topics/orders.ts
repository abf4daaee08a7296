import { decodeAs } from '../../cbor/schema.ts';
import { orderReply } from '../../mqttMessages.ts';
import type { Decommissions } from '../../services/field/decommission.ts';
import type { Handler } from '../broker/handler.ts';
import type { Channel } from '../reach/channel.ts';

/** up/order: the device's signed receipt for an order, or why it refuses (R96, T31). A wiped device brings its receipt until it has the
 *  PUBACK, to a server that may have restarted since it asked: the receipt is valid by itself, also when nobody waits for it. */
export const orderHandler =
  (channel: Pick<Channel, 'settle'>, decommissions: Pick<Decommissions, 'receive'>): Handler =>
  async ({ uid, payload }) => {
    const { cid, ...answer } = decodeAs(orderReply, payload);
    if (answer.receipt !== null) await decommissions.receive(uid, answer.receipt);
    channel.settle('order', uid, cid, answer);
  };
