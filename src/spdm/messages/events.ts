import { concat } from '../../bytes.ts';
import { encodeMessage, malformed, openMessage, openReader, type Reader, u8, u16, u32 } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';

/** Events (DSP0274 since 1.3): GET_SUPPORTED_EVENT_TYPES / SUPPORTED_EVENT_TYPES, SUBSCRIBE_EVENT_TYPES / SUBSCRIBE_EVENT_TYPES_ACK, SEND_EVENT /
 *  EVENT_ACK. All of them are messages of a session. Requests and acknowledgements without a body are read by `decodeHeadOnly`. */

/** Whose events they are (DSP0274, standards body or vendor-defined header). */
type Owner = { readonly registry: number; readonly vendorId: Uint8Array };

export type EventGroup = Owner & {
  readonly version: number;
  /** All types of the group, in a subscription; `types` is empty then. */
  readonly all: boolean;
  readonly types: readonly number[];
};

export type SpdmEvent = Owner & {
  /** EventInstanceId: the next number for each event of a session. */
  readonly id: number;
  readonly type: number;
  readonly detail: Uint8Array;
};

export const dmtfRegistry = 0;
export const dmtfGroupVersion = 1;
/** Events of DMTF, and the length of their details. */
export const dmtfEvent = { eventLost: 1, measurementChanged: 2, measurementPreUpdate: 3, certificateChanged: 4 } as const;
const kinds = ['eventLost', 'measurementChanged', 'measurementPreUpdate', 'certificateChanged'] as const;
const measurementMapBytes = 32;
const dmtfDetailBytes: Readonly<Record<number, number>> = { 1: 8, 2: measurementMapBytes, 3: measurementMapBytes, 4: 1 };

/** What is read of one message. */
const maxGroups = 16;
const maxTypesOfGroup = 256;
export const maxEventsOfMessage = 64;
const maxDetailBytes = 1024;

const allOfGroup = 0x01;

export const encodeGetSupportedEventTypes = (version: number): Uint8Array =>
  encodeMessage(version, requestCode.getSupportedEventTypes, 0, 0);

export const encodeSupportedEventTypes = (version: number, groups: readonly EventGroup[]): Uint8Array =>
  encodeGroups(version, responseCode.supportedEventTypes, groups);

/** @throws SPDM_MALFORMED */
export function decodeSupportedEventTypes(bytes: Uint8Array): readonly EventGroup[] {
  const { param1, body } = openMessage(bytes, responseCode.supportedEventTypes, 'SUPPORTED_EVENT_TYPES');
  if (param1 === 0) throw malformed('SUPPORTED_EVENT_TYPES: none');
  return readGroups(body, param1, 'SUPPORTED_EVENT_TYPES');
}

/** @param groups none: no events any more */
export const encodeSubscribeEventTypes = (version: number, groups: readonly EventGroup[]): Uint8Array =>
  groups.length === 0
    ? encodeMessage(version, requestCode.subscribeEventTypes, 0, 0)
    : encodeGroups(version, requestCode.subscribeEventTypes, groups);

/** @throws SPDM_MALFORMED */
export function decodeSubscribeEventTypes(bytes: Uint8Array): readonly EventGroup[] {
  const { param1, body } = openMessage(bytes, requestCode.subscribeEventTypes, 'SUBSCRIBE_EVENT_TYPES');
  if (param1 > 0) return readGroups(body, param1, 'SUBSCRIBE_EVENT_TYPES');
  body.end();
  return [];
}

export const encodeSubscribeEventTypesAck = (version: number): Uint8Array =>
  encodeMessage(version, responseCode.subscribeEventTypesAck, 0, 0);

/** @param events at least one */
export const encodeSendEvent = (version: number, events: readonly SpdmEvent[]): Uint8Array =>
  encodeMessage(version, requestCode.sendEvent, 0, 0, u32(events.length), ...events.map(encodeEvent));

/** Length of an event in SEND_EVENT. */
export const eventBytes = ({ vendorId, detail }: SpdmEvent): number => eventHeadBytes + vendorId.length + detail.length;
const eventHeadBytes = 14;
/** Length of SEND_EVENT without its events. */
export const sendEventHeadBytes = 8;

/** @returns in the order of their ids @throws SPDM_MALFORMED, also for ids with a gap, and details of DMTF that are not as long as they must be */
export function decodeSendEvent(bytes: Uint8Array): readonly SpdmEvent[] {
  const { body } = openMessage(bytes, requestCode.sendEvent, 'SEND_EVENT');
  const count = body.u32();
  if (count === 0 || count > maxEventsOfMessage) throw malformed('SEND_EVENT: number of events');
  const events = Array.from({ length: count }, () => readEvent(body)).sort((a, b) => a.id - b.id);
  body.end();
  if (events.some(({ id }, at) => id !== events[0]!.id + at)) throw malformed('SEND_EVENT: ids have a gap');
  return events;
}

export const encodeEventAck = (version: number): Uint8Array => encodeMessage(version, responseCode.eventAck, 0, 0);

const encodeOwner = ({ registry, vendorId }: Owner): Uint8Array => concat(u8(registry), u8(vendorId.length), vendorId);

function readOwner(body: Reader, what: string): Owner {
  const registry = body.u8();
  const vendorId = body.take(body.u8()).slice();
  if (registry === dmtfRegistry && vendorId.length > 0) throw malformed(`${what}: DMTF has no vendor id`);
  return { registry, vendorId };
}

function encodeGroups(version: number, code: number, groups: readonly EventGroup[]): Uint8Array {
  const list = concat(...groups.map(encodeGroup));
  return encodeMessage(version, code, groups.length, 0, u32(list.length), list);
}

function encodeGroup(group: EventGroup): Uint8Array {
  const { version, all, types } = group;
  const list = types.map(type => concat(u16(type), u16(0)));
  return concat(encodeOwner(group), u16(types.length), u16(version), u32(all ? allOfGroup : 0), ...list);
}

function readGroups(body: Reader, count: number, what: string): readonly EventGroup[] {
  if (count > maxGroups) throw malformed(`${what}: too many groups`);
  const list = openReader(body.take(body.u32()), what);
  body.end();
  const groups = Array.from({ length: count }, () => readGroup(list, what));
  list.end();
  return groups;
}

function readGroup(list: Reader, what: string): EventGroup {
  const owner = readOwner(list, what);
  const count = list.u16();
  const version = list.u16();
  const all = (list.u32() & allOfGroup) !== 0;
  if (count > maxTypesOfGroup || (count === 0) !== all) throw malformed(`${what}: number of event types`);
  const types = Array.from({ length: count }, () => {
    const type = list.u16();
    list.u16();
    return type;
  });
  if (new Set(types).size !== types.length) throw malformed(`${what}: an event type twice`);
  return { ...owner, version, all, types };
}

const encodeEvent = (event: SpdmEvent): Uint8Array =>
  concat(u32(event.id), u32(0), encodeOwner(event), u16(event.type), u16(event.detail.length), event.detail);

function readEvent(body: Reader): SpdmEvent {
  const id = body.u32();
  body.u32();
  const owner = readOwner(body, 'SEND_EVENT');
  const type = body.u16();
  const length = body.u16();
  const isWrong = owner.registry === dmtfRegistry ? length !== dmtfDetailBytes[type] : length > maxDetailBytes;
  if (isWrong) throw malformed('SEND_EVENT: detail');
  return { id, ...owner, type, detail: body.take(length).slice() };
}

/** An event of DMTF in words. What was lost came after the last acknowledged one, and ends with the last lost one. */
export type DmtfEvent =
  | { readonly kind: 'eventLost'; readonly lastAcknowledged: number; readonly lastLost: number }
  | { readonly kind: 'measurementChanged' | 'measurementPreUpdate'; readonly indices: readonly number[] }
  | { readonly kind: 'certificateChanged'; readonly slots: readonly number[] };

export function encodeDmtfEvent(event: DmtfEvent): Pick<SpdmEvent, 'type' | 'detail'> {
  return { type: dmtfEvent[event.kind], detail: detailOf(event) };
}

function detailOf(event: DmtfEvent): Uint8Array {
  switch (event.kind) {
    case 'eventLost':
      return concat(u32(event.lastAcknowledged), u32(event.lastLost));
    case 'certificateChanged':
      return mapOf(event.slots, 1);
    default:
      return mapOf(event.indices, measurementMapBytes);
  }
}

/** @returns undefined for an event of somebody else */
export function decodeDmtfEvent({ registry, type, detail }: SpdmEvent): DmtfEvent | undefined {
  const kind = kinds.find(one => dmtfEvent[one] === type);
  if (registry !== dmtfRegistry || kind === undefined) return undefined;
  if (kind === 'certificateChanged') return { kind, slots: bitsIn(detail) };
  if (kind !== 'eventLost') return { kind, indices: bitsIn(detail) };
  const body = openReader(detail, 'EventLost');
  return { kind, lastAcknowledged: body.u32(), lastLost: body.u32() };
}

/** A bit for each number. */
function mapOf(numbers: readonly number[], length: number): Uint8Array {
  const map = new Uint8Array(length);
  for (const number of numbers) map[number >> 3] = (map[number >> 3] ?? 0) | (1 << (number & 7));
  return map;
}

const bitsIn = (map: Uint8Array): readonly number[] =>
  Array.from({ length: map.length * 8 }, (_, bit) => bit).filter(bit => ((map[bit >> 3] ?? 0) >> (bit & 7)) & 1);
