import { describe, expect, it } from 'vitest';
import { concat, toHex } from '../../src/bytes.ts';
import { type CertSlot, chainDigest } from '../../src/spdm/certSlot.ts';
import { capability, type SpdmVersion } from '../../src/spdm/constants.ts';
import { encodeChallenge, encodeChallengeAuth } from '../../src/spdm/messages/challenge.ts';
import {
  decodeEncapsulatedAck,
  decodeEncapsulatedRequest,
  type Encapsulated,
  encodeDeliverResponse,
  encodeGetEncapsulatedRequest,
} from '../../src/spdm/messages/encapsulated.ts';
import { algorithmsOf, type Connection } from '../../src/spdm/requester/connection.ts';
import { answerEncapsulated } from '../../src/spdm/requester/encapsulated.ts';
import { continueIdentification, defaultIdentifyOptions, requesterFlags, startIdentification } from '../../src/spdm/requester/identify.ts';
import { deviceFlags, type Responder } from '../../src/spdm/responder/responder.ts';
import { countingRandom, realResponder, requesterSlot, someNonce, trustLeaf } from './fixtures.ts';

/** Basic mutual authentication of 1.1: after CHALLENGE_AUTH the responder asks the requester to prove itself. The requester here is a part of this
 *  test: ours refuses to. */

const { mutualAuthentication, encapsulated, challenge } = capability;
const sizes = { ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };
const flags = mutualAuthentication | encapsulated;
const basicFlag = 0x80;

type Case = { readonly version?: SpdmVersion; readonly own?: number; readonly inChallenge?: boolean };

async function challenged({ version = 0x11, own = requesterFlags | flags, inChallenge = true }: Case = {}) {
  const responder = realResponder({
    versions: [version],
    capabilities: { ...sizes, flags: deviceFlags | flags },
    mutualAuthentication: { how: 'encapsulated', inChallenge, slot: 0, required: false, trust: trustLeaf },
  });
  const send = async (message: Uint8Array): Promise<Uint8Array> => (await responder.handle({ kind: 'clear', message }))!.message;
  const options = { ...defaultIdentifyOptions, versions: [version], capabilities: { ...sizes, flags: own } };
  let state = startIdentification(options);
  while (state.step !== 'done') state = continueIdentification(options, state, await send(state.request));
  const auth = await send(encodeChallenge(version, { slot: 0, summaryType: 0, nonce: someNonce, context: new Uint8Array() }));
  return { responder, send, connection: state.connection, auth, version };
}

type Change = {
  readonly slot?: CertSlot;
  readonly signed?: (bytes: Uint8Array) => Uint8Array;
  readonly auth?: (unsigned: Uint8Array) => Uint8Array;
};

/** Answers what the responder asks, as a peer of 1.1 does. @returns the last answer of the responder */
async function prove({ send, connection }: Awaited<ReturnType<typeof challenged>>, change: Change = {}): Promise<Uint8Array> {
  const slot = change.slot ?? requesterSlot();
  const messages: Uint8Array[] = [];
  let answer = await send(encodeGetEncapsulatedRequest(0x11));
  let question: Encapsulated | undefined = decodeEncapsulatedRequest(answer);
  while (question !== undefined) {
    const { requestId, message } = question;
    const reply =
      message[1] === 0x83
        ? await authenticate(connection, slot, [...messages, message], change)
        : await answerEncapsulated({ connection, slots: [slot] }, message);
    messages.push(message, reply);
    answer = await send(encodeDeliverResponse(0x11, { requestId, message: reply }));
    if (answer[1] !== 0x6b) return answer;
    question = decodeEncapsulatedAck(answer).next;
  }
  return answer;
}

async function authenticate(connection: Connection, slot: CertSlot, messages: readonly Uint8Array[], change: Change): Promise<Uint8Array> {
  const { hash } = algorithmsOf(connection);
  const unsigned = encodeChallengeAuth(0x11, {
    slot: 0,
    basicMutualAuthentication: false,
    slotMask: 1,
    chainHash: chainDigest({ version: 0x11, hash }, slot),
    nonce: countingRandom('peer')(32),
    summary: new Uint8Array(),
    opaque: new Uint8Array(),
    context: new Uint8Array(),
  });
  const shown = change.auth?.(unsigned) ?? unsigned;
  const signed = concat(...messages, shown);
  return concat(shown, await slot.sign(change.signed?.(signed) ?? signed, 'sha256'));
}

const certificatesOf = (responder: Responder) => responder.peerCertificates()?.map(toHex);

describe('basic mutual authentication (DSP0274 1.1 §10.8)', () => {
  it('asks a requester of 1.1 to prove itself, and knows it then', async () => {
    const opened = await challenged();
    expect(opened.auth[2]! & basicFlag).toBe(basicFlag);
    expect(certificatesOf(opened.responder)).toBeUndefined();
    expect(toHex(await prove(opened))).toBe('116b0000');
    expect(certificatesOf(opened.responder)).toEqual(requesterSlot().certificates.map(toHex));
    // What follows is as always, and a new connection knows nobody.
    expect((await opened.send(encodeChallenge(0x11, { slot: 0, summaryType: 0, nonce: someNonce, context: new Uint8Array() })))[1]).toBe(
      0x03,
    );
    await opened.send(Uint8Array.of(0x10, 0x84, 0, 0));
    expect(certificatesOf(opened.responder)).toBeUndefined();
  });

  it('takes nothing else before', async () => {
    const { send, auth } = await challenged();
    expect(auth[2]! & basicFlag).toBe(basicFlag);
    expect(toHex(await send(Uint8Array.of(0x11, 0x81, 0, 0)))).toBe('117f0800');
    expect((await send(Uint8Array.of(0x10, 0x84, 0, 0)))[1]).toBe(0x04);
  });

  it.each([
    ['a signature over something else', { signed: (bytes: Uint8Array) => bytes.subarray(1) }],
    ['a key that is not that of the certificate', { slot: { ...requesterSlot(), sign: async () => new Uint8Array(64).fill(7) } }],
    ['another slot', { auth: (unsigned: Uint8Array) => unsigned.with(2, 1) }],
    ['a slot that it says is empty', { auth: (unsigned: Uint8Array) => unsigned.with(3, 2) }],
    ['another chain', { auth: (unsigned: Uint8Array) => unsigned.with(4, unsigned[4]! ^ 1) }],
    ['the wish to have it proved too', { auth: (unsigned: Uint8Array) => unsigned.with(2, basicFlag) }],
  ] as const)('refuses %s', async (_, change) => {
    const opened = await challenged();
    expect(toHex(await prove(opened, change))).toBe('117f0900');
    expect(certificatesOf(opened.responder)).toBeUndefined();
    expect((await opened.send(Uint8Array.of(0x11, 0x81, 0, 0)))[1]).toBe(0x01);
  });

  it.each([
    ['since 1.2, where it is deprecated', { version: 0x12 }],
    ['of a requester that cannot be authenticated', { own: requesterFlags }],
    ['of a requester without CHALLENGE', { own: (requesterFlags | flags) & ~challenge }],
    ['when nobody wants it', { inChallenge: false }],
  ] as const)('is not asked %s', async (_, wish) => {
    const { auth, send, version } = await challenged(wish);
    expect([auth[1], auth[2]]).toEqual([0x03, 0]);
    expect((await send(Uint8Array.of(version, 0x81, 0, 0)))[1]).toBe(0x01);
  });
});
