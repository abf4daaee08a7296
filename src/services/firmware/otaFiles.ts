import { giveBack, type Joined, joinInKept } from '../../keptMemory.ts';
import type { OtaJob } from '../../ota/otaJob.ts';
import { heldElsewhere } from '../field/clusterChannel.ts';
import type { DeviceChannel } from '../field/deviceChannel.ts';
import type { OtaDelivery } from './otaDelivery.ts';

/** Deliveries as files of sealed blocks, for HTTPS. A request may come to any process, and the block key is where the device has its MQTT connection:
 *  that process seals, and the bytes go by way of the one that was asked. */

export type OtaFile = { readonly job: Pick<OtaJob, 'imageBytes' | 'blockBytes'>; readonly jobDigest: Uint8Array };
/** Consecutive blocks, and what of them is sent. */
export type Run = { readonly first: number; readonly count: number; readonly bytes: number };

export type OtaFiles = {
  /** The delivery that is open for this device, after a look into the log. @throws NusecError STATE (no session, or it does not stand any more) */
  open(uid: string, offerId: string): Promise<OtaFile>;
  /** Sealed blocks, when it is their turn. @param gone nobody takes them any more
   *  @returns undefined when that would be too long, or nobody takes them  @throws NusecError STATE */
  run(uid: string, offerId: string, run: Run, gone?: AbortSignal): Promise<Joined | undefined>;
};

export function createOtaFiles(delivery: Pick<OtaDelivery, 'file' | 'requireStanding' | 'turn' | 'block'>): OtaFiles {
  return {
    async open(uid, offerId) {
      const { job, jobDigest } = delivery.file(uid, offerId);
      await delivery.requireStanding(uid, offerId);
      const { imageBytes, blockBytes } = job;
      return { job: { imageBytes, blockBytes }, jobDigest };
    },
    async run(uid, offerId, { first, count, bytes }, gone) {
      if (!(await delivery.turn(uid, bytes, gone)) || gone?.aborted) return undefined;
      const { blockBytes } = delivery.file(uid, offerId).job;
      const blocks = Array.from({ length: count }, (_, i) => delivery.block(uid, offerId, first + i, blockBytes));
      const joined = joinInKept(blocks.flat());
      for (const [ciphertext] of blocks) giveBack(ciphertext);
      return joined;
    },
  };
}

/** What processes ask each other for. */
export type FileAnswers = {
  otaFile(uid: string, offerId: string): Promise<OtaFile>;
  otaRun(uid: string, offerId: string, run: Run): Promise<Uint8Array | undefined>;
};

export const fileAnswers = (own: OtaFiles): FileAnswers => ({
  otaFile: own.open,
  async otaRun(uid, offerId, run) {
    const joined = await own.run(uid, offerId, run);
    const bytes = joined?.bytes.slice();
    joined?.release();
    return bytes;
  },
});

/** Which other process has a device. */
type Holders = { holding(uid: string): FileAnswers | undefined };

/** Runs that are asked for at the same time: a link between processes holds 16 MiB that nobody has read yet. */
const maxAsked = 128;

export function createClusterFiles(own: OtaFiles, channel: Pick<DeviceChannel, 'isConnected'>, peers: Holders): OtaFiles {
  const elsewhere = heldElsewhere(channel, peers);
  let asked = 0;
  return {
    open: (uid, offerId) => elsewhere(uid)?.otaFile(uid, offerId) ?? own.open(uid, offerId),
    async run(uid, offerId, run, gone) {
      const holder = elsewhere(uid);
      if (holder === undefined) return own.run(uid, offerId, run, gone);
      if (asked >= maxAsked) return undefined;
      asked += 1;
      try {
        const bytes = await holder.otaRun(uid, offerId, run);
        return bytes && { bytes, release: () => undefined };
      } finally {
        asked -= 1;
      }
    },
  };
}
