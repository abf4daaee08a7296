import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { capability, type SpdmVersion, spdmVersions } from '../../src/spdm/constants.ts';
import { verifyEvidence } from '../../src/spdm/evidence.ts';
import { type AlgorithmBits, decodeAlgorithms, encodeAlgorithms, encodeNegotiateAlgorithms } from '../../src/spdm/messages/algorithms.ts';
import { contradicts } from '../../src/spdm/messages/capabilities.ts';
import { allAlgorithms, selectAlgorithms } from '../../src/spdm/negotiation.ts';
import { runAttestation } from '../../src/spdm/requester/run.ts';
import { linkTo, realResponder, someNonce, trustLeaf } from './fixtures.ts';
import { postQuantumAlgorithms } from './postQuantumAlgorithms.ts';

const everything = { ...allAlgorithms, pqcAsym: 2, requesterPqcAsym: 2, kem: 2, mel: 1 };
const flags = () => fc.integer({ min: 0, max: 0x7fffffff });
const version = () => fc.constantFrom<SpdmVersion>(0x11, 0x12, 0x13, 0x14);

describe('ALGORITHMS and capabilities (DSP0274 §10.4)', () => {
  it('selects nothing for a capability that is off, and at most one bit each, in any profile of both sides', () => {
    const { keyExchange, psk, encrypt, mac, mutualAuthentication } = capability;
    fc.assert(
      fc.property(version(), flags(), flags(), fc.boolean(), (chosen, requester, responder, wish) => {
        const own = { ...everything, otherParams: everything.otherParams | (wish ? 0x10 : 0) };
        const selected = selectAlgorithms(chosen, everything, own, requester, responder);
        const both = requester & responder;
        const exchanging = (both & keyExchange) !== 0;
        const sessions = exchanging || ((requester & psk) !== 0 && (responder & psk) !== 0);
        const sealed = sessions && (both & encrypt) !== 0 && (both & mac) !== 0;
        const mutual = (both & mutualAuthentication) !== 0;
        const measuring = (responder & 0x18) !== 0;
        const signing = exchanging || (responder & 0x16) !== 0;
        expect((selected.dhe | (selected.kem ?? 0)) !== 0).toBe(exchanging);
        expect([selected.dhe === 0, (selected.kem ?? 0) === 0]).toContain(true);
        expect(selected.aead !== 0).toBe(sealed);
        expect(selected.keySchedule !== 0).toBe(sessions);
        expect((selected.requesterAsym | (selected.requesterPqcAsym ?? 0)) !== 0).toBe(mutual);
        expect((selected.baseAsym | (selected.pqcAsym ?? 0)) !== 0).toBe(signing);
        expect([selected.measurementSpecification !== 0, selected.measurementHash !== 0]).toEqual([measuring, measuring]);
        const requesterKeys = chosen >= 0x13 ? requester & capability.multiKey : 0;
        const manyKeys = requesterKeys !== 0 && (requesterKeys !== capability.multiKeyNegotiated || (own.otherParams & 0x10) !== 0);
        expect((selected.otherParams & 0x10) !== 0).toBe(manyKeys);
        for (const bits of Object.values(selected)) expect(bits & (bits - 1) & ~0x12).toBe(0);
        expect(decodeAlgorithms(encodeAlgorithms(chosen, selected, [2, 3, 4, 5, 6, 7]))).toMatchObject({
          dhe: selected.dhe,
          aead: selected.aead,
        });
      }),
      { numRuns: 500 },
    );
  });

  it('CERT and CHAL alone: hash, signature and opaque format, and an attestation without measurements', async () => {
    const only = capability.certificate | capability.challenge;
    const selected = selectAlgorithms(0x12, everything, everything, 0xffff, only);
    const { baseAsym, baseHash, otherParams, ...rest } = selected;
    expect([baseAsym, baseHash, otherParams]).toEqual([0x10, 0x1, 0x2]);
    expect(Object.values(rest).every(bits => bits === 0)).toBe(true);
    const capabilities = { flags: only, ctExponent: 0, dataTransferBytes: 0x1200, maxMessageBytes: 0x1200 };
    const responder = realResponder({ capabilities });
    const evidence = await runAttestation({ nonce: someNonce, capabilities, measurements: 'none' }, linkTo(responder));
    await expect(verifyEvidence(evidence, { nonce: someNonce, trust: trustLeaf })).resolves.toMatchObject({ slot: 0 });
  });

  it('a requester of 1.0: no flags, no structures, and its evidence verifies when 1.0 is accepted', async () => {
    const responder = realResponder({ versions: [0x10] });
    const evidence = await runAttestation({ nonce: someNonce, versions: [0x10] }, linkTo(responder));
    expect(evidence.vca.map(({ length }) => length)).toEqual([4, 8, 4, 12, 32, 36]);
    expect(evidence.measurements.map(({ length }) => length)).toEqual([36, 199]);
    const options = { nonce: someNonce, trust: trustLeaf };
    await expect(verifyEvidence(evidence, { ...options, versions: spdmVersions })).resolves.toMatchObject({ version: 0x10 });
    await expect(verifyEvidence(evidence, options)).rejects.toEqual(expect.objectContaining({ code: 'SPDM_UNSUPPORTED' }));
  });

  it('an algorithm structure is on the wire only for what is offered, those of post-quantum algorithms in 1.4 only', () => {
    const counts = (offer: AlgorithmBits) => [0x10, 0x11, 0x13, 0x14].map(chosen => encodeNegotiateAlgorithms(chosen, offer)[2]);
    expect(counts(postQuantumAlgorithms)).toEqual([0, 2, 2, 4]);
    expect(counts(allAlgorithms)).toEqual([0, 4, 4, 4]);
    expect(counts({ ...allAlgorithms, ...postQuantumAlgorithms, dhe: 8 })).toEqual([0, 3, 3, 5]);
  });

  it.each([
    ['KEY_EX without ENCRYPT and MAC', 0x11, 0x206, true],
    ['ENCRYPT without KEY_EX and PSK', 0x11, 0x46, true],
    ['MUT_AUTH without ENCAP in 1.1', 0x11, 0x3c6, true],
    ['MUT_AUTH without ENCAP in 1.2', 0x12, 0x203c6, false],
    ['PSK 2, which is a responder’s', 0x12, 0x208c2, true],
    ['CHAL without certificates', 0x12, 0x20004, true],
    ['HANDSHAKE_IN_THE_CLEAR with PSK alone', 0x12, 0x284c2, true],
    ['both kinds of multi-key', 0x13, 0xc020006, true],
    ['multi-key without certificates', 0x13, 0x4030004, true],
    ['both kinds of ENDPOINT_INFO', 0x13, 0xc20006, true],
    ['EVENT without sessions', 0x13, 0x2020006, true],
    ['the bits of EVENT in 1.2', 0x12, 0x2020006, false],
    ['nothing at all', 0x12, 0x20000, false],
  ] as const)('GET_CAPABILITIES: %s', (_, chosen, bits, bad) => {
    expect(contradicts(chosen, { flags: bits, ctExponent: 0, dataTransferBytes: 64, maxMessageBytes: 128 })).toBe(bad);
  });
});
