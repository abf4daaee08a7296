import { createECDH } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../src/bytes.ts';
import { capability } from '../../src/spdm/constants.ts';
import { decodeAlgorithms, encodeNegotiateAlgorithms } from '../../src/spdm/messages/algorithms.ts';
import { encodeKeyExchange } from '../../src/spdm/messages/keyExchange.ts';
import { decodeVendorResponse, encodeVendorRequest } from '../../src/spdm/messages/vendorDefined.ts';
import { allAlgorithms, p256Algorithms, resolveAlgorithms, selectAlgorithms } from '../../src/spdm/negotiation.ts';
import { encodeSupportedVersions } from '../../src/spdm/opaque.ts';
import { deviceFlags, type Responder } from '../../src/spdm/responder/responder.ts';
import { realResponder, realSlot, requesterSlot } from './fixtures.ts';
import { loadRecording, named } from './recording.ts';

const say = async (responder: Responder, hex: string) => toHex((await responder.handle({ kind: 'clear', message: fromHex(hex) }))!.message);
const recorded = (name: string) => toHex(named(loadRecording('a-spdm12-p256-challenge'), name)[0]!.request.message);
const capabilities = recorded('GET_CAPABILITIES');
const negotiation = recorded('NEGOTIATE_ALGORITHMS');

async function connected(options: Parameters<typeof realResponder>[0] = {}): Promise<Responder> {
  const responder = realResponder(options);
  for (const hex of ['10840000', capabilities, negotiation]) expect((await say(responder, hex)).slice(2, 4)).not.toBe('7f');
  return responder;
}

describe('the parameter phase of the responder (DSP0274 §10.10)', () => {
  it('refuses each request before its state with UnexpectedRequest', async () => {
    const responder = realResponder();
    expect(await say(responder, capabilities)).toBe('107f0400');
    await say(responder, '10840000');
    expect(await say(responder, negotiation)).toBe('107f0400');
    await say(responder, capabilities);
    for (const early of ['12810000', '128200000000ffff', `12830000${'00'.repeat(32)}`, '12e00000'])
      expect(await say(responder, early)).toBe('127f0400');
    expect((await say(responder, negotiation)).slice(0, 4)).toBe('1263');
    expect(await say(responder, negotiation)).toBe('127f0400');
    expect(await say(responder, capabilities)).toBe('127f0400');
  });

  it('refuses other versions with VersionMismatch', async () => {
    const responder = realResponder();
    expect(await say(responder, '12840000')).toBe('107f4100');
    await say(responder, '10840000');
    expect(await say(responder, `13${capabilities.slice(2)}`)).toBe('107f4100');
    await say(responder, capabilities);
    await say(responder, negotiation);
    expect(await say(responder, '11810000')).toBe('127f4100');
  });

  it('speaks 1.0 again after GET_VERSION, and the version of a GET_CAPABILITIES that it refuses', async () => {
    const responder = await connected();
    expect(await say(responder, '12840000')).toBe('107f4100');
    expect((await say(responder, '12810000')).slice(0, 4)).toBe('1201');
    await say(responder, '10840000');
    expect(await say(responder, `13${capabilities.slice(2)}`)).toBe('107f4100');
    expect(await say(responder, '12e1000000000000060000002900000029000000')).toBe('127f0100');
    expect(await say(responder, '12e1000000000000060000004000000041000000')).toBe('127f0100');
    expect((await say(responder, capabilities)).slice(0, 4)).toBe('1261');
  });

  it('uses no error code before the version that has it', async () => {
    const responder = realResponder({ versions: [0x11] });
    for (const hex of ['10840000', '11e1000000000000c6620000']) await say(responder, hex);
    const old = toHex(encodeNegotiateAlgorithms(0x11, p256Algorithms));
    expect((await say(responder, old)).slice(0, 4)).toBe('1163');
    for (const outside of ['11e80000', '11e90100', '11ec0000']) expect(await say(responder, outside)).toBe('117f0400');
    expect(await say(responder, `1181${'00'.repeat(4095)}`)).toBe('117f0100');
  });

  it('refuses unknown codes and missing capabilities with UnsupportedRequest and the code', async () => {
    const responder = await connected({ capabilities: { flags: 0x2, ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 } });
    expect(await say(responder, '12ff0000')).toBe('127f07ff');
    expect(await say(responder, '12030000')).toBe('127f0703');
    expect(await say(responder, `12830000${'00'.repeat(32)}`)).toBe('127f0783');
    expect(await say(responder, '12e00000')).toBe('127f07e0');
    expect(await say(responder, '12fe0000000000000000')).toBe('127f07fe');
  });

  it('refuses wrong lengths: InvalidRequest, RequestTooLarge, ResponseTooLarge', async () => {
    const big = { index: 1, type: 1, form: 'raw', value: new Uint8Array(5000) } as const;
    const responder = await connected({ measurements: () => [big] });
    expect(await say(responder, '1281')).toBe('127f0100');
    expect(await say(responder, '')).toBe('127f0100');
    expect(await say(responder, '1281000000')).toBe('127f0100');
    expect(await say(responder, `1281${'00'.repeat(4095)}`)).toBe('127f0e00');
    expect(await say(responder, '12e000ff')).toBe('127f0d00b9130000');
  });

  it('refuses an empty slot, an offset behind the chain and an unknown measurement with InvalidRequest', async () => {
    const responder = await connected();
    expect(await say(responder, '128201000000ffff')).toBe('127f0100');
    expect(await say(responder, '12820000ffffffff')).toBe('127f0100');
    expect(await say(responder, `12830100${'00'.repeat(32)}`)).toBe('127f0100');
    expect(await say(responder, `12830007${'00'.repeat(32)}`)).toBe('127f0100');
    expect(await say(responder, '12e00003')).toBe('127f0100');
    expect((await say(responder, '12e00000')).slice(0, 8)).toBe('12600300');
  });

  it('answers Busy while it works on another request, and goes on as if that had not come', async () => {
    let release = (): void => {};
    const gate = new Promise<void>(resolve => {
      release = resolve;
    });
    const sign = async (): Promise<Uint8Array> => {
      await gate;
      return new Uint8Array(64);
    };
    const responder = await connected({ slots: [{ ...realSlot(), sign }] });
    const slow = say(responder, `12830000${'00'.repeat(32)}`);
    expect(await say(responder, '10840000')).toBe('127f0300');
    release();
    expect((await slow).slice(0, 4)).toBe('1203');
    expect((await say(responder, '12810000')).slice(0, 4)).toBe('1201');
  });

  it('answers Unspecified when its key or its measurements fail, and tells who runs it', async () => {
    const faults: unknown[] = [];
    const onFault = (error: unknown): void => void faults.push(error);
    const noKey = await connected({ slots: [{ ...realSlot(), sign: () => Promise.reject(new Error('key')) }], onFault });
    expect(await say(noKey, `12830000${'00'.repeat(32)}`)).toBe('127f0500');
    const noFlash = await connected({ measurements: () => Promise.reject(new Error('flash')), onFault });
    expect(await say(noFlash, '12e00000')).toBe('127f0500');
    expect(faults).toEqual([new Error('key'), new Error('flash')]);
  });

  it('hands vendor-defined requests on, when somebody asked for them', async () => {
    const message = { registry: 4, vendorId: fromHex('34120000'), payload: fromHex('c0ffee') };
    const responder = await connected({
      onVendorDefined: async (request, sessionId) => ({ ...request, payload: Uint8Array.of(sessionId ?? 1) }),
    });
    const answer = await responder.handle({ kind: 'clear', message: encodeVendorRequest(0x12, message) });
    expect(decodeVendorResponse(answer!.message)).toEqual({ ...message, payload: Uint8Array.of(1) });
  });
});

describe('what a request may ask for', () => {
  it('a signature over measurements only of a responder that signs them', async () => {
    const capabilities = { flags: 0x2e, ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };
    const responder = await connected({ capabilities });
    expect(await say(responder, `12e001ff${'00'.repeat(33)}`)).toBe('127f0100');
    expect((await say(responder, '12e000ff')).slice(0, 4)).toBe('1260');
  });

  it('a signature only for what the key of the slot is for, on multi-key connections (1.3)', async () => {
    const exchange = {
      summaryType: 0,
      sessionId: 1,
      policy: 0,
      random: new Uint8Array(32),
      opaque: encodeSupportedVersions(true, [0x1200]),
    };
    const point = createECDH('prime256v1').generateKeys().subarray(1);
    for (const keyUsage of [1, 2, 4, 8, 0xf]) {
      const responder = realResponder({
        versions: [0x13],
        slots: [{ ...realSlot(), keyPair: { keyPairId: 1, certificateInfo: 1, keyUsage } }],
        capabilities: { flags: deviceFlags | capability.multiKeyOnly, ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 },
      });
      const offer = toHex(encodeNegotiateAlgorithms(0x13, { ...p256Algorithms, otherParams: 0x12 }));
      for (const hex of ['10840000', '13e1000000000000c66200000010000000100000', offer])
        expect((await say(responder, hex)).slice(2, 4)).not.toBe('7f');
      const asked = [
        toHex(encodeKeyExchange(0x13, { ...exchange, slot: 0, exchange: point })),
        `13830000${'00'.repeat(40)}`,
        `13e001ff${'00'.repeat(41)}`,
      ];
      const answers: string[] = [];
      for (const hex of asked.toReversed()) answers.unshift((await say(responder, hex)).slice(2, 6));
      const expected = ['64', '03', '60'].map((signed, bit) => (keyUsage & (1 << bit) ? signed : '7f01'));
      expect(answers.map((answer, i) => answer.slice(0, expected[i]!.length))).toEqual(expected);
    }
  });

  it('large certificates only of a responder that has them (1.4), and their size alone since 1.3', async () => {
    const responder = realResponder({ versions: [0x13, 0x14] });
    const connect = async (version: number) => {
      const offer = encodeNegotiateAlgorithms(version, p256Algorithms);
      for (const hex of ['10840000', `${version.toString(16)}e1000000000000c66200000010000000100000`, toHex(offer)])
        expect((await say(responder, hex)).slice(2, 4)).not.toBe('7f');
    };
    await connect(0x14);
    expect(await say(responder, `14828000${'00'.repeat(8)}ff000000`)).toBe('147f0782');
    await connect(0x13);
    expect(await say(responder, '13820001ffff55aa')).toMatch(/^130200000000(?!0000)....$/);
  });

  it('no more than the specified number of external algorithms, and bytes, in NEGOTIATE_ALGORITHMS', async () => {
    const offer = (externalAsym: number) => {
      const bytes = Buffer.from(encodeNegotiateAlgorithms(0x12, p256Algorithms));
      const [head, structures] = [bytes.subarray(0, 32), bytes.subarray(32)];
      const message = Buffer.concat([head, Buffer.alloc(externalAsym * 4), structures]);
      message[28] = externalAsym;
      message.writeUInt16LE(message.length, 4);
      return message.toString('hex');
    };
    for (const [externals, answer] of [
      [20, '1263'],
      [21, '127f'],
    ] as const) {
      const responder = realResponder();
      for (const hex of ['10840000', capabilities]) await say(responder, hex);
      expect([externals, (await say(responder, offer(externals))).slice(0, 4)]).toEqual([externals, answer]);
    }
  });
});

describe('answers that are kept', () => {
  const small = (bytes: string) => `12e100000000000006000000${bytes}${bytes}`;
  const portion = '128200000000ff0f';

  it('are those of each requester: the portion fits into its own transfer size, in any order of requesters', async () => {
    const responder = realResponder();
    const lengths: number[] = [];
    for (const size of ['40000000', '00020000', '40000000', '00040000', '00020000']) {
      for (const hex of ['10840000', small(size), negotiation]) expect((await say(responder, hex)).slice(2, 4)).not.toBe('7f');
      lengths.push((await say(responder, portion)).length / 2);
    }
    expect(lengths).toEqual([0x40, 0x200, 0x40, 0x400, 0x200]);
  });

  it('are those of the certificates of now, and of no request that was refused', async () => {
    let certificates = realSlot().certificates;
    const key = realSlot();
    const responder = await connected({ slots: () => [{ ...key, certificates }] });
    const before = await say(responder, portion);
    certificates = requesterSlot().certificates;
    expect(await say(responder, portion)).not.toBe(before);
    expect(await say(responder, '12820000ffffffff')).toBe('127f0100');
    expect(await say(responder, '12820000ffffffff')).toBe('127f0100');
  });
});

describe('negotiation of algorithms', () => {
  const all = 0xffffffff;
  it('selects at most one bit in each field, and nothing for a feature that is off on one side', () => {
    const features: [string, number, number, (keyof ReturnType<typeof selectAlgorithms>)[]][] = [
      ['everything on', all, all, []],
      ['responder does not measure', all, all & ~0x18, ['measurementSpecification', 'measurementHash']],
      ['no key exchange', all & ~0x200, all, ['dhe']],
      ['no key exchange and no PSK', all & ~0xe00, all, ['dhe', 'aead', 'keySchedule']],
      ['no encryption', all, all & ~0x40, ['aead']],
      ['no MAC', all & ~0x80, all, ['aead']],
      ['no mutual authentication', all & ~0x100, all, ['requesterAsym']],
    ];
    for (const [what, requester, responder, off] of features) {
      const selected = selectAlgorithms(0x12, allAlgorithms, allAlgorithms, requester, responder);
      for (const [field, bits] of Object.entries(selected)) {
        expect([what, field, bits & (bits - 1)]).toEqual([what, field, 0]);
        if (!['mel', 'otherParams', 'pqcAsym', 'requesterPqcAsym', 'kem'].includes(field))
          expect([what, field, bits === 0]).toEqual([what, field, off.includes(field as never)]);
      }
    }
  });

  it('offers no session algorithm to a requester without sessions, on the wire', async () => {
    const responder = realResponder();
    await say(responder, '10840000');
    await say(responder, '12e1000000000000060000000012000000120000');
    const selected = decodeAlgorithms(fromHex(await say(responder, negotiation)));
    expect([selected.dhe, selected.aead, selected.requesterAsym, selected.keySchedule]).toEqual([0, 0, 0, 0]);
    expect(deviceFlags & 0x200).not.toBe(0);
  });

  it('refuses a selection that was not offered, or without hash or signature', () => {
    const selected = selectAlgorithms(0x12, allAlgorithms, allAlgorithms, 0xffffffff, 0xffffffff);
    const refused = expect.objectContaining({ code: 'SPDM_UNSUPPORTED' });
    expect(() => resolveAlgorithms({ ...allAlgorithms, dhe: 0x10 }, selected, 0, all)).toThrow(refused);
    expect(() => resolveAlgorithms(allAlgorithms, { ...selected, baseHash: 0 }, 0, all)).toThrow(refused);
    expect(() => resolveAlgorithms({ ...allAlgorithms, baseAsym: 0x1 }, { ...selected, baseAsym: 0x1 }, 0, all)).toThrow(refused);
  });
});
