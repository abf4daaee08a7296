import { describe, expect, it } from 'vitest';
import { fromHex, toHex, utf8 } from '../../src/bytes.ts';
import { capability, type SpdmErrorCode, type SpdmVersion, spdmError, type Wire } from '../../src/spdm/constants.ts';
import { verifyEvidence } from '../../src/spdm/evidence.ts';
import { minDataTransferBytes } from '../../src/spdm/messages/capabilities.ts';
import { encodeGetCsr, type GetCsr } from '../../src/spdm/messages/csr.ts';
import { encodeError } from '../../src/spdm/messages/error.ts';
import { encodeSetCertificate } from '../../src/spdm/messages/setCertificate.ts';
import { encodeVendorRequest } from '../../src/spdm/messages/vendorDefined.ts';
import { p256Algorithms } from '../../src/spdm/negotiation.ts';
import { sessionAsk } from '../../src/spdm/requester/delivery.ts';
import { requesterFlags } from '../../src/spdm/requester/identify.ts';
import { patience } from '../../src/spdm/requester/patience.ts';
import { getCsr, measureInSession, setCertificate, vendorRequest } from '../../src/spdm/requester/requests.ts';
import { runAttestation, runSessionSetup } from '../../src/spdm/requester/run.ts';
import { deviceFlags, type ResponderOptions } from '../../src/spdm/responder/responder.ts';
import type { InstalledCertificates } from '../../src/spdm/responder/state.ts';
import { countingRandom, linkTo, realResponder, realSlot, requesterSlot, someNonce, trustLeaf } from './fixtures.ts';

const code = (name: string) => expect.objectContaining({ code: name });
const small = { ctExponent: 0, dataTransferBytes: 64, maxMessageBytes: 0x2000 };
const { chunk, csr, setCertificate: install, certificateInstallReset } = capability;
const patient = () => {
  const waits: number[] = [];
  return { waits, wait: async (delayMs: number) => void waits.push(delayMs) };
};

function chunked(version: SpdmVersion, options: Partial<ResponderOptions> = {}) {
  const longest: number[] = [];
  const responder = realResponder({
    versions: [version],
    capabilities: { ...small, flags: deviceFlags | chunk | csr | install | certificateInstallReset },
    onVendorDefined: async request => request,
    ...options,
  });
  const link = async (wire: Wire): Promise<Wire> => {
    const answer = await linkTo(responder)(wire);
    if (wire.kind === 'clear') longest.push(wire.message.length, answer.message.length);
    return answer;
  };
  const requester = { capabilities: { ...small, flags: requesterFlags | chunk }, versions: [version] };
  return { responder, link, requester, longest };
}

async function chunkedSession(version: SpdmVersion, options: Partial<ResponderOptions> = {}) {
  const { link, requester, longest } = chunked(version, options);
  const { session, connection, evidence } = await runSessionSetup(
    { ...requester, nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom('requester') },
    link,
  );
  return { asking: { ask: sessionAsk(session, link), connection }, evidence, longest };
}

describe('messages longer than one transfer (DSP0274 §10.26)', () => {
  it.each([0x12, 0x13, 0x14] as const)('version %i: attestation and session in transfers of 64 bytes', async version => {
    const { link, requester, longest } = chunked(version);
    const evidence = await runAttestation({ ...requester, nonce: someNonce }, link);
    await expect(verifyEvidence(evidence, { nonce: someNonce, trust: trustLeaf })).resolves.toMatchObject({ version });
    expect(Math.max(...longest)).toBe(64);
    const session = await chunkedSession(version);
    const measured = await measureInSession(session.asking, session.evidence, { nonce: someNonce });
    const verified = await verifyEvidence(measured, { nonce: someNonce, trust: trustLeaf });
    expect(verified.measurements.map(({ index }) => index)).toEqual([1, 2, 16]);
    expect(Math.max(...session.longest)).toBe(64);
    const payload = new Uint8Array(3000).fill(9);
    const echoed = await vendorRequest(session.asking, { registry: 4, vendorId: fromHex('01020304'), payload });
    expect(echoed.payload).toEqual(payload);
  });

  it.each([0x12, 0x13, 0x14] as const)('version %i: NEGOTIATE_ALGORITHMS and ALGORITHMS too, in the smallest transfers', async version => {
    const smallest = { ...small, dataTransferBytes: minDataTransferBytes };
    const { link, longest } = chunked(version, { capabilities: { ...smallest, flags: deviceFlags | chunk } });
    const requester = { capabilities: { ...smallest, flags: requesterFlags | chunk }, versions: [version], nonce: someNonce };
    const evidence = await runAttestation(requester, link);
    await expect(verifyEvidence(evidence, { nonce: someNonce, trust: trustLeaf })).resolves.toMatchObject({ version });
    expect([evidence.vca[4]!.length, evidence.vca[5]!.length, Math.max(...longest)]).toEqual([48, 52, minDataTransferBytes]);
  });

  it.each([0x12, 0x14] as const)(
    'version %i: DIGESTS and the whole chain in chunks are signed by CHALLENGE_AUTH like any other',
    async version => {
      const { link, requester } = chunked(version, { slots: [realSlot(), realSlot(), realSlot()] });
      const asked: number[] = [];
      const spy = (wire: Wire): Promise<Wire> => {
        asked.push(wire.message[1]!);
        return link(wire);
      };
      const evidence = await runAttestation({ ...requester, nonce: someNonce, slot: 2, portionBytes: 0xffff, measurements: 'none' }, spy);
      await expect(verifyEvidence(evidence, { nonce: someNonce, trust: trustLeaf })).resolves.toMatchObject({ slot: 2 });
      expect([0x81, 0x82].map(code => asked.filter(one => one === code).length)).toEqual([1, 1]);
      expect(evidence.identity.map(({ length }) => length)).toEqual([4, 100, 8, 8 + evidence.chain.length]);
    },
  );

  it('refuses chunks out of order, of another handle, too small, too long or too many, early and for good', async () => {
    const { responder, link, requester } = chunked(0x12);
    await runAttestation({ ...requester, nonce: someNonce, measurements: 'none' }, link);
    const say = async (hex: string) => toHex((await linkTo(responder)({ kind: 'clear', message: fromHex(hex) })).message);
    const first = (total: string, data: number) =>
      `12850007000000${'00'}${data.toString(16).padStart(2, '0')}000000${total}${'ab'.repeat(data)}`;
    const early = (sequence: string) => `12050107${sequence}127f0100`;
    expect(await say(first('64000000', 48))).toBe('120500070000');
    expect(await say(`128500080100000010000000${'ab'.repeat(16)}`)).toBe('120501080100127f0100');
    expect(await say(first('64000000', 48))).toBe('120500070000');
    expect(await say(`12850007020000002f000000${'ab'.repeat(47)}`)).toBe(early('0200'));
    expect(await say(first('00300000', 48))).toBe(early('0000'));
    expect(await say(first('64000000', 2))).toBe(early('0000'));
    expect(await say(first('20000000', 32))).toBe(early('0000'));
    expect(await say('1286000700000000')).toBe('127f0100');
    expect(await say('128600070000')).toBe('127f0400');
    expect((await say('12810000')).slice(0, 4)).toBe('1201');
  });

  it('nothing but GET_VERSION comes between the chunks of a message, either way: what comes is refused, and the transfer goes on', async () => {
    const { responder, link, requester } = chunked(0x12);
    await runAttestation({ ...requester, nonce: someNonce, measurements: 'none' }, link);
    const say = async (hex: string) => toHex((await linkTo(responder)({ kind: 'clear', message: fromHex(hex) })).message);
    const others = ['12810000', '12e00000', '12990000', `12830000${'00'.repeat(32)}`];
    const large = await say('12e00001');
    expect(large).toMatch(/^127f0f00..$/);
    const fetch = (sequence: number) => say(`128600${large.slice(8)}0${sequence}00`);
    expect(await fetch(1)).toBe('127f0100');
    expect((await fetch(0)).slice(0, 6)).toBe('120600');
    for (const other of [...others, `128500010000000030000000${'64000000'}${'ab'.repeat(48)}`]) expect(await say(other)).toBe('127f0400');
    expect((await fetch(1)).slice(0, 6)).toBe('120601');
    const first = `128500070000000030000000${'40000000'}1281${'00'.repeat(46)}`;
    expect(await say(first)).toBe('120500070000');
    for (const other of [...others, '128600070000']) expect(await say(other)).toBe('127f0400');
    expect(await say(`128501070100000010000000${'00'.repeat(16)}`)).toBe('120500070100127f0100');
    expect(await say(first)).toBe('120500070000');
    expect((await say('10840000')).slice(0, 4)).toBe('1004');
    expect(await say(`12e1${'00'.repeat(6)}c6620200${'40000000'}${'00200000'}`)).toMatch(/^1261/);
  });

  it('the end of a session ends the large messages on their way in it', async () => {
    const { responder, link, requester } = chunked(0x12);
    const options = { ...requester, nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom('requester') };
    const { session } = await runSessionSetup(options, link);
    const ask = sessionAsk(session, linkTo(responder));
    expect(toHex(await ask(fromHex('12e00001')))).toMatch(/^127f0f00/);
    const say = async (wire: Wire) => toHex((await linkTo(responder)(wire)).message);
    expect(await say({ kind: 'clear', message: fromHex('12810000') })).toBe('127f0400');
    expect(await say({ kind: 'secured', message: session.seal(fromHex('7f00')).fill(0, -1) })).toBe('127f0600');
    expect((await say({ kind: 'clear', message: fromHex('12810000') })).slice(0, 4)).toBe('1201');
  });

  it('a response that does not fit into the last CHUNK_SEND_ACK takes its place as LargeResponse, one that just fits does not', async () => {
    for (const [payloadBytes, answer] of [
      [49, /^120500070100127e/],
      [50, /^127f0f00/],
    ] as const) {
      const { responder, link, requester } = chunked(0x12);
      await runAttestation({ ...requester, nonce: someNonce, measurements: 'none' }, link);
      const say = async (hex: string) => toHex((await linkTo(responder)({ kind: 'clear', message: fromHex(hex) })).message);
      const message = toHex(encodeVendorRequest(0x12, { registry: 4, vendorId: new Uint8Array(0), payload: new Uint8Array(payloadBytes) }));
      const bytes = message.length / 2;
      const hex = (value: number) => value.toString(16).padStart(2, '0');
      await say(`128500070000000030000000${hex(bytes)}000000${message.slice(0, 96)}`);
      expect(await say(`128501070100${'0000'}${hex(bytes - 48)}000000${message.slice(96)}`)).toMatch(answer);
    }
  });

  it('a chunk is not a way round the rules: nested chunks, and codes that are refused, stay refused', async () => {
    const { responder, link, requester } = chunked(0x12);
    await runAttestation({ ...requester, nonce: someNonce, measurements: 'none' }, link);
    const whole = (head: string) => head + '00'.repeat(60);
    for (const [head, answer] of [
      ['12850000', '127f0100'],
      ['12ec0000', '127f0b00'],
      ['12990000', '127f0799'],
    ] as const) {
      const bytes = whole(head);
      const say = async (hex: string) => toHex((await linkTo(responder)({ kind: 'clear', message: fromHex(hex) })).message);
      expect(await say(`128500010000000030000000${'40000000'}${bytes.slice(0, 96)}`)).toBe('120500010000');
      expect(await say(`128501010100000010000000${bytes.slice(96)}`)).toBe(`120500010100${answer}`);
    }
  });
});

describe('a responder that needs time (DSP0274 §10.10–10.12)', () => {
  it('Busy: the same request again, later; without a clock it ends the flow', async () => {
    const responder = linkTo(realResponder());
    let busy = 3;
    const link = async (wire: Wire): Promise<Wire> => {
      if (wire.message[1] !== 0x83 || busy === 0) return responder(wire);
      busy -= 1;
      return { kind: 'clear', message: encodeError(0x12, 0x03) };
    };
    const { wait, waits } = patient();
    const evidence = await runAttestation({ nonce: someNonce, wait }, link);
    await expect(verifyEvidence(evidence, { nonce: someNonce, trust: trustLeaf })).resolves.toBeDefined();
    expect(waits).toEqual([20, 40, 60]);
    busy = 1;
    await expect(runAttestation({ nonce: someNonce }, link)).rejects.toEqual(code('SPDM_BUSY'));
    busy = 1000;
    await expect(runAttestation({ nonce: someNonce, wait }, link)).rejects.toEqual(code('SPDM_BUSY'));
  });

  it('ResponseNotReady: the response by RESPOND_IF_READY, and the transcripts as if it had come at once', async () => {
    const responder = realResponder({ defers: asked => asked === 0x83 || asked === 0xe0, rdtExponent: 14 });
    const { wait, waits } = patient();
    const evidence = await runAttestation({ nonce: someNonce, wait }, linkTo(responder));
    await expect(verifyEvidence(evidence, { nonce: someNonce, trust: trustLeaf })).resolves.toBeDefined();
    expect(new Set(waits)).toEqual(new Set([2 ** 14 / 1000]));
    const say = async (hex: string) => toHex((await linkTo(responder)({ kind: 'clear', message: fromHex(hex) })).message);
    expect(await say('12ff8301')).toBe('127f0400');
    expect((await say(`12830000${'00'.repeat(32)}`)).slice(0, 14)).toBe('127f42000e8301');
    expect(await say('12810000')).toBe('127f0300');
    expect(await say('12ff8302')).toBe('127f0100');
    expect(await say('11ff8301')).toBe('127f4100');
    expect(await say('12ffe001')).toBe('127f0100');
    expect((await say('12ff8301')).slice(0, 4)).toBe('1203');
    await say(`12830000${'00'.repeat(32)}`);
    expect((await say('10840000')).slice(0, 4)).toBe('1004');
  });

  it('RequestResynch: the flow begins anew, but not for ever', async () => {
    let lost = 1;
    const responder = linkTo(realResponder());
    const link = async (wire: Wire): Promise<Wire> => {
      if (wire.message[1] !== 0x83 || lost === 0) return responder(wire);
      lost -= 1;
      return { kind: 'clear', message: encodeError(0x12, 0x43) };
    };
    await expect(runAttestation({ nonce: someNonce }, link)).resolves.toBeDefined();
    lost = 100;
    await expect(runAttestation({ nonce: someNonce }, link)).rejects.toEqual(code('SPDM_BUSY'));
  });

  it('an ERROR that may pass: the flow begins anew, a few times; others say what the responder does not speak', async () => {
    const responder = linkTo(realResponder());
    const { unspecified, operationFailed, unexpectedRequest, unsupportedRequest, versionMismatch, invalidRequest } = spdmError;
    const { resetRequired, decryptError, invalidResponseCode, responseNotReady, invalidPolicy } = spdmError;
    const failing = (error: SpdmErrorCode, times: number, at: number) => {
      let left = times;
      return async (wire: Wire): Promise<Wire> => {
        if (wire.message[1] !== at || left === 0) return responder(wire);
        left -= 1;
        return { kind: 'clear', message: encodeError(at === 0x84 ? 0x10 : 0x12, error) };
      };
    };
    const passing = [unspecified, operationFailed, unexpectedRequest, resetRequired, decryptError, invalidResponseCode, responseNotReady];
    for (const error of passing)
      for (const at of [0x84, 0x82, 0x83, 0xe0]) {
        const { wait } = patient();
        const evidence = await runAttestation({ nonce: someNonce, wait }, failing(error, 2, at));
        await expect(verifyEvidence(evidence, { nonce: someNonce, trust: trustLeaf })).resolves.toBeDefined();
        await expect(runAttestation({ nonce: someNonce, wait }, failing(error, 9, at))).rejects.toEqual(code('SPDM_BUSY'));
        await expect(runAttestation({ nonce: someNonce }, failing(error, 1, at))).rejects.toEqual(code('SPDM_BUSY'));
      }
    for (const error of [unsupportedRequest, versionMismatch, invalidRequest, invalidPolicy]) {
      const { wait } = patient();
      await expect(runAttestation({ nonce: someNonce, wait }, failing(error, 1, 0x83))).rejects.toEqual(code('SPDM_UNSUPPORTED'));
    }
  });

  it('is waited for as long as the patience lasts, all waits of a flow together', async () => {
    const responder = realResponder({ defers: asked => asked === 0x83, rdtExponent: 23 });
    const slept: number[] = [];
    const sleep = async (delayMs: number) => slept.push(delayMs);
    await expect(runAttestation({ nonce: someNonce, wait: patience(sleep, 8000) }, linkTo(responder))).rejects.toEqual(code('SPDM_BUSY'));
    expect(slept.reduce((sum, one) => sum + one, 0)).toBeLessThanOrEqual(8000);
    await expect(runAttestation({ nonce: someNonce, wait: patience(sleep) }, linkTo(responder))).resolves.toBeDefined();
  });
});

describe('certificates over SPDM (DSP0274 §10.24, §10.25)', () => {
  it.each([0x12, 0x13, 0x14] as const)('version %i: GET_CSR and SET_CERTIFICATE reach whoever keeps keys', async version => {
    const asked: (GetCsr | InstalledCertificates)[] = [];
    const { asking } = await chunkedSession(version, {
      onGetCsr: async request => {
        asked.push(request);
        return utf8('a certification request');
      },
      onSetCertificate: async request => {
        asked.push(request);
        return 'done';
      },
    });
    expect(await getCsr(asking, { requesterInfo: fromHex('3000'), opaque: fromHex('c0ffee') })).toEqual(utf8('a certification request'));
    const { certificates } = requesterSlot();
    await setCertificate(asking, 2, certificates);
    expect(asked).toMatchObject([
      { requesterInfo: fromHex('3000'), opaque: fromHex('c0ffee') },
      { slot: 2, certificates, erase: false, inSession: true },
    ]);
    if (version < 0x13) await expect(setCertificate(asking, 2, [])).rejects.toEqual(code('SPDM_UNSUPPORTED'));
    else {
      await setCertificate(asking, 2, []);
      expect(asked[2]).toMatchObject({ slot: 2, certificates: [], erase: true });
    }
  });

  it('names a key pair and a certificate model on multi-key connections, and only there (1.3)', async () => {
    for (const extra of [0, capability.multiKeyOnly]) {
      const capabilities = { ...small, flags: deviceFlags | chunk | csr | install | extra };
      const handlers = { onGetCsr: async () => utf8('csr'), onSetCertificate: async () => 'done' as const };
      const { asking } = await chunkedSession(0x13, { ...handlers, capabilities, algorithms: { ...p256Algorithms, otherParams: 0x12 } });
      const say = async (message: Uint8Array) => toHex(await asking.ask(message)).slice(0, 8);
      const request = { requesterInfo: new Uint8Array(), opaque: new Uint8Array(), trackingTag: 0, overwrite: false };
      const [bare, named] = [
        { keyPairId: 0, certificateModel: 0 },
        { keyPairId: 1, certificateModel: 1 },
      ];
      const [right, wrong] = extra ? [named, bare] : [bare, named];
      expect(await say(encodeGetCsr(0x13, { ...request, ...right }))).toBe('136d0000');
      expect(await say(encodeGetCsr(0x13, { ...request, ...wrong }))).toBe('137f0100');
      expect(await say(encodeGetCsr(0x13, { ...request, ...right, overwrite: true, trackingTag: 1 }))).toBe('137f0100');
      const erasing = { slot: 2, chain: new Uint8Array(), erase: true };
      expect(await say(encodeSetCertificate(0x13, { ...erasing, keyPairId: right.keyPairId, certificateModel: 0 }))).toBe('136e0200');
      expect(await say(encodeSetCertificate(0x13, { ...erasing, keyPairId: right.keyPairId, certificateModel: 1 }))).toBe('137f0100');
      expect(await say(encodeSetCertificate(0x13, { ...erasing, keyPairId: wrong.keyPairId, certificateModel: 0 }))).toBe('137f0100');
      await setCertificate(asking, 2, []);
    }
  });

  it('ResetRequired, a refusal, and a responder without either', async () => {
    const { asking } = await chunkedSession(0x13, { onGetCsr: async () => 'reset', onSetCertificate: async () => 'reset' });
    await expect(getCsr(asking)).rejects.toThrow('ERROR 12 (0)');
    await expect(setCertificate(asking, 3, realSlot().certificates)).rejects.toThrow('ERROR 12 (3)');
    const refusing = await chunkedSession(0x13, { onSetCertificate: async () => 'refused' });
    await expect(setCertificate(refusing.asking, 1, realSlot().certificates)).rejects.toThrow('ERROR 68 (0)');
    await expect(getCsr(refusing.asking)).rejects.toThrow('ERROR 7 (237)');
  });
});
