import { repeatedly } from '../../closing.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import type { Recorded } from '../../eventstore/recorded.ts';
import { minuteMs } from '../../times.ts';
import type { Context } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';
import { createPlaces } from '../base/perDeviceQueue.ts';
import type { Attestation } from '../field/attestation.ts';
import type { Decommissions } from '../field/decommission.ts';
import type { DeviceChannel } from '../field/deviceChannel.ts';
import type { Hello } from '../field/deviceHello.ts';
import type { OtaDelivery } from './otaDelivery.ts';

/** Takes care that a connected device gets what is outstanding for it: its order to wipe, the question for its proof, its job. Each is tried again with growing
 *  pauses until the log contains the answer, or the device is gone; then its next hello begins again. The end of an offer that is never
 *  taken is the matter of its rollout. In memory: nothing is kept but when to try again. */

export type DeliveryCare = {
  /** A device has said hello. Resolves after the first try. @param proof whether it has to prove its state  @param state after its hello */
  greet(uid: string, hello: Hello, proof: boolean, state?: LivingDevice): Promise<void>;
  /** Something is outstanding for these devices; those that are connected to this process are served. */
  note(uids: Iterable<string>): void;
  /** The device works on its job: nothing is tried until it is silent again. */
  active(uid: string): void;
  close(): void;
};

export type CareTimes = {
  /** Before the second try; doubled after each. */
  readonly firstPauseMs: number;
  readonly maxPauseMs: number;
  /** A device that fetches blocks is left alone until it has been silent for so long. */
  readonly silenceMs: number;
  readonly lookEveryMs: number;
};
const defaultTimes: CareTimes = { firstPauseMs: 5_000, maxPauseMs: 5 * minuteMs, silenceMs: 30_000, lookEveryMs: 500 };

export type CareParts = {
  readonly ctx: Context;
  readonly channel: Pick<DeviceChannel, 'isConnected'>;
  readonly attestation: Attestation;
  readonly decommissions: Decommissions;
  readonly delivery: OtaDelivery;
};

type Entry = { hello: Hello | undefined; proof: boolean; tries: number; dueMs: number; running: boolean };

/** Devices with something outstanding, at one process. */
const maxEntries = 200_000;
/** Tries in parallel; each is one exchange with one device. */
const maxRunning = 64;
/** Devices that have just said hello and are tried in parallel, mostly waiting for an answer: one that stays silent holds 15 KiB for 15 s. After a
 *  storm the others wait with next to nothing. */
const maxGreeted = 1_000;

export function startDeliveryCare(parts: CareParts, times: CareTimes = defaultTimes): DeliveryCare {
  const { ctx, channel } = parts;
  const entries = new Map<string, Entry>();
  const greeted = createPlaces(maxGreeted);
  let running = 0;

  const put = (uid: string, entry: Partial<Entry>): Entry => {
    const known = entries.get(uid) ?? { hello: undefined, proof: false, tries: 0, dueMs: 0, running: false };
    const next = Object.assign(known, entry);
    if (entries.size < maxEntries) entries.set(uid, next);
    return next;
  };
  const attempt = async (uid: string, entry: Entry): Promise<void> => {
    entry.running = true;
    running += 1;
    try {
      const pauseMs = Math.min(times.firstPauseMs * 2 ** entry.tries, times.maxPauseMs);
      entry.tries += 1;
      entry.dueMs = performance.now() + pauseMs;
      if (await tryOnce(parts, uid, entry)) entries.delete(uid);
    } finally {
      entry.running = false;
      running -= 1;
    }
  };
  const logFailure = (uid: string) => (error: unknown) =>
    ctx.log.info({ uid, error: (error as Error).message }, 'what stands for a device is tried again');
  const look = (): void => {
    const nowMs = performance.now();
    for (const [uid, entry] of entries) {
      if (running >= maxRunning) return;
      if (!entry.running && entry.dueMs <= nowMs) void attempt(uid, entry).catch(logFailure(uid));
    }
  };
  const soon = (uid: string): void => {
    if (channel.isConnected(uid)) put(uid, { tries: 0, dueMs: performance.now() });
  };
  const follower = ctx.followers.follow('delivery care', ctx.store.seen(), events => {
    for (const event of events) if (startsSomething(event)) soon(event.stream.slice(event.stream.indexOf('-') + 1));
    look();
  });
  const looks = repeatedly(times.lookEveryMs, async () => look(), logFailure('look'));
  return {
    async greet(uid, hello, proof, state) {
      // After a storm nothing is outstanding for most: they need no second look at the log.
      if (!proof && state !== undefined && !hasOutstanding(state)) return void entries.delete(uid);
      const entry = put(uid, { hello, proof, tries: 0, running: true });
      await greeted.take();
      try {
        await attempt(uid, entry);
      } finally {
        greeted.giveBack();
      }
    },
    note(uids) {
      for (const uid of uids) soon(uid);
      look();
    },
    active(uid) {
      const entry = entries.get(uid);
      if (entry !== undefined) Object.assign(entry, { tries: 0, dueMs: performance.now() + times.silenceMs });
    },
    async close() {
      entries.clear();
      await Promise.all([looks.close(), follower.close()]);
    },
  };
}

const startsSomething = ({ type }: Recorded): boolean => type === 'FirmwareOffered';

/** @returns whether nothing is outstanding for the device any more, or it is disconnected */
async function tryOnce({ ctx, channel, attestation, decommissions, delivery }: CareParts, uid: string, entry: Entry): Promise<boolean> {
  const isDirect = channel.isConnected(uid);
  if (!(isDirect || entry.proof)) return true;
  if (await decommissions.resume(uid)) return true;
  if (entry.proof) {
    await attestation.attest(uid);
    entry.proof = false;
  }
  const state = await livingDevice(ctx, uid);
  if (!isDirect) return true;
  if (state.decommissionOrderSha256 !== undefined) return state.status === 'DECOMMISSIONED';
  if (state.offer === undefined) return true;
  if (!runsOffered(state, entry.hello)) await delivery.deliver(uid);
  return false;
}

/** Whether it has an order or an offer. */
export const hasOutstanding = ({ decommissionOrderSha256, offer }: LivingDevice): boolean =>
  decommissionOrderSha256 !== undefined || offer !== undefined;

/** It has the image and has yet to prove it, after its next restart at the latest: a job would bring it nothing new. */
function runsOffered({ offer }: LivingDevice, hello: Hello | undefined): boolean {
  return hello !== undefined && offer?.imageHashes.includes(hello.imageHash) === true;
}
