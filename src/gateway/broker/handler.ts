import type { DownFamily, UpFamily } from '../../mqttTopics.ts';
import type { Identity } from './identity.ts';

export type Qos = 0 | 1;
/** What is in parts is sent with QoS 0, and given away: its memory is gone as soon as it has been put together. */
export type Payload = Uint8Array | readonly Uint8Array[];

/** A message from a device, straight or through a gateway. `uid` is the device it is about; rights are checked, the payload is not. */
export type UpMessage = {
  readonly identity: Identity;
  readonly uid: string;
  readonly family: UpFamily;
  /** Topic levels after the family: `job/next` → ['next']. */
  readonly path: readonly string[];
  readonly payload: Uint8Array;
  /** Sends to the same device on the way it came; false when the connection is gone. */
  readonly reply: (family: DownFamily, payload: Payload, qos?: Qos) => Promise<boolean>;
};

/** Resolves when what the message says is durable: the PUBACK leaves after that. Handlers of one device never overlap.
 *  What a throw leads to: refusals.ts. */
export type Handler = (message: UpMessage) => Promise<void>;

/** One handler per topic family; a family without one is refused. */
export type Handlers = Partial<Readonly<Record<UpFamily, Handler>>>;
