import { authorityStream } from '../../domain/authority.ts';
import { device, deviceStream } from '../../domain/device.ts';
import { authorityOf } from '../authority/authority.ts';
import { trustBundleFor } from '../authority/olderRoots.ts';
import type { Alarms } from '../base/alarms.ts';
import { type Context, execute } from '../base/context.ts';
import { type Answer, createPerDeviceQueue } from '../base/perDeviceQueue.ts';
import type { ConnectedDevices } from './connectedDevices.ts';
import type { DeviceChannel } from './deviceChannel.ts';

/** Devices follow the trust bundle (RULE-16): each is brought to the newest version when it says hello, and all that are connected when there is
 *  a new one. The bundle is signed by a root the device named. One that knows only a retired root goes step by step: the last bundle of that
 *  root first, which names the next. What it says it trusts afterwards is recorded. */
export type DeviceBundles = {
  /** Brings a device that said hello up to date; nothing for one that does not follow bundles or is gone.
   *  @throws NusecError DEVICE_UNREACHABLE, RATE_LIMITED, DEVICE_STATE */
  follow(uid: string): Promise<void>;
  close(): Promise<void>;
};

export type DeviceBundlesParts = {
  readonly ctx: Context;
  readonly alarms: Alarms;
  readonly channel: Pick<DeviceChannel, 'trust'>;
  readonly connected: ConnectedDevices;
};

const queueLimits = { maxRunning: 64, maxWaiting: 20_000 };
/** As many roots as a bundle may name, and the last step. */
const maxSteps = 5;

export function startDeviceBundles({ ctx, alarms, channel, connected }: DeviceBundlesParts): DeviceBundles {
  const queue = createPerDeviceQueue(queueLimits);

  const bringUpToDate = async (uid: string, answer: Answer): Promise<void> => {
    for (let step = 0; step < maxSteps; step += 1) {
      const introduction = connected.get(uid);
      const trust = introduction?.trust;
      if (introduction === undefined || trust === undefined) return;
      const authorities = await authorityOf(ctx);
      await record(uid, trust.bundleVersion, authorities.trustBundle.version);
      const next = await trustBundleFor(ctx, authorities, trust.roots, trust.bundleVersion);
      if (next === undefined) return;
      const { error, ...after } = await answer(channel.trust(uid, next.bundle));
      connected.note(uid, { ...introduction, trust: after });
      if (error !== undefined)
        await alarms.raise({ code: 'TRUST_BUNDLE_REFUSED', subject: uid, detail: `version ${next.version}: ${error}` });
      if (after.bundleVersion <= trust.bundleVersion) return;
    }
  };
  /** A version that was never published is not recorded: somebody has put back an older store. */
  const record = async (uid: string, version: number, newest: number): Promise<void> => {
    if (version <= newest) {
      await execute(ctx, device, deviceStream(uid), { type: 'ApplyTrustBundle', version }, `device:${uid}`);
      return;
    }
    const detail = `has version ${version}, the newest here is ${newest}`;
    await alarms.raise({ code: 'TRUST_BUNDLE_AHEAD', subject: uid, detail });
  };
  const follow = async (uid: string): Promise<void> => {
    if (connected.get(uid)?.trust !== undefined) await queue.run(uid, answer => bringUpToDate(uid, answer));
  };
  const stream = authorityStream(ctx.project);
  const follower = ctx.followers.follow('device bundles', ctx.store.seen(), async events => {
    if (!events.some(event => event.type === 'TrustBundlePublished' && event.stream === stream)) return;
    for (const uid of connected.uids())
      follow(uid).catch(error => ctx.log.info({ uid, error: (error as Error).message }, 'the trust bundle was not delivered'));
  });
  return { follow, close: () => follower.close() };
}
