import { setTimeout as sleep } from 'node:timers/promises';
import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { NusecError } from '../../../src/errors.ts';
import { orderMessage, orderReply } from '../../../src/mqttMessages.ts';
import type { Seconds } from '../../../src/times.ts';
import type { StageContext } from '../../chip/board.ts';
import { carryOutWipe, checkedOrder } from '../../chip/orders.ts';
import type { NusecMqttClient } from '../../link/mqttClient.ts';

/** Signed orders over dn/order (R96, T31). A wipe is final, so its nonce need not be the device's: the receipt repeats it, and the order was
 *  signed for this device, this registration and a limited time. */

/** How long a wiped device tries to bring its receipt; it has lost its keys and starts no more after that. */
const receiptDeliveryMs = 600_000;
const receiptRetryMs = 500;

type OrderClient = Pick<NusecMqttClient, 'on' | 'publish'>;

export function openOrderChannel(context: StageContext, client: OrderClient, nowSeconds: () => Seconds): void {
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
    await deliver(client, encodeAs(orderReply, { cid, receipt: done }));
    context.resetLater('normal');
  };
  let turn: Promise<void> = Promise.resolve();
  client.on('order', payload => {
    turn = turn.then(() => answer(payload)).catch(() => undefined);
  });
}

/** Until the server has it durably (PUBACK), over as many connections as it takes. */
async function deliver(client: OrderClient, reply: Uint8Array): Promise<void> {
  const deadline = performance.now() + receiptDeliveryMs;
  while (performance.now() < deadline) {
    const sent = await client.publish('order', reply).then(
      () => true,
      () => false,
    );
    if (sent) return;
    await sleep(receiptRetryMs, undefined, { ref: false });
  }
}

const codeOf = (error: unknown): string => (error instanceof NusecError ? error.code : 'INTERNAL');
