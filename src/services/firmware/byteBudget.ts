/** Bytes per second, for each device and for all together, with a burst of one second. Taking says how long to wait first. */
export type ByteBudget = {
  /** @param nowMs of a clock that never goes back
   *  @returns milliseconds to wait before the bytes go out; undefined when that would be longer than `maxWaitMs`: then nothing is taken */
  take(uid: string, bytes: number, nowMs: number): number | undefined;
  /** What was taken and does not go out after all: the device is gone. */
  giveBack(uid: string, bytes: number): void;
};

export type ByteLimits = { readonly deviceBytesPerSecond: number; readonly totalBytesPerSecond: number; readonly maxWaitMs: number };

/** Firmware may not starve attestation: it gets a share of a gigabit line. */
export const defaultByteLimits: ByteLimits = {
  deviceBytesPerSecond: 8 * 1024 * 1024,
  totalBytesPerSecond: 64 * 1024 * 1024,
  maxWaitMs: 5_000,
};

/** Time at which everything taken so far has gone out. */
type Line = { freeAtMs: number };
const burstMs = 1_000;
const maxDevices = 20_000;

export function createByteBudget(limits: ByteLimits): ByteBudget {
  const total: Line = { freeAtMs: Number.NEGATIVE_INFINITY };
  const devices = new Map<string, Line>();
  const lineOf = (uid: string): Line => {
    const line = devices.get(uid) ?? { freeAtMs: Number.NEGATIVE_INFINITY };
    devices.delete(uid);
    devices.set(uid, line);
    if (devices.size > maxDevices) devices.delete(devices.keys().next().value as string);
    return line;
  };
  const linesOf = (uid: string) => [
    { line: total, perSecond: limits.totalBytesPerSecond },
    { line: lineOf(uid), perSecond: limits.deviceBytesPerSecond },
  ];
  return {
    take(uid, bytes, nowMs) {
      const parts = linesOf(uid);
      const ends = parts.map(({ line, perSecond }) => Math.max(line.freeAtMs, nowMs - burstMs) + (bytes * 1000) / perSecond);
      const waitMs = Math.ceil(Math.max(0, ...ends.map(end => end - nowMs)));
      if (waitMs > limits.maxWaitMs) return undefined;
      parts.forEach(({ line }, i) => {
        line.freeAtMs = ends[i] as number;
      });
      return waitMs;
    },
    giveBack(uid, bytes) {
      for (const { line, perSecond } of linesOf(uid)) line.freeAtMs -= (bytes * 1000) / perSecond;
    },
  };
}
