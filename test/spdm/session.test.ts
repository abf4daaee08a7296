import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex, utf8 } from '../../src/bytes.ts';
import { capability, type Wire } from '../../src/spdm/constants.ts';
import { verifyEvidence } from '../../src/spdm/evidence.ts';
import { deriveExporterKey, handshakeSecrets } from '../../src/spdm/keySchedule.ts';
import { encodeNegotiateAlgorithms } from '../../src/spdm/messages/algorithms.ts';
import { encodeGetCapabilities } from '../../src/spdm/messages/capabilities.ts';
import { encodeKeyExchange } from '../../src/spdm/messages/keyExchange.ts';
import { allAlgorithms, p256Algorithms } from '../../src/spdm/negotiation.ts';
import { encodeSupportedVersions } from '../../src/spdm/opaque.ts';
import type { Binding } from '../../src/spdm/record.ts';
import { defaultIdentifyOptions, requesterFlags } from '../../src/spdm/requester/identify.ts';
import { runSessionSetup } from '../../src/spdm/requester/run.ts';
import { acceptControl, controlRecord } from '../../src/spdm/requester/sessionControl.ts';
import { createSessionSetup } from '../../src/spdm/requester/sessionSetup.ts';
import { deviceFlags, type Responder, type ResponderOptions } from '../../src/spdm/responder/responder.ts';
import { createSession } from '../../src/spdm/session.ts';
import { hashOf } from '../../src/spdm/signature.ts';
import { aeads, hashAlgorithms } from '../../src/spdm/suite.ts';
import { covers } from '../support/covers.ts';
import { countingRandom, linkTo, realResponder, realSlot, someNonce, trustLeaf } from './fixtures.ts';
import { loadRecording } from './recording.ts';

const code = (name: string) => expect.objectContaining({ code: name });
const echo = async (_: number, data: Uint8Array): Promise<Uint8Array> => data;
const sizes = { ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };
const setupOptions = () => ({ nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom('requester') });

async function openSession(options: Partial<ResponderOptions> = {}, requester: Partial<Parameters<typeof createSessionSetup>[0]> = {}) {
  const responder = realResponder({ onApplicationData: echo, ...options });
  const { session, evidence, heartbeatSeconds } = await runSessionSetup({ ...setupOptions(), ...requester }, linkTo(responder));
  const ask = async (data: Uint8Array) => session.open((await linkTo(responder)({ kind: 'secured', message: session.seal(data) })).message);
  return { responder, session, evidence, heartbeatSeconds, ask };
}
const devAuth = fromHex('7f00001234c0ffee');

describe('a session between our requester and our responder (R51)', () => {
  const inTheClear = {
    requester: requesterFlags | capability.handshakeInTheClear,
    responder: deviceFlags | capability.handshakeInTheClear,
  };
  const cases: [string, number, number, Binding][] = [
    ['encrypted handshake, MCTP', requesterFlags, deviceFlags, 'mctp'],
    ['encrypted handshake, TCP', requesterFlags, deviceFlags, 'tcp'],
    ['handshake in the clear, MCTP', inTheClear.requester, inTheClear.responder, 'mctp'],
    ['only one side allows the clear, MCTP', inTheClear.requester, deviceFlags, 'mctp'],
  ];
  it.each(cases)('%s: heartbeat, end, same exporter secret', async (_, own, peer, binding) => {
    covers('R51');
    const { responder, session, evidence, heartbeatSeconds } = await openSession(
      { capabilities: { ...sizes, flags: peer }, binding, heartbeatSeconds: 20 },
      { capabilities: { ...sizes, flags: own }, binding },
    );
    expect(responder.exporterSecret()).toEqual(session.exporterSecret());
    expect([responder.sessionId(), heartbeatSeconds]).toEqual([session.sessionId, 20]);
    for (const request of ['heartbeat', 'endSession'] as const) {
      const answer = await linkTo(responder)({ kind: 'secured', message: controlRecord(session, request) });
      acceptControl(session, request, answer.message);
    }
    expect([session.ended(), responder.sessionId()]).toEqual([true, undefined]);
    expect(() => responder.exporterSecret()).toThrow(code('SPDM_UNEXPECTED'));
    expect(() => session.exporterSecret()).toThrow(code('SPDM_UNEXPECTED'));
    expect(() => session.sealSpdm(devAuth)).toThrow(code('SPDM_UNEXPECTED'));
    await expect(verifyEvidence(evidence, { trust: trustLeaf, nonce: someNonce })).resolves.toMatchObject({ version: 0x12, slot: 0 });
  });

  it('works in 1.1, 1.3 and 1.4, with P-384 and ChaCha20-Poly1305', async () => {
    for (const version of [0x11, 0x13, 0x14] as const)
      expect(await (await openSession({ versions: [version] }, { versions: [version] })).ask(devAuth)).toEqual(devAuth);
    const algorithms = { ...allAlgorithms, baseAsym: 0x80, baseHash: 0x2, dhe: 0x10, aead: 0x4 };
    const { ask } = await openSession({ slots: [realSlot('ecp384')], algorithms }, { algorithms });
    expect(await ask(devAuth)).toEqual(devAuth);
  });

  it('carries application data both ways, many records, nothing of it in plain sight (T10)', async () => {
    covers('T10');
    const { responder, session } = await openSession();
    for (let i = 0; i < 300; i += 1) {
      const data = Uint8Array.from([0x7f, ...utf8(`secret firmware ${i}`)]);
      const record = session.seal(data);
      expect(Buffer.from(record).includes('firmware')).toBe(false);
      const answer = await linkTo(responder)({ kind: 'secured', message: record });
      expect(Buffer.from(answer.message).includes('firmware')).toBe(false);
      expect(session.open(answer.message)).toEqual(data);
    }
  });

  it('gives both ends the same exported key, another for each label, use and length', async () => {
    const { responder, session } = await openSession();
    const key = (label: string, usage: string, length: number) =>
      toHex(deriveExporterKey(session.exporterSecret(), label, utf8(usage), length));
    expect(key('ota', 'device', 32)).toBe(toHex(deriveExporterKey(responder.exporterSecret(), 'ota', utf8('device'), 32)));
    expect(
      new Set([key('ota', 'device', 32), key('ota', 'other', 32), key('otad', 'evice', 32), key('ota', 'device', 48).slice(0, 64)]).size,
    ).toBe(4);
  });

  it('sends nothing back when the application has nothing to say, and ERROR when there is none or it fails', async () => {
    const silent = await openSession({ onApplicationData: async () => undefined });
    expect(await silent.responder.handle({ kind: 'secured', message: silent.session.seal(devAuth) })).toBeUndefined();
    const faults: unknown[] = [];
    const failing = await openSession({
      onApplicationData: () => Promise.reject(new Error('flash')),
      onFault: fault => faults.push(fault),
    });
    const answer = await linkTo(failing.responder)({ kind: 'secured', message: failing.session.seal(devAuth) });
    expect(toHex(failing.session.openSpdm(answer.message))).toBe('127f0500');
    expect(faults).toEqual([new Error('flash')]);
    expect(() => failing.session.seal(fromHex('0512e80000'))).toThrow(code('SPDM_UNEXPECTED'));
    expect(() => failing.session.seal(new Uint8Array())).toThrow(code('SPDM_UNEXPECTED'));
    expect(() => failing.session.seal(new Uint8Array(0xffff).fill(0x7f))).toThrow(code('SPDM_RECORD'));
  });
});

describe('an interposer on the line (T10)', () => {
  const attacks: [string, (records: readonly Uint8Array[]) => readonly Uint8Array[]][] = [
    ['repeats a record', ([a]) => [a!, a!]],
    ['drops a record', ([, b]) => [b!]],
    ['swaps two records', ([a, b]) => [b!, a!]],
    ['cuts a record', ([a]) => [a!.subarray(0, a!.length - 1)]],
    ['lengthens a record', ([a]) => [Uint8Array.from([...a!, 0])]],
  ];
  it.each(attacks)('%s: the responder ends the session', async (_, attack) => {
    covers('T10');
    const { responder, session } = await openSession();
    const answers: Wire[] = [];
    for (const message of attack([session.seal(devAuth), session.seal(devAuth)]))
      answers.push(await linkTo(responder)({ kind: 'secured', message }));
    expect(answers.map(({ kind, message }) => `${kind} ${toHex(message)}`)).toContain('clear 127f0600');
    expect(responder.sessionId()).toBeUndefined();
    expect(await responder.handle({ kind: 'secured', message: session.seal(devAuth) })).toEqual({
      kind: 'clear',
      message: fromHex('127f0200'),
    });
  });

  it.each(attacks)('%s: the requester ends the session', async (_, attack) => {
    const { responder, session } = await openSession();
    const answers: Uint8Array[] = [];
    for (const _round of [1, 2]) answers.push((await linkTo(responder)({ kind: 'secured', message: session.seal(devAuth) })).message);
    expect(() => attack(answers).forEach(record => void session.open(record))).toThrow(code('SPDM_RECORD'));
    expect(session.ended()).toBe(true);
    expect(() => session.open(answers[1]!)).toThrow(code('SPDM_UNEXPECTED'));
  });

  it('changes any byte of a record: never accepted, by either end', async () => {
    const { session: probe } = await openSession();
    const length = probe.seal(devAuth).length;
    for (let at = 0; at < Math.min(length, 60); at += 1) {
      const { responder, session } = await openSession();
      const record = session.seal(devAuth);
      const answer = (await linkTo(responder)({ kind: 'secured', message: record })).message;
      const place = Math.min(at, answer.length - 1);
      expect(() => session.open(flipped(answer, place))).toThrow(code('SPDM_RECORD'));
      const second = await openSession();
      const message = second.session.seal(devAuth);
      const reply = await linkTo(second.responder)({ kind: 'secured', message: flipped(message, Math.min(at, message.length - 1)) });
      expect(toHex(reply.message)).toBe(at < 4 ? '127f0200' : '127f0600');
    }
  });

  it('stands in the middle with his own keys: refused before FINISH leaves (T9, T10)', async () => {
    covers('T9', 'T10');
    const other = realResponder({ slots: [{ ...realSlot(), sign: async () => new Uint8Array(64).fill(3) }] });
    await expect(runSessionSetup(setupOptions(), linkTo(other))).rejects.toEqual(code('SPDM_SIGNATURE'));
    const trust = () => {
      throw new Error('unknown chain');
    };
    const sent: number[] = [];
    const link = linkTo(realResponder());
    const attempt = runSessionSetup({ ...setupOptions(), trust }, wire => {
      sent.push(wire.message[1]!);
      return link(wire);
    });
    await expect(attempt).rejects.toThrow('unknown chain');
    expect(sent.at(-1)).toBe(0xe4);
  });

  it('shows old evidence of a session: refused with the nonce of today (R69, T9)', async () => {
    covers('R69', 'T9');
    const { evidence } = await openSession();
    await expect(verifyEvidence(evidence, { trust: trustLeaf, nonce: new Uint8Array(32) })).rejects.toEqual(code('SPDM_UNEXPECTED'));
    await expect(verifyEvidence({ ...evidence, kind: 'attestation' }, { trust: trustLeaf, nonce: someNonce })).rejects.toEqual(
      code('SPDM_MALFORMED'),
    );
    for (const [i, message] of evidence.exchange.entries()) {
      for (let at = 0; at < message.length - (i === 1 ? 32 : 0); at += 1) {
        const exchange = evidence.exchange.map((one, j) => (i === j ? flipped(one, at) : one));
        const attempt = verifyEvidence({ ...evidence, exchange }, { trust: trustLeaf, nonce: someNonce });
        await expect(attempt).rejects.toEqual(expect.objectContaining({ code: expect.stringMatching(/^SPDM_/) }));
      }
    }
  });

  it('downgrades FINISH_RSP to the clear, or answers with a record too early: refused', async () => {
    const link = linkTo(realResponder());
    const clearFinish = async (wire: Wire): Promise<Wire> =>
      wire.kind === 'secured' ? { kind: 'clear', message: fromHex('12650000') } : link(wire);
    await expect(runSessionSetup(setupOptions(), clearFinish)).rejects.toEqual(code('SPDM_UNEXPECTED'));
    await expect(runSessionSetup(setupOptions(), async wire => ({ ...(await link(wire)), kind: 'secured' }))).rejects.toEqual(
      code('SPDM_UNEXPECTED'),
    );
  });
});

describe('the session state of the responder', () => {
  const negotiate = async (options: Partial<ResponderOptions> = {}) => {
    const responder = realResponder(options);
    const setup = createSessionSetup(setupOptions());
    let step = setup.start();
    while ('send' in step && step.send.kind === 'clear') {
      const answer: Wire = await linkTo(responder)(step.send);
      if (answer.message[1] === 0x64) return { responder, setup, keyExchangeRsp: answer };
      step = await setup.receive(answer);
    }
    throw new Error('no KEY_EXCHANGE_RSP');
  };
  const say = async (responder: Responder, hex: string) =>
    toHex((await linkTo(responder)({ kind: 'clear', message: fromHex(hex) })).message);

  it('refuses PSK_FINISH after KEY_EXCHANGE, and that handshake can no longer be finished (T35, CVE-2023-31127)', async () => {
    covers('T35');
    const { responder, setup, keyExchangeRsp } = await negotiate();
    const step = await setup.receive(keyExchangeRsp);
    if (!('send' in step)) throw new Error('no FINISH');
    expect(await say(responder, `12e70000${'00'.repeat(32)}`)).toBe('127f0400');
    expect(await responder.handle(step.send)).toEqual({ kind: 'clear', message: fromHex('127f0200') });
    expect(responder.sessionId()).toBeUndefined();
  });

  it('admits nothing but FINISH under the handshake keys', async () => {
    const messages: Uint8Array[] = [];
    const shared = new Uint8Array(32).fill(9);
    const ecdh = () => ({ exchange: curvePoint(), derive: () => shared });
    const setup = createSessionSetup({ ...setupOptions(), ecdh });
    const known = realResponder({ ecdh });
    let step = setup.start();
    while ('send' in step && step.send.kind === 'clear') {
      const answer = await linkTo(known)(step.send);
      messages.push(step.send.message, answer.message);
      step = await setup.receive(answer);
    }
    const context = { version: 0x12, hash: hashAlgorithms[0]! };
    const digest = messages[7]!.slice(4, 36);
    const [keyExchange, response] = messages.slice(-2) as [Uint8Array, Uint8Array];
    const th1 = hashOf(context.hash, concat(...messages.slice(0, 6), digest, keyExchange, response.slice(0, -32)));
    const sessionId = (0xffff | (response[4]! << 16) | (response[5]! << 24)) >>> 0;
    const settings = {
      ...context,
      aead: aeads[0]!,
      binding: 'mctp',
      role: 'requester',
      sessionId,
      randomBytes: countingRandom(),
      maxRecords: 2 ** 24,
    } as const;
    const handshake = createSession(settings, handshakeSecrets(context, shared, th1));
    const ask = async (record: Uint8Array) =>
      toHex(handshake.openSpdm((await linkTo(known)({ kind: 'secured', message: record })).message));
    for (const early of ['12e80000', '12e00000', '12ec0000']) expect(await ask(handshake.sealSpdm(fromHex(early)))).toBe('127f0400');
    expect(await ask(handshake.seal(devAuth))).toBe('127f0400');
    expect(known.sessionId()).toBeUndefined();
  });

  it('is not followed into mutual authentication by a requester that has no certificates', async () => {
    const flags = capability.mutualAuthentication | capability.encapsulated;
    const asked = openSession(
      {
        capabilities: { ...sizes, flags: deviceFlags | flags },
        mutualAuthentication: { how: 'encapsulated', slot: 0, required: true, trust: trustLeaf },
      },
      { capabilities: { ...sizes, flags: requesterFlags | flags } },
    );
    await expect(asked).rejects.toEqual(code('SPDM_UNSUPPORTED'));
  });

  it('refuses PSK_EXCHANGE, FINISH without KEY_EXCHANGE, and FINISH in the clear of an encrypted handshake', async () => {
    const { responder } = await negotiate();
    expect(await say(responder, '12e60000')).toBe('127f07e6');
    expect(await say(responder, `12e50000${'00'.repeat(32)}`)).toBe('127f0b00');
    expect(await say(responder, '10840000')).toBe('1004000000010012');
  });

  it('refuses wrong verify data in FINISH, and ends the handshake', async () => {
    const flags = (own: number) => ({ ...sizes, flags: own | capability.handshakeInTheClear });
    const responder = realResponder({ capabilities: flags(deviceFlags) });
    const finishes: string[] = [];
    const link = async (wire: Wire): Promise<Wire> => {
      if (wire.message[1] !== 0xe5) return linkTo(responder)(wire);
      for (const message of [flipped(wire.message, 20), wire.message])
        finishes.push(toHex((await linkTo(responder)({ ...wire, message })).message));
      return { kind: 'clear', message: fromHex(finishes[0]!) };
    };
    await expect(runSessionSetup({ ...setupOptions(), capabilities: flags(requesterFlags) }, link)).rejects.toEqual(code('SPDM_BUSY'));
    expect(finishes).toEqual(['127f0600', '127f0400']);
    expect(responder.sessionId()).toBeUndefined();
  });

  it('refuses any other request before FINISH, a second session beside the first, and CHALLENGE inside', async () => {
    const { responder, session } = await openSession();
    const point = countingRandom();
    const opaque = encodeSupportedVersions(true, [0x1200]);
    const body = { summaryType: 0, slot: 0, sessionId: 1, policy: 0, random: point(32), exchange: point(64), opaque };
    expect(await say(responder, toHex(encodeKeyExchange(0x12, body)))).toBe('127f0a00');
    const inside = async (hex: string) =>
      toHex(session.openSpdm((await linkTo(responder)({ kind: 'secured', message: session.sealSpdm(fromHex(hex)) })).message));
    expect(await inside(`12830000${'00'.repeat(32)}`)).toBe('127f0400');
    expect(await inside('10840000')).toBe('127f0400');
    expect((await inside('12810000')).slice(0, 8)).toBe('12010001');
    expect(await inside('12e00000')).toMatch(/^12600300/);
    expect(await say(responder, '12e80000')).toBe('127f0b00');
    expect(await say(responder, '12ec0000')).toBe('127f0b00');
    expect(await say(responder, '10840000')).toBe('1004000000010012');
    expect(responder.sessionId()).toBeUndefined();
  });

  it('refuses a KEY_EXCHANGE whose point is on no curve, whose slot is empty or whose secured message version is unknown', async () => {
    const { responder } = await negotiate();
    const random = countingRandom();
    const exchange = curvePoint();
    const body = {
      summaryType: 0,
      slot: 0,
      sessionId: 1,
      policy: 0,
      random: random(32),
      exchange,
      opaque: encodeSupportedVersions(true, [0x1200]),
    };
    for (const wrong of [
      { exchange: random(64) },
      { slot: 2 },
      { opaque: encodeSupportedVersions(true, [0x1400]) },
      { opaque: new Uint8Array() },
      { summaryType: 7 },
    ]) {
      expect(await say(responder, toHex(encodeKeyExchange(0x12, { ...body, ...wrong })))).toBe('127f0100');
    }
    expect((await say(responder, toHex(encodeKeyExchange(0x12, body)))).slice(0, 4)).toBe('1264');
  });

  it('refuses a KEY_EXCHANGE without the general opaque format since 1.2, and one that subscribes to events (1.3)', async () => {
    const body = { summaryType: 0, slot: 0, sessionId: 1, random: new Uint8Array(32), exchange: curvePoint() };
    for (const [version, otherParams, policy, answer] of [
      [0x11, 0, 0, '1164'],
      [0x12, 2, 2, '1264'],
      [0x12, 0, 0, '127f0100'],
      [0x13, 2, 0, '1364'],
      [0x13, 2, 2, '137f0100'],
    ] as const) {
      const responder = realResponder({ versions: [version] });
      const capabilities = encodeGetCapabilities(version, { ...sizes, flags: requesterFlags });
      const offer = encodeNegotiateAlgorithms(version, { ...p256Algorithms, otherParams });
      for (const message of [fromHex('10840000'), capabilities, offer])
        expect((await say(responder, toHex(message))).slice(2, 4)).not.toBe('7f');
      const opaque = encodeSupportedVersions(otherParams !== 0, [0x1200]);
      const request = encodeKeyExchange(version, { ...body, policy, opaque });
      expect((await say(responder, toHex(request))).slice(0, answer.length)).toBe(answer);
    }
  });

  it('selects no algorithm for sessions when one side has none', async () => {
    const responder = realResponder({ capabilities: { ...sizes, flags: deviceFlags & ~capability.keyExchange } });
    await expect(runSessionSetup(setupOptions(), linkTo(responder))).rejects.toEqual(code('SPDM_UNSUPPORTED'));
    const weak = { ...defaultIdentifyOptions.capabilities, flags: capability.certificate | capability.challenge, maxMessageBytes: 0x1200 };
    await expect(runSessionSetup({ ...setupOptions(), capabilities: weak }, linkTo(realResponder()))).rejects.toEqual(
      code('SPDM_UNSUPPORTED'),
    );
  });
});

/** A point of P-256: the recorded responder's. */
function curvePoint(): Uint8Array {
  const rsp = loadRecording('e-spdm12-p256-session-nomut-tcp').exchanges.find(({ name }) => name === 'KEY_EXCHANGE')!.response.message;
  return rsp.slice(40, 104);
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice();
  copy[at]! ^= 0x01;
  return copy;
}
