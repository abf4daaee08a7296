import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { capability, type SpdmVersion, type Wire } from '../../src/spdm/constants.ts';
import { createEventInbox } from '../../src/spdm/eventInbox.ts';
import {
  type DmtfEvent,
  decodeDmtfEvent,
  decodeSendEvent,
  decodeSubscribeEventTypes,
  decodeSupportedEventTypes,
  dmtfEvent,
  type EventGroup,
  encodeDmtfEvent,
  encodeSendEvent,
  encodeSubscribeEventTypes,
  encodeSupportedEventTypes,
  type SpdmEvent,
} from '../../src/spdm/messages/events.ts';
import { sessionAsk } from '../../src/spdm/requester/delivery.ts';
import { createEventNotifier, getSupportedEventTypes, sendEvents, subscribeToEvents } from '../../src/spdm/requester/events.ts';
import { requesterFlags } from '../../src/spdm/requester/identify.ts';
import { answerQuestions } from '../../src/spdm/requester/requests.ts';
import { runPskSetup, runSessionSetup } from '../../src/spdm/requester/run.ts';
import { deviceFlags, type ResponderOptions } from '../../src/spdm/responder/responder.ts';
import { countingRandom, linkTo, realResponder, someNonce, trustLeaf } from './fixtures.ts';

/** Events (DSP0274 1.3): both roles against each other, and messages byte by byte. */

const { measurementChanged, certificateChanged, eventLost } = dmtfEvent;
const { event, encapsulated, psk } = capability;
const eventTypes = ['measurementChanged', 'certificateChanged'] as const;
const dmtf = (types: readonly number[], changed: Partial<EventGroup> = {}): EventGroup => ({
  registry: 0,
  vendorId: new Uint8Array(),
  version: 1,
  all: types.length === 0,
  types,
  ...changed,
});
const sizes = { ctExponent: 0, dataTransferBytes: 1024, maxMessageBytes: 1024 };
const allEvents = 2;

type Case = {
  readonly version?: SpdmVersion;
  readonly options?: Partial<ResponderOptions>;
  readonly policy?: number;
  readonly transferBytes?: number;
};

async function inSession({ version = 0x13, options, policy = 0, transferBytes = 1024 }: Case = {}) {
  const faults: unknown[] = [];
  const responder = realResponder({
    versions: [version],
    capabilities: { ...sizes, flags: deviceFlags | event | encapsulated },
    eventTypes,
    onFault: error => faults.push(error),
    ...options,
  });
  const link = linkTo(responder);
  const capabilities = {
    ctExponent: 0,
    dataTransferBytes: transferBytes,
    maxMessageBytes: transferBytes,
    flags: requesterFlags | encapsulated,
  };
  const { session, connection } = await runSessionSetup(
    { versions: [version], capabilities, policy, nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom() },
    link,
  );
  const asking = { ask: sessionAsk(session, link), connection };
  const seen: SpdmEvent[] = [];
  const inbox = createEventInbox(one => seen.push(one));
  const look = () => answerQuestions(asking, session, { inbox });
  return { responder, session, asking, link, seen, inbox, look, faults };
}

const changedSlot = (...slots: readonly number[]): DmtfEvent => ({ kind: 'certificateChanged', slots });
const changed = (...indices: readonly number[]): DmtfEvent => ({ kind: 'measurementChanged', indices });
const inWords = (seen: readonly SpdmEvent[]) => seen.map(decodeDmtfEvent);
const code = (name: string) => expect.objectContaining({ code: name });

describe('messages of events', () => {
  it('have these bytes', () => {
    expect(toHex(encodeSupportedEventTypes(0x13, [dmtf([1, 4])]))).toBe(
      '13620100' + '12000000' + '0000' + '0200' + '0100' + '00000000' + '01000000' + '04000000',
    );
    expect(toHex(encodeSubscribeEventTypes(0x13, [dmtf([])]))).toBe('13f00100' + '0a000000' + '0000' + '0000' + '0100' + '01000000');
    expect(toHex(encodeSubscribeEventTypes(0x13, []))).toBe('13f00000');
    const one = { id: 7, registry: 0, vendorId: new Uint8Array(), type: certificateChanged, detail: Uint8Array.of(2) };
    expect(toHex(encodeSendEvent(0x13, [one]))).toBe('13f10000' + '01000000' + '07000000' + '00000000' + '0000' + '0400' + '0100' + '02');
  });

  it.each<DmtfEvent>([
    changed(0, 1, 9, 255),
    { kind: 'measurementPreUpdate', indices: [] },
    changedSlot(0, 7),
    { kind: 'eventLost', lastAcknowledged: 5, lastLost: 0xffff_ffff },
  ])('say what happened: %j', event => {
    const sent = { id: 0, registry: 0, vendorId: new Uint8Array(), ...encodeDmtfEvent(event) };
    expect(inWords(decodeSendEvent(encodeSendEvent(0x13, [sent])))).toEqual([event]);
    expect(decodeDmtfEvent({ ...sent, registry: 4 })).toBeUndefined();
  });

  it.each([
    ['a gap between ids', [{ id: 1 }, { id: 3 }]],
    ['an id twice', [{ id: 1 }, { id: 1 }]],
    ['a detail of DMTF that is too long', [{ detail: new Uint8Array(2) }]],
    ['an event of DMTF that there is not', [{ type: 9 }]],
    ['a vendor id of DMTF', [{ vendorId: Uint8Array.of(1) }]],
    ['a detail that is too long', [{ registry: 4, vendorId: new Uint8Array(4), detail: new Uint8Array(1025) }]],
    ['too many', Array.from({ length: 65 }, (_, id) => ({ id }))],
    ['none', []],
  ] as const)('refuse %s', (_, changes) => {
    const good = { id: 1, registry: 0, vendorId: new Uint8Array(), type: certificateChanged, detail: Uint8Array.of(2) };
    const message = encodeSendEvent(
      0x13,
      changes.map(change => ({ ...good, ...change })),
    );
    expect(() => decodeSendEvent(message)).toThrow(code('SPDM_MALFORMED'));
  });

  it('are sorted by their ids', () => {
    const of = (id: number) => ({ id, registry: 0, vendorId: new Uint8Array(), type: certificateChanged, detail: Uint8Array.of(2) });
    expect(decodeSendEvent(encodeSendEvent(0x13, [of(5), of(4)])).map(({ id }) => id)).toEqual([4, 5]);
  });

  it('are read in one way only: whatever is changed is refused, or is another message', () => {
    const vendor = { registry: 4, vendorId: fromHex('d97e0000'), type: 300, detail: fromHex('0102') };
    const messages = [
      [
        encodeSupportedEventTypes(0x13, [dmtf([1, 2, 4]), dmtf([300], { registry: 4, vendorId: fromHex('d97e0000') })]),
        decodeSupportedEventTypes,
        encodeSupportedEventTypes,
      ],
      [encodeSubscribeEventTypes(0x13, [dmtf([1, 2])]), decodeSubscribeEventTypes, encodeSubscribeEventTypes],
      [
        encodeSendEvent(0x13, [
          { id: 1, ...vendor },
          { id: 2, ...vendor },
        ]),
        decodeSendEvent,
        encodeSendEvent,
      ],
    ] as const;
    for (const [good, decode, encode] of messages)
      for (const changed of mutationsOf(good)) {
        let read: unknown;
        try {
          read = decode(changed);
        } catch (error) {
          expect(error).toEqual(code('SPDM_MALFORMED'));
          continue;
        }
        expect((encode as (version: number, items: unknown) => Uint8Array)(0x13, read).length).toBe(changed.length);
      }
  });
});

function* mutationsOf(good: Uint8Array): Iterable<Uint8Array> {
  for (let at = 2; at < good.length; at += 1)
    for (const value of [0, 1, 0x7f, 0xff]) yield good.map((byte, i) => (i === at ? byte ^ value : byte));
  for (let length = 0; length < good.length; length += 1) yield good.slice(0, length);
  yield concat(good, Uint8Array.of(0));
}

describe('a subscription', () => {
  it.each([0x13, 0x14] as const)('version %i: brings what was asked for, in order, and nothing else', async version => {
    const { responder, asking, seen, look } = await inSession({ version });
    expect(await getSupportedEventTypes(asking)).toEqual([dmtf([eventLost, measurementChanged, certificateChanged])]);
    expect(responder.notify(changedSlot(0))).toBe(false);
    await subscribeToEvents(asking, [dmtf([measurementChanged])]);
    expect(responder.notify(changedSlot(0))).toBe(false);
    expect(responder.notify(changed(2))).toBe(true);
    expect(responder.notify(changed(1, 5))).toBe(true);
    expect(await look()).toBe(1);
    expect(inWords(seen)).toEqual([changed(2), changed(1, 5)]);
    expect(seen.map(({ id }) => id)).toEqual([0, 1]);
    expect(await look()).toBe(0);
    await subscribeToEvents(asking, []);
    expect(responder.notify(changed(2))).toBe(false);
  });

  it('to all events may come with the session', async () => {
    const { responder, seen, look } = await inSession({ policy: allEvents });
    responder.notify(changedSlot(3));
    await look();
    expect(inWords(seen)).toEqual([changedSlot(3)]);
  });

  it('to all events may come with a session from a key', async () => {
    const flags = deviceFlags | event | encapsulated | capability.pskWithContext;
    const responder = realResponder({ versions: [0x13], capabilities: { ...sizes, flags }, eventTypes, psk: () => new Uint8Array(32) });
    const capabilities = { ...sizes, flags: requesterFlags | encapsulated | (psk & capability.pskSupported) };
    const given = { psk: new Uint8Array(32), hint: new Uint8Array(4), versions: [0x13] as const, capabilities, policy: allEvents };
    const link = linkTo(responder);
    const { session, connection } = await runPskSetup({ ...given, randomBytes: countingRandom() }, link);
    responder.notify(changedSlot(1));
    const seen: SpdmEvent[] = [];
    await answerQuestions({ ask: sessionAsk(session, link), connection }, session, { inbox: createEventInbox(one => seen.push(one)) });
    expect(inWords(seen)).toEqual([changedSlot(1)]);
  });

  it('ends with its session', async () => {
    const { responder, asking, link } = await inSession();
    await subscribeToEvents(asking, [dmtf([])]);
    await link({ kind: 'clear', message: fromHex('10840000') });
    expect(responder.notify(changedSlot(0))).toBe(false);
  });

  it('says what was lost when more happened than there is room for', async () => {
    const { responder, asking, seen, look } = await inSession();
    await subscribeToEvents(asking, [dmtf([])]);
    let room = 0;
    while (responder.notify(changedSlot(0))) room += 1;
    expect([responder.notify(changedSlot(1)), responder.notify(changedSlot(2))]).toEqual([false, false]);
    await look();
    expect(seen.map(({ id }) => id)).toEqual([...Array(room).keys(), room + 3]);
    expect(inWords(seen).at(-1)).toEqual({ kind: 'eventLost', lastAcknowledged: room - 1, lastLost: room + 2 });
    expect(responder.notify(changedSlot(0))).toBe(true);
  });

  it('fits into what the requester takes in', async () => {
    const { responder, asking, seen, look } = await inSession({ transferBytes: 320 });
    await subscribeToEvents(asking, [dmtf([])]);
    const slots = Array.from({ length: 40 }, (_, i) => i % 8);
    for (const slot of slots) responder.notify(changedSlot(slot));
    expect(await look()).toBe(2);
    expect(inWords(seen)).toEqual(slots.map(slot => changedSlot(slot)));
  });

  it('brings again what was not acknowledged, and it counts once', async () => {
    const { responder, asking, session, seen, inbox, look } = await inSession();
    await subscribeToEvents(asking, [dmtf([])]);
    responder.notify(changedSlot(0));
    // A requester that does not know events answers with an ERROR.
    await expect(answerQuestions(asking, session)).rejects.toEqual(code('SPDM_BUSY'));
    responder.notify(changedSlot(1));
    await look();
    inbox.take(seen);
    expect(inWords(seen)).toEqual([changedSlot(0), changedSlot(1)]);
  });

  it('waits for new keys of the responder, and both come', async () => {
    const { responder, asking, seen, look } = await inSession();
    await subscribeToEvents(asking, [dmtf([])]);
    responder.notify(changedSlot(0));
    responder.updateSendingKey();
    expect(await look()).toBe(2);
    expect(seen).toEqual([]);
    expect(await look()).toBe(1);
    expect(seen).toHaveLength(1);
  });
});

/** A session of a requester that tells of events: `peerFlags` are what it says of itself. */
async function telling(
  given: { readonly options?: Partial<ResponderOptions>; readonly peerFlags?: number; readonly onEvent?: (event: SpdmEvent) => void } = {},
) {
  const faults: unknown[] = [];
  const heard: SpdmEvent[] = [];
  const responder = realResponder({
    versions: [0x13],
    capabilities: { ...sizes, flags: deviceFlags | event | encapsulated },
    onPeerEvent: given.onEvent ?? (one => heard.push(one)),
    onFault: error => faults.push(error),
    ...given.options,
  });
  const link = linkTo(responder);
  const flags = requesterFlags | encapsulated | (given.peerFlags ?? event);
  const asked = { versions: [0x13], capabilities: { ...sizes, flags }, nonce: someNonce, trust: trustLeaf } as const;
  const { session, connection } = await runSessionSetup({ ...asked, randomBytes: countingRandom() }, link);
  const asking = { ask: sessionAsk(session, link), connection };
  const notifier = createEventNotifier(eventTypes);
  const look = () => answerQuestions(asking, session, { notifier });
  return { responder, session, link, asking, notifier, look, heard, faults };
}

describe('a requester that tells of events', () => {
  it('is asked what it has, and what happens then reaches the responder in order', async () => {
    const { asking, notifier, look, heard } = await telling();
    expect(notifier.notify(changedSlot(0))).toBe(false);
    expect(await look()).toBe(2);
    expect(notifier.notify(changedSlot(1))).toBe(true);
    expect(notifier.notify(changed(2, 3))).toBe(true);
    expect(notifier.notify({ kind: 'measurementPreUpdate', indices: [1] })).toBe(false);
    expect(await sendEvents(asking, notifier)).toBe(2);
    expect(inWords(heard)).toEqual([changedSlot(1), changed(2, 3)]);
    expect(await sendEvents(asking, notifier)).toBe(0);
    expect(await look()).toBe(0);
  });

  it('says what was lost, and sends no more at once than the responder takes in', async () => {
    const capabilities = { ctExponent: 0, dataTransferBytes: 320, maxMessageBytes: 320, flags: deviceFlags | event | encapsulated };
    const { asking, notifier, look, heard } = await telling({ options: { capabilities } });
    await look();
    let room = 0;
    while (notifier.notify(changedSlot(0))) room += 1;
    expect(await sendEvents(asking, notifier)).toBe(room + 1);
    expect(inWords(heard).at(-1)).toEqual({ kind: 'eventLost', lastAcknowledged: room - 1, lastLost: room });
  });

  it('sends again what was not acknowledged, and it counts once', async () => {
    let broken = true;
    const heard: SpdmEvent[] = [];
    const onEvent = (one: SpdmEvent) => {
      if (broken && one.id === 1) throw new Error('no room for it');
      heard.push(one);
    };
    const { asking, notifier, look, faults } = await telling({ onEvent });
    await look();
    for (const slot of [0, 1, 2]) notifier.notify(changedSlot(slot));
    await expect(sendEvents(asking, notifier)).rejects.toEqual(code('SPDM_BUSY'));
    expect(faults).toHaveLength(1);
    broken = false;
    expect(await sendEvents(asking, notifier)).toBe(3);
    expect(inWords(heard)).toEqual([changedSlot(0), changedSlot(1), changedSlot(2)]);
  });

  it('and a responder that tells too: both in one round of questions', async () => {
    const { responder, asking, session, notifier } = await telling({ options: { eventTypes } });
    await subscribeToEvents(asking, [dmtf([])]);
    responder.notify(changed(7));
    const seen: SpdmEvent[] = [];
    const inbox = createEventInbox(one => seen.push(one));
    expect(await answerQuestions(asking, session, { inbox, notifier })).toBe(3);
    expect(inWords(seen)).toEqual([changed(7)]);
    expect(notifier.notify(changedSlot(0))).toBe(true);
  });

  it('is not asked when it does not say so, or nobody wants to know', async () => {
    const silent = await telling({ peerFlags: 0 });
    expect(await silent.look()).toBe(0);
    expect(silent.notifier.notify(changedSlot(0))).toBe(false);
    const deaf = await telling({ options: { onPeerEvent: undefined as never } });
    expect(await deaf.look()).toBe(0);
  });

  it.each([
    ['before the responder has subscribed', {}, '137f0400'],
    ['to a responder that wants none', { options: { onPeerEvent: undefined as never } }, '137f07f1'],
    ['without the capability', { peerFlags: 0 }, '137f07f1'],
  ] as const)('is refused %s', async (_, given, answer) => {
    const { asking, heard } = await telling(given);
    const one = { id: 0, registry: 0, vendorId: new Uint8Array(), ...encodeDmtfEvent(changedSlot(0)) };
    expect(toHex(await asking.ask(encodeSendEvent(0x13, [one])))).toBe(answer);
    expect(heard).toEqual([]);
  });

  it('in the clear is refused', async () => {
    const { link } = await telling();
    expect(toHex((await link({ kind: 'clear', message: fromHex('13f10000') })).message)).toBe('137f0b00');
  });

  it('whatever is wrong with SEND_EVENT: the session goes on, without a fault', async () => {
    const { asking, session, link, look, heard, faults } = await telling();
    await look();
    const one = { id: 0, registry: 0, vendorId: new Uint8Array(), ...encodeDmtfEvent(changedSlot(0)) };
    for (const changed of mutationsOf(encodeSendEvent(0x13, [one]))) {
      const answer = await link({ kind: 'secured', message: session.sealSpdm(changed) });
      expect([0x71, 0x7f]).toContain(session.openSpdm(answer.message)[1]);
    }
    expect(faults).toEqual([]);
    const before = heard.length;
    const last = { ...one, id: 0xffff_ffff };
    expect(toHex(await asking.ask(encodeSendEvent(0x13, [last])))).toBe('13710000');
    expect(heard.slice(before)).toEqual([last]);
  });

  it('a responder that subscribes to what there is not is told so, and nothing changes', async () => {
    const { notifier, look } = await telling();
    await look();
    expect(notifier.subscribe([dmtf([3])])).toBe(false);
    expect(notifier.subscribe([dmtf([1], { version: 2 })])).toBe(false);
    expect(notifier.notify(changedSlot(0))).toBe(true);
    expect(notifier.subscribe([])).toBe(true);
    expect(notifier.notify(changedSlot(0))).toBe(false);
  });
});

describe('what is refused', () => {
  it.each([
    ['an event that there is not', [dmtf([3])]],
    ['a group of somebody else', [dmtf([1], { registry: 4, vendorId: fromHex('d97e0000') })]],
    ['another version of the group', [dmtf([1], { version: 2 })]],
    ['two groups', [dmtf([1]), dmtf([2])]],
  ])('%s', async (_, groups) => {
    const { responder, asking } = await inSession();
    await expect(subscribeToEvents(asking, groups)).rejects.toEqual(code('SPDM_UNSUPPORTED'));
    expect(responder.notify(changed(1))).toBe(false);
  });

  it.each([
    ['without events', { eventTypes: undefined as never }],
    ['that asks nothing of the requester', { capabilities: { ...sizes, flags: deviceFlags | event } }],
    ['of 1.2', { versions: [0x12] as const }],
  ])('by a responder %s: it does not have the capability', async (_, options) => {
    const version = 'versions' in options ? 0x12 : 0x13;
    const { asking, responder } = await inSession({ version, options });
    expect((asking.connection.peer?.flags ?? 0) & event).toBe(0);
    await expect(getSupportedEventTypes(asking)).rejects.toEqual(code('SPDM_UNSUPPORTED'));
    const answer = await asking.ask(Uint8Array.of(version, 0xe2, 0, 0));
    expect([...answer.slice(1)]).toEqual([0x7f, 0x07, 0xe2]);
    expect(responder.notify(changedSlot(0))).toBe(false);
  });

  it('in the clear, and a policy that asks for events where there are none', async () => {
    const { link } = await inSession();
    const { message } = await link({ kind: 'clear', message: fromHex('13e20000') });
    expect(toHex(message)).toBe('137f0b00');
    await expect(inSession({ policy: allEvents, options: { eventTypes: undefined as never } })).rejects.toBeInstanceOf(NusecError);
  });

  it('whatever is wrong with a request: the session goes on, without a fault', async () => {
    const { asking, session, link, faults, responder, seen, look } = await inSession();
    const requests = [encodeSubscribeEventTypes(0x13, [dmtf([1, 2, 4])]), fromHex('13e20000')];
    for (const request of requests)
      for (const changed of mutationsOf(request)) {
        const answer: Wire = await link({ kind: 'secured', message: session.sealSpdm(changed) });
        expect(answer.kind).toBe('secured');
        expect([0x62, 0x70, 0x7f]).toContain(session.openSpdm(answer.message)[1]);
      }
    expect(faults).toEqual([]);
    await subscribeToEvents(asking, [dmtf([])]);
    responder.notify(changedSlot(0));
    await look();
    expect(seen).toHaveLength(1);
  });
});
