import { setTimeout as sleep } from 'node:timers/promises';
import { encodeAs } from '../../cbor/schema.ts';
import { bundleMessage } from '../../mqttMessages.ts';
import { gatewayClientId } from '../../mqttTopics.ts';
import type { Context } from '../../services/base/context.ts';
import type { GatewayBundles } from '../../services/field/gatewayBundles.ts';
import type { Broker } from '../broker/broker.ts';

/** dn/bundle: every gateway gets what it judges with when it connects and whenever that changes (R84, RULE-16). The message says all of it each
 *  time, so one that was missed does no harm, and changes that come together share one. */

/** Between two messages to the same gateway. */
const pauseMs = 50;
const retryMs = 1_000;

export type BundlePush = {
  /** A gateway is connected. */
  connected(gatewayId: string): void;
};

export function createBundlePush(
  { log }: Pick<Context, 'log'>,
  trust: Pick<GatewayBundles, 'current' | 'onChange'>,
  broker: Pick<Broker, 'publishToGateway' | 'isOnline'>,
): BundlePush {
  /** Gateways that were seen here, and whether the bundle they got last is out of date. */
  const seen = new Map<string, { stale: boolean; running: boolean }>();
  let cid = 0;

  const deliver = async (gatewayId: string, state: { stale: boolean }): Promise<void> => {
    while (state.stale && broker.isOnline(gatewayClientId(gatewayId))) {
      state.stale = false;
      cid += 1;
      await broker.publishToGateway(gatewayId, 'bundle', encodeAs(bundleMessage, { cid, ...(await trust.current(gatewayId)) }));
      await sleep(pauseMs);
    }
  };
  const push = (gatewayId: string): void => {
    const state = seen.get(gatewayId);
    if (state === undefined) return;
    state.stale = true;
    if (state.running) return;
    state.running = true;
    deliver(gatewayId, state)
      .catch(error => {
        log.error({ gatewayId, error: (error as Error).message }, 'the trust bundle was not pushed');
        setTimeout(push, retryMs, gatewayId).unref();
      })
      .finally(() => {
        state.running = false;
      });
  };
  trust.onChange(gatewayIds => {
    for (const gatewayId of gatewayIds ?? seen.keys()) push(gatewayId);
  });
  return {
    connected(gatewayId) {
      if (!seen.has(gatewayId)) seen.set(gatewayId, { stale: true, running: false });
      push(gatewayId);
    },
  };
}
