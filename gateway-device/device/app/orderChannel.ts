import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { NusecError } from '../../../src/errors.ts';
import { orderMessage, orderReply } from '../../../src/mqttMessages.ts';
import type { NusecMqttClient } from '../../mqttClient.ts';
import type { StageContext } from '../board.ts';
import { carryOutWipe, checkedOrder } from '../orders.ts';

/** Signed orders over dn/order (R96, T31). A wipe is final, so its nonce need not be the device's: the receipt repeats it, and the order was
 *  signed for this device, this registration and a limited time. */

const receiptDeliveryMs = 5_000;

export function openOrderChannel(context: StageContext, client: Pick<NusecMqttClient, 'on' | 'publish'>, nowSeconds: () => number): void {
  let receipt: Uint8Array | undefined;
  const carryOut = async (order: Uint8Array): Promise<Uint8Array> => {
    if (receipt) return receipt;
    const { nonce } = await checkedOrder(context, order, { operation: 'wipe', nowSeconds: nowSeconds() });
    receipt = await carryOutWipe(context, nonce);
    return receipt;
  };
  const answer = async (payload: Uint8Array): Promise<void> => {
    const { cid, order } = decodeAs(orderMessage, payload);
    const done = await carryOut(order).catch(codeOf);
    if (typeof done === 'string') {
      context.tell({ event: 'refused', what: 'order', code: done });
      await client.publish('order', encodeAs(orderReply, { cid, receipt: null, error: done }));
      return;
    }
    const sent = client.publish('order', encodeAs(orderReply, { cid, receipt: done })).catch(() => undefined);
    await Promise.race([sent, new Promise(resolve => setTimeout(resolve, receiptDeliveryMs).unref())]);
    context.resetLater('normal');
  };
  let turn: Promise<void> = Promise.resolve();
  client.on('order', payload => {
    turn = turn.then(() => answer(payload)).catch(() => undefined);
  });
}

const codeOf = (error: unknown): string => (error instanceof NusecError ? error.code : 'INTERNAL');
