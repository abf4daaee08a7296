import type { EventEmitter } from 'node:events';
import type { Client } from 'aedes';

/** The private parts of Aedes 1.2.0 (lib/client.js) and mqtt-packet 9 (parser.js) this broker leans on; `selfTest.ts` proves at start-up that they are there. */
export type ClientInternals = Client & {
  readonly _parser: ParserInternals;
  /** True once a DISCONNECT packet came. */
  readonly _disconnected: boolean;
  connackSent: boolean;
  /** What its CONNECT handler sets (lib/handlers/connect.js). */
  will: unknown;
  _authorized: boolean;
  _keepaliveInterval: number;
  _keepaliveTimer: NodeJS.Timeout | null;
  _parsingBatch: number;
  /** What its delivery and QoS 2 keep. */
  duplicates: object;
  _inboundInflight: ReadonlySet<number>;
  /** Ends its watch over the end of the connection. */
  _eos: () => void;
  /** Called by Aedes when a packet is done. */
  _nextBatch: (error?: Error | null) => void;
  /** The listener of its 'error' event. */
  readonly _onError: (error: Error) => void;
  /** Calls back when the socket has taken what was written, or the connection is over. */
  waitForDrain: (done: () => void) => void;
  pause: () => void;
  resume: () => void;
};

type ByteList = { readonly length: number; readUInt8(at: number): number; readUInt16BE(at: number): number };

/** The class of that list, with the class of a list that is no stream (bl 6). */
export const listClassOf = ({ _list }: ParserInternals): { readonly BufferList?: new () => ByteList } => _list.constructor as never;

export type ParserInternals = EventEmitter & {
  readonly packet: {
    readonly cmd: string;
    readonly qos: number;
    readonly dup: boolean;
    readonly length: number;
    /** These once the packet is read whole. */
    readonly messageId?: number;
    readonly topic?: string;
    readonly subscriptions?: readonly unknown[];
  };
  /** What has come and is not read yet. */
  _list: ByteList;
  parse(bytes: Buffer): number;
  /** Reads the remaining length (MQTT 3.1.1 §2.2.3); the header byte has been read before. */
  _parseLength(): boolean;
  /** Hands on the packet that was read whole. */
  _newPacket(): boolean;
  _emitError(error: Error): void;
};
