import type { DeviceChannel, TrustState } from './deviceChannel.ts';

/** What a device said in the hello of a connection of its own. */
export type Introduction = {
  /** Of the certificate it connected with, hex. */
  readonly serialHex: string;
  /** Of that certificate, where the connection has told. */
  readonly validity?: { readonly notBefore: string; readonly notAfter: string } | undefined;
  /** Undefined when it does not follow trust bundles. */
  readonly trust: TrustState | undefined;
};

/** Devices that are here on connections of their own, from their hello on. In memory: who is not connected is forgotten. */
export type ConnectedDevices = {
  note(uid: string, introduction: Introduction): void;
  /** Undefined when it is gone, or has not said hello. */
  get(uid: string): Introduction | undefined;
  uids(): readonly string[];
};

export function createConnectedDevices(channel: Pick<DeviceChannel, 'isConnected'>): ConnectedDevices {
  const here = new Map<string, Introduction>();
  const get = (uid: string): Introduction | undefined => {
    if (!channel.isConnected(uid)) here.delete(uid);
    return here.get(uid);
  };
  return {
    note: (uid, introduction) => void here.set(uid, introduction),
    get,
    uids: () => [...here.keys()].filter(uid => get(uid) !== undefined),
  };
}
