import { gateway, gatewayStream, mayServe } from '../../domain/gateway.ts';
import { NusecError } from '../../errors.ts';
import type { Recorded } from '../../eventstore/recorded.ts';
import { gatewayQueries } from '../../projections/gateways.ts';
import { type Context, isFarBehind, stateOf, whileStarting } from '../base/context.ts';

/** Which gateway may speak for which device, kept in memory (T20): filled from the read model, updated by the events. While that is rebuilt no
 *  gateway is let in, and none is known. */
export type Attachments = {
  /** @throws NusecError PROJECTION_BEHIND while it is not known who may speak for whom */
  requireKnown(): void;
  isAttached(gatewayId: string, uid: string): boolean;
  /** Devices this gateway may speak for. */
  devicesOf(gatewayId: string): readonly string[];
  /** Gateways the device is attached to. */
  gatewaysOf(uid: string): readonly string[];
  /** Resolves when everything up to this position is known here. */
  caughtUp(position: number): Promise<void>;
  close(): Promise<void>;
};

export async function startAttachments(ctx: Context): Promise<Attachments> {
  const served = new Map<string, ReadonlySet<string>>();
  const serving = new Map<string, Set<string>>();
  const start = await ctx.store.head();
  const read = async (gatewayId: string): Promise<void> => {
    const state = await stateOf(ctx, gateway, gatewayStream(gatewayId));
    const devices = state.status === 'NONE' ? [] : [...state.devices].filter(uid => mayServe(state, uid));
    for (const uid of served.get(gatewayId) ?? []) serving.get(uid)?.delete(gatewayId);
    for (const uid of devices) serving.set(uid, (serving.get(uid) ?? new Set()).add(gatewayId));
    served.set(gatewayId, new Set(devices));
  };
  const begin = async (): Promise<void> => {
    await ctx.reads.waitFor(start, { projections: ['gateways'], patient: true });
    for (const gatewayId of await gatewayQueries(ctx.reads.db).ids()) await read(gatewayId);
  };
  const handle = async (events: readonly Recorded[]): Promise<void> => {
    const changed = new Set(events.filter(event => event.stream.startsWith(streamPrefix)).map(event => event.stream));
    for (const stream of changed) await read(stream.slice(streamPrefix.length));
  };
  const follower = ctx.followers.follow('attachments', start, handle, { begin });
  await whileStarting(follower.begun, isFarBehind(ctx, 'gateways'));
  return {
    requireKnown() {
      if (!follower.hasBegun) throw new NusecError('PROJECTION_BEHIND', 'which gateway serves which device is not known yet');
    },
    isAttached: (gatewayId, uid) => served.get(gatewayId)?.has(uid) === true,
    devicesOf: gatewayId => [...(served.get(gatewayId) ?? [])],
    gatewaysOf: uid => [...(serving.get(uid) ?? [])],
    caughtUp: follower.caughtUp,
    close: () => follower.close(),
  };
}

const streamPrefix = 'gateway-';
