import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../src/bytes.ts';
import { capability, responseCode, type Wire } from '../../src/spdm/constants.ts';
import { handshakeSecrets } from '../../src/spdm/keySchedule.ts';
import { decodeRecordLimit, encodeSelectedVersion, encodeSupportedVersions } from '../../src/spdm/opaque.ts';
import { runPskSetup, runSessionSetup } from '../../src/spdm/requester/run.ts';
import { deviceFlags } from '../../src/spdm/responder/responder.ts';
import { createSession } from '../../src/spdm/session.ts';
import { aeads, hashAlgorithms } from '../../src/spdm/suite.ts';
import { countingRandom, linkTo, realResponder, someNonce, trustLeaf } from './fixtures.ts';

const code = (name: string) => expect.objectContaining({ code: name });
const ours = 2 ** 24;

describe('secured messages 1.3: the limit of records under one key (DSP0277)', () => {
  it('has the bytes of the specification, in both formats, and only from 1.3 on', () => {
    expect(toHex(encodeSelectedVersion(true, 0x1300))).toBe(`02000000${'0000040001000013'}${'0000030001021800'}`);
    expect(toHex(encodeSelectedVersion(false, 0x1300))).toBe(`46544d4401020000${'0000040001000013'}${'0000030001021800'}`);
    expect(toHex(encodeSupportedVersions(true, [0x1200, 0x1300]))).toBe(`02000000${'0000070001010200120013'}00${'0000030001021800'}`);
    expect(toHex(encodeSelectedVersion(true, 0x1200))).toBe('010000000000040001000012');
  });

  it('is the smaller one of both sides, wherever the element is, and ours where there is none', () => {
    const selected = '0000040001000013';
    const limit = (exponent: string) => `000003000102${exponent}00`;
    const read = (elements: readonly string[], version = 0x1300) =>
      decodeRecordLimit(true, fromHex(`0${elements.length}000000${elements.join('')}`), version);
    expect(read([selected, limit('03')])).toBe(8);
    expect(read([limit('03'), selected])).toBe(8);
    expect(read([selected, limit('00')])).toBe(1);
    expect(read([selected, limit('40')])).toBe(ours);
    expect(read([selected])).toBe(ours);
    expect(read([selected, limit('03')], 0x1200)).toBe(ours);
    expect(() => read([selected, limit('41')])).toThrow('limit of records: above 2^64');
    expect(() => read([selected, '0000040001020303'])).toThrow('trailing');
    expect(() => read([selected, '0000020001020000'])).toThrow();
  });

  it('ends what one key seals and opens; new keys begin again', () => {
    const context = { version: 0x12, hash: hashAlgorithms[0]! };
    const settings = { ...context, aead: aeads[0]!, binding: 'mctp', sessionId: 1, maxRecords: 4 } as const;
    const secrets = handshakeSecrets(context, new Uint8Array(32).fill(1), new Uint8Array(32).fill(2));
    const host = createSession({ ...settings, role: 'requester', randomBytes: countingRandom('host') }, secrets);
    const device = createSession({ ...settings, role: 'responder', randomBytes: countingRandom('device') }, secrets);
    const patient = createSession({ ...settings, maxRecords: 5, role: 'requester', randomBytes: countingRandom('patient') }, secrets);
    for (let i = 0; i < 4; i += 1) expect(device.openSpdm(host.sealSpdm(Uint8Array.of(i)))).toEqual(Uint8Array.of(i));
    expect(() => host.sealSpdm(Uint8Array.of(4))).toThrow('too many records');
    for (const side of [host, device]) side.rotate('both');
    expect(device.openSpdm(host.sealSpdm(Uint8Array.of(5)))).toEqual(Uint8Array.of(5));
    const other = createSession({ ...settings, role: 'responder', randomBytes: countingRandom('other') }, secrets);
    for (let i = 0; i < 4; i += 1) other.openSpdm(patient.sealSpdm(Uint8Array.of(i)));
    expect(() => other.openSpdm(patient.sealSpdm(Uint8Array.of(4)))).toThrow('too many records');
    expect(other.ended()).toBe(true);
  });

  it('is agreed on by key exchange and by PSK, and an older version by who speaks no newer one', async () => {
    for (const [offered, expected] of [
      [undefined, 0x1300],
      [[0x1000, 0x1100], 0x1100],
    ] as const) {
      const wires: Wire[] = [];
      const sizes = { ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };
      const flags = deviceFlags | capability.pskWithContext;
      const responder = realResponder({ capabilities: { ...sizes, flags }, psk: () => new Uint8Array(32).fill(9) });
      const link = async (wire: Wire): Promise<Wire> => {
        const answer = await linkTo(responder)(wire);
        wires.push(answer);
        return answer;
      };
      const options = { randomBytes: countingRandom('requester'), ...(offered && { securedVersions: offered }) };
      await runSessionSetup({ ...options, nonce: someNonce, trust: trustLeaf }, link);
      await runPskSetup({ ...options, psk: new Uint8Array(32).fill(9), hint: new Uint8Array() }, link);
      for (const answerCode of [responseCode.keyExchangeRsp, responseCode.pskExchangeRsp]) {
        const { message } = wires.find(({ message: [, found] }) => found === answerCode)!;
        const text = toHex(message);
        expect(text.includes(toHex(encodeSelectedVersion(true, expected)))).toBe(true);
      }
    }
  });

  it('a responder that knows none of the versions offered opens no session', async () => {
    const options = { nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom(), securedVersions: [0x1400] };
    await expect(runSessionSetup(options, linkTo(realResponder()))).rejects.toEqual(code('SPDM_UNSUPPORTED'));
  });
});
