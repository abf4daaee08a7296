import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex } from '../../src/bytes.ts';
import type { CertSlot } from '../../src/spdm/certSlot.ts';
import { capability, type SpdmVersion, type Wire } from '../../src/spdm/constants.ts';
import { p256Algorithms } from '../../src/spdm/negotiation.ts';
import { sessionAsk } from '../../src/spdm/requester/delivery.ts';
import { answerEncapsulated } from '../../src/spdm/requester/encapsulated.ts';
import { requesterFlags } from '../../src/spdm/requester/identify.ts';
import { answerQuestions } from '../../src/spdm/requester/requests.ts';
import { runSessionSetup } from '../../src/spdm/requester/run.ts';
import { deviceFlags, type ResponderOptions } from '../../src/spdm/responder/responder.ts';
import { countingRandom, linkTo, realResponder, requesterSlot, someNonce, trustLeaf } from './fixtures.ts';

const { mutualAuthentication, encapsulated, handshakeInTheClear, multiKeyNegotiated, largeResponse, chunk } = capability;
const sizes = { ctExponent: 0, dataTransferBytes: 1024, maxMessageBytes: 1024 };
const code = (name: string) => expect.objectContaining({ code: name });
const multiKeyWish = 0x12;

type Case = {
  readonly version?: SpdmVersion;
  readonly extra?: number;
  readonly own?: readonly CertSlot[];
  readonly options?: Partial<ResponderOptions>;
};

async function openMutual(how: 'encapsulated' | 'digests' | 'known', { version = 0x12, extra = 0, own, options }: Case = {}) {
  const flags = mutualAuthentication | encapsulated | extra;
  const responder = realResponder({
    versions: [version],
    capabilities: { ...sizes, flags: deviceFlags | flags },
    onApplicationData: async (_, data) => data,
    mutualAuthentication: { how, slot: 0, required: true, trust: trustLeaf, certificates: requesterSlot().certificates },
    ...options,
  });
  const link = linkTo(responder);
  const { session, mutual, connection } = await runSessionSetup(
    {
      nonce: someNonce,
      trust: trustLeaf,
      randomBytes: countingRandom('requester'),
      versions: [version],
      capabilities: { ...sizes, flags: requesterFlags | flags },
      ownSlots: own ?? [requesterSlot()],
    },
    link,
  );
  return { responder, session, mutual, connection, link };
}

const multiKeyFlags = mutualAuthentication | encapsulated | handshakeInTheClear | multiKeyNegotiated;
const multiKeyAlgorithms = { ...p256Algorithms, otherParams: multiKeyWish };
const multiKeyResponder = () =>
  realResponder({
    versions: [0x13],
    algorithms: multiKeyAlgorithms,
    capabilities: { ...sizes, flags: deviceFlags | multiKeyFlags },
    mutualAuthentication: { how: 'encapsulated', slot: 0, required: true, trust: trustLeaf },
  });
const multiKeyRequester = () => ({
  nonce: someNonce,
  trust: trustLeaf,
  randomBytes: countingRandom('requester'),
  versions: [0x13] as const,
  algorithms: multiKeyAlgorithms,
  capabilities: { ...sizes, flags: requesterFlags | multiKeyFlags },
  ownSlots: [requesterSlot()],
});

describe('mutual authentication (DSP0274 §10.17, §10.18)', () => {
  const ways = ['encapsulated', 'digests', 'known'] as const;
  const versions = [0x11, 0x12, 0x13, 0x14] as const;
  const handshakes = [0, handshakeInTheClear] as const;
  const cases = ways.flatMap(how => versions.flatMap(version => handshakes.map(extra => [how, version, extra] as const)));
  it.each(cases)(
    '%s, version %i, handshake flag %i: the responder knows the requester, both have the same secrets',
    async (how, version, extra) => {
      const { responder, session, mutual, link } = await openMutual(how, { version, extra });
      expect(mutual).toBe(true);
      expect(responder.peerCertificates()?.map(toHex)).toEqual(requesterSlot().certificates.map(toHex));
      expect(responder.exporterSecret()).toEqual(session.exporterSecret());
      const data = fromHex('7f01020304');
      expect(session.open((await link({ kind: 'secured', message: session.seal(data) })).message)).toEqual(data);
    },
  );

  it('takes several keys and large certificates in 1.3 and 1.4, in portions', async () => {
    for (const version of [0x13, 0x14] as const) {
      const extra = multiKeyNegotiated | (version === 0x14 ? largeResponse : 0);
      const algorithms = { ...p256Algorithms, otherParams: multiKeyWish };
      const { mutual, connection } = await openMutual('encapsulated', { version, extra, options: { algorithms } });
      expect([mutual, connection.algorithms?.requesterMultiKey]).toEqual([true, true]);
    }
  });

  it('asks for no more of a chain than one transfer holds when the requester has no chunks', async () => {
    for (const [peerFlags, length] of [
      [0, 1024 - 12],
      [chunk, 0x4000 - 12],
    ] as const) {
      const flags = mutualAuthentication | encapsulated | handshakeInTheClear;
      const responder = realResponder({
        capabilities: { ...sizes, maxMessageBytes: 0x4000, flags: deviceFlags | flags | chunk },
        mutualAuthentication: { how: 'encapsulated', slot: 0, required: true, trust: trustLeaf },
      });
      const asked: Uint8Array[] = [];
      const spy = async (wire: Wire): Promise<Wire> => {
        const answer = await linkTo(responder)(wire);
        if (answer.message[1] === 0x6b) asked.push(answer.message);
        return answer;
      };
      const capabilities = { ...sizes, flags: requesterFlags | flags | peerFlags };
      const requester = { nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom('requester'), ownSlots: [requesterSlot()] };
      await runSessionSetup({ ...requester, capabilities }, spy);
      expect(asked[0]!.slice(-2)).toEqual(Uint8Array.of(length & 0xff, length >> 8));
    }
  });

  it('a large certificate is refused by a side without LARGE_RESP_CAP', async () => {
    for (const [flags, refusal] of [
      [0, '147f0782'],
      [largeResponse, '14028000'],
    ] as const) {
      const { connection, link, session } = await openMutual('encapsulated', { version: 0x14, extra: flags });
      const asked = fromHex('14828000000000000000000010000000');
      expect(toHex(await answerEncapsulated({ connection, slots: [requesterSlot()] }, asked)).slice(0, 8)).toBe(refusal);
      const answer = await link({ kind: 'secured', message: session.sealSpdm(asked) });
      expect(toHex(session.openSpdm(answer.message)).slice(0, 8)).toBe(refusal);
    }
  });

  it('our DIGESTS are in the transcript of a multi-key connection only when they are the first that was asked for (DSP0274 1.3 §17)', async () => {
    const responder = multiKeyResponder();
    let late = false;
    const link = async (wire: Wire): Promise<Wire> => {
      const [version, code] = wire.message;
      if (code === 0xea) return { kind: 'clear', message: fromHex('136a090013820000000000ff') };
      if (code !== 0xeb || wire.message[2] !== 9) return linkTo(responder)(wire);
      late = true;
      const { message } = await linkTo(responder)({ kind: 'clear', message: Uint8Array.of(version!, 0xea, 0, 0) });
      return { kind: 'clear', message: concat(Uint8Array.of(version!, 0x6b, message[2]!, 1, 9, 0, 0, 0), message.subarray(4)) };
    };
    await expect(runSessionSetup(multiKeyRequester(), link)).rejects.toThrow('ERROR 6 (0)');
    expect(late).toBe(true);
    await expect(runSessionSetup(multiKeyRequester(), linkTo(responder))).resolves.toMatchObject({ mutual: true });
  });

  it('refuses a requester whose signature is not that of its certificate, whose chain is not trusted, or that has no certificates', async () => {
    const forged: CertSlot = { ...requesterSlot(), sign: async () => new Uint8Array(64).fill(7) };
    await expect(openMutual('encapsulated', { own: [forged] })).rejects.toEqual(code('SPDM_BUSY'));
    const distrust = () => Promise.reject(new Error('revoked'));
    const untrusting = { how: 'encapsulated', slot: 0, required: true, trust: distrust } as const;
    await expect(openMutual('encapsulated', { options: { mutualAuthentication: untrusting } })).rejects.toEqual(code('SPDM_BUSY'));
    await expect(openMutual('encapsulated', { own: [] })).rejects.toEqual(code('SPDM_UNSUPPORTED'));
  });

  it('refuses a requester that cannot be asked when it must be, and takes it unknown when it need not', async () => {
    const plain = { nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom('requester') };
    const asking = (required: boolean) =>
      realResponder({
        capabilities: { ...sizes, flags: deviceFlags | mutualAuthentication | encapsulated },
        mutualAuthentication: { how: 'encapsulated', slot: 0, required, trust: trustLeaf },
      });
    await expect(runSessionSetup(plain, linkTo(asking(true)))).rejects.toEqual(code('SPDM_UNSUPPORTED'));
    const { mutual } = await runSessionSetup(plain, linkTo(asking(false)));
    expect(mutual).toBe(false);
  });

  it('takes no FINISH before it has its answers, and nothing else while it waits for one', async () => {
    const { responder } = await openMutual('encapsulated', { extra: handshakeInTheClear });
    const sent: Wire[] = [];
    const spy = async (wire: Wire): Promise<Wire> => {
      sent.push(wire);
      if (wire.message[1] === 0xeb) throw new Error('cut');
      return linkTo(responder)(wire);
    };
    const flags = mutualAuthentication | encapsulated | handshakeInTheClear;
    const options = {
      nonce: someNonce,
      trust: trustLeaf,
      randomBytes: countingRandom('requester'),
      capabilities: { ...sizes, flags: requesterFlags | flags },
      ownSlots: [requesterSlot()],
    };
    await expect(runSessionSetup(options, spy)).rejects.toThrow('cut');
    const say = async (hex: string) => toHex((await linkTo(responder)({ kind: 'clear', message: fromHex(hex) })).message);
    expect(await say(`12e50000${'00'.repeat(32)}`)).toBe('127f0800');
    expect(await say('12810000')).toBe('127f0800');
    expect(await say('12ea0000')).toBe('127f0400');
    expect(await say('12eb070012010000')).toBe('127f0100');
    expect(await say('12eb0100127f0100')).toBe('127f0900');
    expect(await say(`12e50000${'00'.repeat(32)}`)).toBe('127f0400');
  });

  it.each([0x12, 0x13] as const)(
    'version %i: a responder changes its own keys by an encapsulated KEY_UPDATE, and says when it wants nothing',
    async version => {
      const { responder, session, connection, link } = await openMutual('digests', { version });
      const asking = { ask: sessionAsk(session, link), connection };
      expect(await answerQuestions(asking, session)).toBe(0);
      for (let round = 0; round < 3; round += 1) {
        responder.updateSendingKey();
        expect(await answerQuestions(asking, session)).toBe(2);
        const data = Uint8Array.of(0x7f, round);
        expect(session.open((await link({ kind: 'secured', message: session.seal(data) })).message)).toEqual(data);
      }
    },
  );
});
