import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex } from '../../src/bytes.ts';
import { encodeCertificateChain, keepChain } from '../../src/spdm/certChain.ts';
import { type SpdmVersion, spdmVersions, type Wire } from '../../src/spdm/constants.ts';
import { decodeEvidence, type Evidence, encodeEvidence, type VerifyOptions, verifyEvidence } from '../../src/spdm/evidence.ts';
import { allAlgorithms } from '../../src/spdm/negotiation.ts';
import { type AttestationState, continueAttestation, startAttestation } from '../../src/spdm/requester/attestation.ts';
import { runAttestation } from '../../src/spdm/requester/run.ts';
import { deviceFlags } from '../../src/spdm/responder/responder.ts';
import { hashOf } from '../../src/spdm/signature.ts';
import { hashAlgorithms } from '../../src/spdm/suite.ts';
import { covers } from '../support/covers.ts';
import { linkTo, realResponder, realSlot, someMeasurements, someNonce, trustLeaf } from './fixtures.ts';

const allVersions: readonly SpdmVersion[] = [0x11, 0x12, 0x13, 0x14];
const verify = (evidence: Evidence, options: Partial<VerifyOptions> = {}) =>
  verifyEvidence(evidence, { trust: trustLeaf, nonce: someNonce, ...options });
const code = (name: string) => expect.objectContaining({ code: name });

describe('attestation of our responder by our requester (R84)', () => {
  it.each(allVersions)('works in version %i', async version => {
    covers('R84');
    const evidence = await runAttestation({ nonce: someNonce, versions: allVersions }, linkTo(realResponder({ versions: [version] })));
    const verified = await verify(evidence, { versions: allVersions });
    expect(verified.version).toBe(version);
    expect(verified.measurements.map(({ index, raw }) => [index, raw])).toEqual([
      [1, false],
      [2, false],
      [16, true],
    ]);
  });

  it('takes the highest common version', async () => {
    const evidence = await runAttestation(
      { nonce: someNonce, versions: [0x13, 0x11, 0x12] },
      linkTo(realResponder({ versions: [0x11, 0x12, 0x14] })),
    );
    expect((await verify(evidence)).version).toBe(0x12);
  });

  it('works with P-384 and SHA-384', async () => {
    const responder = realResponder({ slots: [realSlot('ecp384')], algorithms: { ...allAlgorithms, baseAsym: 0x80, baseHash: 0x2 } });
    const verified = await verify(await runAttestation({ nonce: someNonce, algorithms: allAlgorithms }, linkTo(responder)));
    expect(verified.chainDigest).toHaveLength(48);
    expect(verified.measurements[0]!.value).toHaveLength(48);
  });

  it.each(allVersions)('version %i: takes a chain of 60 KB, as long post-quantum chains are', async version => {
    // A certificate of 20 KB as far as a requester reads it: its outer length. Whom to trust is decided from the leaf.
    const long = concat(fromHex('30824e20'), new Uint8Array(20_000));
    const slot = {
      ...realSlot(),
      certificates: [long, long, long.map((byte, at) => (at < 4 ? byte : 7)), ...realSlot().certificates.slice(1)],
    };
    const evidence = await runAttestation(
      { nonce: someNonce, versions: [version] },
      linkTo(realResponder({ versions: [version], slots: [slot] })),
    );
    expect(evidence.chain.length).toBeGreaterThan(60_000);
    expect(await verify(evidence, { versions: [version] })).toMatchObject({ version, slot: 0 });
  });

  it('fetches the chain in portions, and not at all when its digest is known', async () => {
    const count = async (options: { portionBytes?: number; knownChain?: Uint8Array }) => {
      const requests: number[] = [];
      const link = linkTo(realResponder());
      const evidence = await runAttestation({ nonce: someNonce, ...options }, wire => {
        requests.push(wire.message[1]!);
        return link(wire);
      });
      await verify(evidence);
      return { certificates: requests.filter(request => request === 0x82).length, evidence };
    };
    const whole = await count({ portionBytes: 0xffff });
    expect(whole.certificates).toBe(1);
    expect((await count({ portionBytes: 100 })).certificates).toBe(Math.ceil(whole.evidence.chain.length / 100));
    expect((await count({ knownChain: whole.evidence.chain })).certificates).toBe(0);
    expect((await count({ knownChain: whole.evidence.chain.slice(1) })).certificates).toBe(2);
  });

  it.each(allVersions.flatMap(version => (['ecp256', 'ecp384'] as const).map(curve => [version, curve] as const)))(
    'a chain that is kept has the digest and the certificates of its bytes: version %i, %s',
    async (version, curve) => {
      const link = linkTo(realResponder({ versions: [version], slots: [realSlot(curve)], algorithms: allAlgorithms }));
      const bits = curve === 'ecp256' ? { baseAsym: 0x10, baseHash: 1 } : { baseAsym: 0x80, baseHash: 2 };
      const options = { nonce: someNonce, versions: allVersions, algorithms: { ...allAlgorithms, ...bits } };
      const { chain } = await runAttestation(options, link);
      const knownChain = keepChain(chain);
      expect(keepChain(knownChain)).toBe(knownChain);
      chain.fill(0);
      for (let i = 0; i < 2; i += 1) {
        const evidence = await runAttestation({ ...options, knownChain }, link);
        const judged: (readonly Uint8Array[])[] = [];
        const trust = (certificates: readonly Uint8Array[]) => {
          judged.push(certificates);
          return trustLeaf(certificates);
        };
        const { chainDigest } = await verify(evidence, { versions: allVersions, trust });
        expect(evidence.chain).toBe(knownChain);
        expect(judged).toEqual([[...realSlot(curve).certificates]]);
        expect(chainDigest).toEqual(hashOf(hashAlgorithms[bits.baseHash - 1]!, knownChain.slice()));
      }
    },
  );

  it('can be stored between any two messages: the state is plain data of at most 8 KiB', async () => {
    const link = linkTo(realResponder());
    let step = startAttestation({ nonce: someNonce });
    while ('send' in step) {
      const response = await link({ kind: 'clear', message: step.send });
      const stored: AttestationState = structuredClone(step.state);
      expect(stateBytes(stored)).toBeLessThan(8 * 1024);
      step = continueAttestation(stored, response.message);
    }
    await expect(verify(step.evidence)).resolves.toMatchObject({ slot: 0 });
  });

  it('asks for one measurement, raw, or for none', async () => {
    const one = await verify(await runAttestation({ nonce: someNonce, measurements: 2, raw: true }, linkTo(realResponder())));
    expect(one.measurements).toEqual([{ index: 2, type: 1, raw: true, value: someMeasurements[1]!.value }]);
    const none = await verify(await runAttestation({ nonce: someNonce, measurements: 'none' }, linkTo(realResponder())));
    expect(none.measurements).toEqual([]);
  });

  it('judges the measurements against reference values', async () => {
    const evidence = await runAttestation({ nonce: someNonce }, linkTo(realResponder()));
    const good = { index: 2, type: 1, value: hashOf(hashAlgorithms[0]!, someMeasurements[1]!.value) };
    expect((await verify(evidence, { referenceValues: [good] })).verdict).toEqual({ verdict: 'pass' });
    expect((await verify(evidence, { referenceValues: [{ ...good, value: new Uint8Array(32) }] })).verdict).toEqual({
      verdict: 'fail',
      differences: [{ index: 2, difference: 'value' }],
    });
  });

  it('refuses a responder without signed measurements, certificates or a common version', async () => {
    const flags = (without: number) => ({ flags: deviceFlags & ~without, ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 });
    for (const missing of [0x2, 0x10]) {
      const attempt = runAttestation({ nonce: someNonce }, linkTo(realResponder({ capabilities: flags(missing) })));
      await expect(attempt).rejects.toEqual(code('SPDM_UNSUPPORTED'));
    }
    await expect(runAttestation({ nonce: someNonce, versions: [0x14] }, linkTo(realResponder()))).rejects.toEqual(code('SPDM_UNSUPPORTED'));
    await expect(runAttestation({ nonce: someNonce, slot: 3 }, linkTo(realResponder()))).rejects.toEqual(code('SPDM_UNSUPPORTED'));
    expect(() => startAttestation({ nonce: new Uint8Array(31) })).toThrow(code('SPDM_MALFORMED'));
  });

  it('takes the signed measurements of a responder without CHALLENGE for proof, since 1.2', async () => {
    const without = { flags: deviceFlags & ~0x4, ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };
    const attest = (version: SpdmVersion) =>
      runAttestation({ nonce: someNonce, versions: [version] }, linkTo(realResponder({ capabilities: without, versions: [version] })));
    const options = { nonce: someNonce, trust: trustLeaf, versions: spdmVersions };
    const evidence = await attest(0x12);
    expect(evidence.exchange).toEqual([]);
    await expect(verifyEvidence(evidence, options)).resolves.toMatchObject({ version: 0x12, slot: 0 });
    await expect(verifyEvidence({ ...evidence, measurements: [] }, options)).rejects.toEqual(code('SPDM_MALFORMED'));
    await expect(verifyEvidence(evidence, { ...options, nonce: new Uint8Array(32) })).rejects.toEqual(code('SPDM_UNEXPECTED'));
    await expect(verifyEvidence(await attest(0x11), options)).rejects.toEqual(code('SPDM_UNSUPPORTED'));
  });

  it('stops at an ERROR response, at a secured record and at a responder that never ends', async () => {
    const busy: Wire = { kind: 'clear', message: fromHex('107f0300') };
    await expect(runAttestation({ nonce: someNonce }, async () => busy)).rejects.toEqual(code('SPDM_BUSY'));
    await expect(runAttestation({ nonce: someNonce }, async () => ({ ...busy, kind: 'secured' }))).rejects.toEqual(code('SPDM_UNEXPECTED'));
    const link = linkTo(realResponder());
    const certificateRequests: Uint8Array[] = [];
    const instead =
      (hex: string) =>
      async (wire: Wire): Promise<Wire> => {
        if (wire.message[1] !== 0x82) return link(wire);
        certificateRequests.push(wire.message);
        return { kind: 'clear', message: fromHex(hex) };
      };
    for (const [what, hex] of [
      ['a chain above 64 KiB', '120200000100ffff30'],
      ['an empty portion', '1202000000000400'],
      ['another slot', '120201000100040030'],
    ] as const) {
      certificateRequests.length = 0;
      await expect(runAttestation({ nonce: someNonce }, instead(hex))).rejects.toEqual(code('SPDM_UNEXPECTED'));
      expect([what, certificateRequests.length]).toEqual([what, 1]);
    }
    const drip = async (wire: Wire): Promise<Wire> =>
      wire.message[1] === 0x82 ? { kind: 'clear', message: fromHex('1202000001000f0030') } : link(wire);
    await expect(runAttestation({ nonce: someNonce }, drip)).rejects.toEqual(code('SPDM_UNEXPECTED'));
  });
});

describe('answers that go beyond the question', () => {
  it('refuses more of a chain than was asked for', async () => {
    const link = linkTo(realResponder());
    const greedy = async (wire: Wire): Promise<Wire> => {
      if (wire.message[1] !== 0x82) return link(wire);
      return link({ kind: 'clear', message: fromHex('128200000000ffff') });
    };
    await expect(runAttestation({ nonce: someNonce, portionBytes: 100 }, greedy)).rejects.toEqual(code('SPDM_UNEXPECTED'));
    await expect(runAttestation({ nonce: someNonce, portionBytes: 0xffff }, greedy)).resolves.toMatchObject({ kind: 'attestation' });
  });
});

describe('the transcripts of the responder (DSP0274 §10.8.2, §10.11.3)', () => {
  const conversation = async (...requests: readonly string[]) => {
    const vca: Uint8Array[] = [];
    let step = startAttestation({ nonce: someNonce });
    const responder = linkTo(realResponder());
    const ask = async (message: Uint8Array) => (await responder({ kind: 'clear', message })).message;
    while ('send' in step && vca.length < 6) {
      const response = await ask(step.send);
      vca.push(step.send, response);
      step = continueAttestation(step.state, response);
    }
    const chain = encodeCertificateChain(0x12, hashAlgorithms[0]!, realSlot().certificates);
    const pairs: [Uint8Array, Uint8Array][] = [];
    for (const hex of requests) pairs.push([fromHex(hex), await ask(fromHex(hex))]);
    return { vca, chain, pairs };
  };
  const challenge = `12830000${toHex(someNonce)}`;
  const signedMeasurements = `12e001ff${toHex(someNonce)}00`;

  it('leave out the identity messages of a requester that went on without CHALLENGE', async () => {
    const { vca, chain, pairs } = await conversation('12810000', '12e00000', challenge);
    const evidence = { kind: 'attestation', vca, identity: [], exchange: pairs[2]!, measurements: [], chain } as const;
    await expect(verify(evidence)).resolves.toMatchObject({ slot: 0 });
    await expect(verify({ ...evidence, identity: pairs[0]! })).rejects.toEqual(code('SPDM_SIGNATURE'));
  });

  it('keep unsigned measurements for the next signature, and drop them at any other request or error', async () => {
    const exchange = (pairs: readonly [Uint8Array, Uint8Array][]) =>
      ({ kind: 'attestation', identity: [], exchange: pairs[0]!, chain: new Uint8Array() }) as const;
    const kept = await conversation(challenge, '12e00001', '12e00002', `12e00110${toHex(someNonce)}00`);
    const three = await verify({ ...exchange(kept.pairs), ...kept, measurements: kept.pairs.slice(1).flat() });
    expect(three.measurements.map(({ index }) => index)).toEqual([1, 2, 16]);
    for (const between of ['12810000', '12e00009']) {
      const dropped = await conversation(challenge, '12e00001', between, signedMeasurements);
      const evidence = { ...exchange(dropped.pairs), ...dropped };
      await expect(verify({ ...evidence, measurements: dropped.pairs[3]! })).resolves.toMatchObject({ slot: 0 });
      await expect(verify({ ...evidence, measurements: [dropped.pairs[1]!, dropped.pairs[3]!].flat() })).rejects.toEqual(
        code('SPDM_SIGNATURE'),
      );
    }
    const unsigned = { ...exchange(kept.pairs), ...kept, measurements: kept.pairs[1]! };
    await expect(verify(unsigned)).rejects.toEqual(code('SPDM_UNEXPECTED'));
  });
});

describe('evidence', () => {
  const gather = (nonce = someNonce) => runAttestation({ nonce }, linkTo(realResponder()));

  it('is refused with another nonce, also when only one part is replayed (T8)', async () => {
    covers('T8');
    const old = await gather(new Uint8Array(32).fill(1));
    const fresh = await gather();
    await expect(verify(old)).rejects.toEqual(code('SPDM_UNEXPECTED'));
    await expect(verify({ ...fresh, exchange: old.exchange })).rejects.toEqual(code('SPDM_UNEXPECTED'));
    await expect(verify({ ...fresh, measurements: old.measurements })).rejects.toEqual(code('SPDM_UNEXPECTED'));
  });

  it('is refused when a device has the certificate but not its key (T8)', async () => {
    covers('T8');
    const clone = realResponder({ slots: [{ ...realSlot(), sign: async () => new Uint8Array(64).fill(7) }] });
    await expect(verify(await runAttestation({ nonce: someNonce }, linkTo(clone)))).rejects.toEqual(code('SPDM_SIGNATURE'));
  });

  it('is refused with one byte changed anywhere, whoever relays it', async () => {
    const evidence = await gather();
    const accepted: string[] = [];
    for (const field of ['vca', 'identity', 'exchange', 'measurements'] as const) {
      for (const [i, message] of evidence[field].entries()) {
        for (let at = 0; at < message.length; at += message.length > 400 ? 13 : 1) {
          const messages = evidence[field].map((one, j) => (i === j ? flipped(one, at) : one));
          await verify({ ...evidence, [field]: messages }).then(
            () => accepted.push(`${field} ${i} ${at}`),
            error => expect(error.code).toMatch(/^SPDM_(MALFORMED|UNEXPECTED|UNSUPPORTED|SIGNATURE)$/),
          );
        }
      }
    }
    for (let at = 0; at < evidence.chain.length; at += 7) {
      const attempt = verify({ ...evidence, chain: flipped(evidence.chain, at) }, { trust: () => trustLeaf([...realSlot().certificates]) });
      await expect(attempt).rejects.toEqual(expect.objectContaining({ code: expect.stringMatching(/^SPDM_/) }));
    }
    expect(accepted).toEqual([]);
  });

  it('is refused with messages left out, added or cut elsewhere', async () => {
    const evidence = await gather();
    const variants: Partial<Evidence>[] = [
      { vca: evidence.vca.slice(0, 5) },
      { identity: evidence.identity.slice(0, 2) },
      { identity: evidence.identity.slice(0, 1) },
      { identity: [...evidence.identity, ...evidence.identity] },
      { exchange: evidence.exchange.slice(0, 1) },
      { measurements: [...evidence.measurements, ...evidence.measurements] },
      { measurements: evidence.measurements.slice(0, 1) },
      { kind: 'session' },
    ];
    const [getDigests, digests, ...rest] = evidence.identity as [Uint8Array, Uint8Array];
    variants.push({ identity: [concat(getDigests, digests.slice(0, 4)), digests.slice(4), ...rest] });
    variants.push({ identity: [concat(...evidence.identity.slice(0, -1)), evidence.identity.at(-1)!] });
    for (const variant of variants)
      await expect(verify({ ...evidence, ...variant })).rejects.toEqual(expect.objectContaining({ code: expect.stringMatching(/^SPDM_/) }));
  });

  it('is refused in a version that is not accepted: 1.1 unless asked for', async () => {
    const evidence = await runAttestation({ nonce: someNonce, versions: [0x11] }, linkTo(realResponder({ versions: [0x11] })));
    await expect(verify(evidence)).rejects.toEqual(code('SPDM_UNSUPPORTED'));
  });

  it('passes on what trust refuses, and gives it the certificates and the uid', async () => {
    const evidence = await gather();
    const trust = (certificates: readonly Uint8Array[], uidHex: string | undefined) => {
      throw new Error(`${certificates.length} ${uidHex}`);
    };
    await expect(verify(evidence, { trust, uidHex: 'ab' })).rejects.toThrow('3 ab');
  });

  it('takes the leaf key as an uncompressed point, and refuses any other', async () => {
    const evidence = await gather();
    const { x, y } = trustLeaf([...realSlot().certificates]).export({ format: 'jwk' });
    const point = new Uint8Array(Buffer.concat([Buffer.of(4), Buffer.from(x!, 'base64url'), Buffer.from(y!, 'base64url')]));
    await expect(verify(evidence, { trust: () => point })).resolves.toMatchObject({ slot: 0 });
    for (const wrong of [point.slice(1), new Uint8Array(65), flipped(point, 64), trustLeaf([...realSlot('ecp384').certificates])]) {
      await expect(verify(evidence, { trust: () => wrong })).rejects.toEqual(code('SPDM_SIGNATURE'));
    }
  });

  it('has one encoding', async () => {
    const evidence = await gather();
    const bytes = encodeEvidence(evidence);
    expect(decodeEvidence(bytes)).toEqual(evidence);
    expect(toHex(encodeEvidence(decodeEvidence(bytes)))).toBe(toHex(bytes));
    const text = new TextDecoder().decode(bytes);
    for (const wrong of [
      ` ${text}`,
      text.replace('attestation', 'other'),
      text.slice(1),
      '[]',
      'null',
      text.replace('"vca":[', '"vca":[1,'),
    ]) {
      expect(() => decodeEvidence(new TextEncoder().encode(wrong))).toThrow(code('SPDM_MALFORMED'));
    }
    expect(() => decodeEvidence(new Uint8Array(300_000))).toThrow(code('SPDM_MALFORMED'));
  });
});

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice();
  copy[at]! ^= 0x01;
  return copy;
}

/** Bytes in all byte arrays of a state, counted once for each array. */
function stateBytes(value: unknown, seen = new Set<unknown>()): number {
  if (typeof value !== 'object' || value === null || seen.has(value)) return 0;
  seen.add(value);
  if (value instanceof Uint8Array) return value.length;
  return Object.values(value).reduce<number>((sum, part) => sum + stateBytes(part, seen), 0);
}
