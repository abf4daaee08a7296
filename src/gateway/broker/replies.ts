/** The last replies per device, so that a request that comes twice (QoS 1 repeat, or asked again after a time-out) gets the same answer
 *  and is not done twice. The cid is chosen by the requester and unique in its session; a new session starts with `forget`. */

const repliesPerDevice = 32;
const defaultMaxBytes = 64 * 1024 * 1024;

type DeviceReplies = Map<string, Uint8Array>;

export type ReplyCache = {
  get(uid: string, family: string, cid: number): Uint8Array | undefined;
  put(uid: string, family: string, cid: number, reply: Uint8Array): void;
  forget(uid: string): void;
};

/** @param maxBytes of replies over all devices; beyond it the device that was served least recently is forgotten */
export function createReplyCache(maxBytes: number = defaultMaxBytes): ReplyCache {
  const devices = new Map<string, DeviceReplies>();
  let bytes = 0;

  const forget = (uid: string): void => {
    for (const reply of devices.get(uid)?.values() ?? []) bytes -= reply.length;
    devices.delete(uid);
  };
  const drop = (replies: DeviceReplies, key: string): void => {
    bytes -= replies.get(key)?.length ?? 0;
    replies.delete(key);
  };
  return {
    forget,
    get: (uid, family, cid) => devices.get(uid)?.get(keyOf(family, cid)),
    put(uid, family, cid, reply) {
      const replies: DeviceReplies = devices.get(uid) ?? new Map();
      drop(replies, keyOf(family, cid));
      replies.set(keyOf(family, cid), reply);
      bytes += reply.length;
      if (replies.size > repliesPerDevice) drop(replies, oldestKey(replies));
      devices.delete(uid);
      devices.set(uid, replies);
      while (bytes > maxBytes) forget(oldestKey(devices));
    },
  };
}

const keyOf = (family: string, cid: number): string => `${family}/${cid}`;
const oldestKey = (map: ReadonlyMap<string, unknown>): string => map.keys().next().value as string;
