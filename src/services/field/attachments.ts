import { gateway, gatewayStream, mayServe } from '../../domain/gateway.ts';
import { NusecError } from '../../errors.ts';
import { loadState } from '../../eventstore/handle.ts';
import type { Recorded } from '../../eventstore/recorded.ts';
import { lru } from '../../lru.ts';
import { gatewayQueries } from '../../projections/gateways.ts';
import { minuteMs } from '../../times.ts';
import { type Context, isFarBehind, whileStarting } from '../base/context.ts';

/** Which gateway may speak for which device, kept in memory (T20): filled from the read model, updated by the events. While that is rebuilt no
 *  gateway is let in, and none is known. */
export type Attachments = {
  /** @throws NusecError PROJECTION_BEHIND while it is not known who may speak for whom */
  requireKnown(): void;
  isAttached(gatewayId: string, uid: string): boolean;
  /** Whether it might a moment ago: it can still answer what it was asked then, and may not know yet. */
  hasServed(gatewayId: string, uid: string): boolean;
  /** Devices this gateway may speak for. */
  devicesOf(gatewayId: string): readonly string[];
  /** Gateways that may speak for the device. */
  gatewaysOf(uid: string): readonly string[];
  /** Gateways that the device is attached to, also those that may not speak now. */
  attachedTo(uid: string): readonly string[];
  /** Resolves when everything up to this position is known here. */
  caughtUp(position: number): Promise<void>;
  close(): Promise<void>;
};

export async function startAttachments(ctx: Context): Promise<Attachments> {
  const served = new Map<string, ReadonlySet<string>>();
  const serving = new Map<string, Set<string>>();
  const attached = new Map<string, ReadonlySet<string>>();
  const holders = new Map<string, Set<string>>();
  const endedMs = lru<number>(maxEnded);
  const start = await ctx.store.head();
  const read = async (gatewayId: string): Promise<void> => {
    // Whatever is followed here is known.
    const { state } = await loadState(ctx.store, gateway, gatewayStream(gatewayId), true);
    const all = state.status === 'NONE' ? new Set<string>() : state.devices;
    const devices = new Set(state.status === 'NONE' ? [] : [...all].filter(uid => mayServe(state, uid)));
    for (const uid of served.get(gatewayId) ?? []) if (!devices.has(uid)) endedMs.set(`${gatewayId}/${uid}`, ctx.clock().getTime());
    replace(serving, gatewayId, served.get(gatewayId), devices);
    replace(holders, gatewayId, attached.get(gatewayId), all);
    served.set(gatewayId, devices);
    attached.set(gatewayId, all);
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
    hasServed: (gatewayId, uid) => ctx.clock().getTime() - (endedMs.get(`${gatewayId}/${uid}`) ?? 0) < answersForMs,
    devicesOf: gatewayId => [...(served.get(gatewayId) ?? [])],
    gatewaysOf: uid => [...(serving.get(uid) ?? [])],
    attachedTo: uid => [...(holders.get(uid) ?? [])],
    caughtUp: follower.caughtUp,
    close: () => follower.close(),
  };
}

/** @param gatewaysOf by device */
function replace(
  gatewaysOf: Map<string, Set<string>>,
  gatewayId: string,
  before: ReadonlySet<string> | undefined,
  now: ReadonlySet<string>,
): void {
  for (const uid of before ?? []) if (!now.has(uid)) gatewaysOf.get(uid)?.delete(gatewayId);
  for (const uid of now) gatewaysOf.set(uid, (gatewaysOf.get(uid) ?? new Set()).add(gatewayId));
}

const streamPrefix = 'gateway-';
/** Longer than a question to a gateway lives. */
const answersForMs = 5 * minuteMs;
const maxEnded = 10_000;
