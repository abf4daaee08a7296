import { concat } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';

/** MCTP packets (DSP0236 §8.1): version | destination | source | SOM EOM sequence TO tag, then a part of the message. The first byte of a
 *  message's first packet is its type (05 SPDM, 06 secured, 7F vendor-defined; bit 7 = integrity check). */

export type MctpAddress = {
  readonly destination: number;
  readonly source: number;
  /** 0–7. */
  readonly tag: number;
  /** Set by the requester. */
  readonly tagOwner: boolean;
};
export type MctpMessage = MctpAddress & { readonly body: Uint8Array };

const headerVersion = 0x01;
const mctpHeaderBytes = 4;
export const maxMctpMessageBytes = 64 * 1024;

const startFlag = 0x80;
const endFlag = 0x40;
const sequenceShift = 4;
const sequenceModulus = 4;
const ownerFlag = 0x08;
const tagMask = 0x07;

/** Cuts a message into packets. @param unitBytes body bytes of one packet, at least 1; every packet but the last is full */
export function encodeMctp(message: MctpMessage, unitBytes: number): readonly Uint8Array[] {
  const { body, destination, source, tag, tagOwner } = message;
  const count = Math.max(1, Math.ceil(body.length / unitBytes));
  return Array.from({ length: count }, (_, i) => {
    const flags = (i === 0 ? startFlag : 0) | (i === count - 1 ? endFlag : 0) | ((i % sequenceModulus) << sequenceShift);
    const head = Uint8Array.of(headerVersion, destination, source, flags | (tagOwner ? ownerFlag : 0) | (tag & tagMask));
    return concat(head, body.subarray(i * unitBytes, (i + 1) * unitBytes));
  });
}

export type MctpAssembler = {
  /** @returns the message that this packet completes
   *  @throws MCTP_MALFORMED; the message it would have belonged to is dropped (DSP0236 §8.6), the next start begins again */
  push(packet: Uint8Array): MctpMessage | undefined;
};

/** Puts packets together: one message at a time from one peer. Packets for another endpoint than `ownEid` (0 = null endpoint, always ours) are refused. */
export function createMctpAssembler(ownEid: number): MctpAssembler {
  let open: OpenMessage | undefined;
  return {
    push: packet => {
      const part = readPacket(packet, ownEid);
      const before = open;
      open = undefined;
      const next = part.start ? startMessage(part) : continueMessage(before, part);
      if (part.end) return { ...next.address, body: concat(...next.parts) };
      open = next;
      return undefined;
    },
  };
}

type Packet = {
  readonly address: MctpAddress;
  readonly start: boolean;
  readonly end: boolean;
  readonly sequence: number;
  readonly body: Uint8Array;
};
type OpenMessage = {
  readonly address: MctpAddress;
  readonly sequence: number;
  readonly parts: readonly Uint8Array[];
  readonly unitBytes: number;
  readonly totalBytes: number;
};

function readPacket(packet: Uint8Array, ownEid: number): Packet {
  const [version, destination, source, flags] = packet;
  if (packet.length <= mctpHeaderBytes || version !== headerVersion) throw malformed('packet head');
  if (destination !== 0 && destination !== ownEid) throw malformed('packet for another endpoint');
  return {
    address: { destination: destination!, source: source!, tag: flags! & tagMask, tagOwner: (flags! & ownerFlag) !== 0 },
    start: (flags! & startFlag) !== 0,
    end: (flags! & endFlag) !== 0,
    sequence: (flags! >> sequenceShift) % sequenceModulus,
    body: packet.slice(mctpHeaderBytes),
  };
}

function startMessage({ address, sequence, body }: Packet): OpenMessage {
  return { address, sequence, parts: [body], unitBytes: body.length, totalBytes: body.length };
}

/** Middle packets have the size of the first one, the last is not longer (DSP0236 §8.5). */
function continueMessage(open: OpenMessage | undefined, { address, sequence, body, end }: Packet): OpenMessage {
  if (!open) throw malformed('packet without a start');
  const same = address.source === open.address.source && address.tag === open.address.tag && address.tagOwner === open.address.tagOwner;
  if (!same) throw malformed('packet of another message');
  if (sequence !== (open.sequence + 1) % sequenceModulus) throw malformed('packet out of sequence');
  if (body.length > open.unitBytes || (!end && body.length !== open.unitBytes)) throw malformed('packet size');
  const totalBytes = open.totalBytes + body.length;
  if (totalBytes > maxMctpMessageBytes) throw malformed('message too long');
  return { ...open, sequence, parts: [...open.parts, body], totalBytes };
}

const malformed = (detail: string): NusecError => new NusecError('MCTP_MALFORMED', detail);
