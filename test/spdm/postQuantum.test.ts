import { generateKeyPairSync, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { platformKem } from '../../src/cli/spdm/kem.ts';
import type { CertSlot } from '../../src/spdm/certSlot.ts';
import { capability, type Wire } from '../../src/spdm/constants.ts';
import { verifyEvidence } from '../../src/spdm/evidence.ts';
import { allAlgorithms } from '../../src/spdm/negotiation.ts';
import { requesterFlags } from '../../src/spdm/requester/identify.ts';
import { runAttestation, runSessionSetup } from '../../src/spdm/requester/run.ts';
import { deviceFlags } from '../../src/spdm/responder/responder.ts';
import { signingContextOf, signingInput } from '../../src/spdm/signature.ts';
import { hashAlgorithms } from '../../src/spdm/suite.ts';
import { countingRandom, linkTo, realResponder, realSlot, someNonce, trustLeaf } from './fixtures.ts';
import { postQuantumAlgorithms } from './postQuantumAlgorithms.ts';

/** ML-DSA-65 and ML-KEM-768 (1.4). Certificates are placeholders here: SPDM only looks at their outer length, chains are judged by `trust`. */

const code = (name: string) => expect.objectContaining({ code: name });
const certificate = Uint8Array.from([0x30, 0x82, 0x08, 0x00, ...new Uint8Array(2048).fill(5)]);
const kem = platformKem()!;
const sizes = { ctExponent: 0, dataTransferBytes: 0x1200, maxMessageBytes: 0x4000 };
const flags = capability.chunk | capability.mutualAuthentication | capability.encapsulated | capability.largeResponse;
const responderSide = mlDsaSlot();
const requesterSide = mlDsaSlot();

function mlDsaSlot() {
  const { publicKey, privateKey } = generateKeyPairSync('ml-dsa-65');
  const signature = (input: Uint8Array) => sign(null, input, { key: privateKey, context: signingContextOf(input) } as never);
  const slot: CertSlot = { certificates: [certificate], sign: async input => new Uint8Array(signature(input)) };
  return { slot, publicKey };
}

const pqResponder = (algorithms = postQuantumAlgorithms) =>
  realResponder({
    versions: [0x14],
    slots: [responderSide.slot],
    capabilities: { ...sizes, flags: deviceFlags | flags },
    algorithms,
    kem,
    onApplicationData: async (_, data) => data,
    mutualAuthentication: { how: 'encapsulated', slot: 0, required: true, trust: () => requesterSide.publicKey },
  });
const pqRequester = {
  nonce: someNonce,
  trust: () => responderSide.publicKey,
  randomBytes: countingRandom('requester'),
  versions: [0x14] as const,
  capabilities: { ...sizes, flags: requesterFlags | flags },
  algorithms: postQuantumAlgorithms,
  kem,
  ownSlots: [requesterSide.slot],
};

describe('post-quantum algorithms (DSP0274 1.4)', () => {
  it('attestation with ML-DSA-65: the evidence verifies, with the right key only', async () => {
    const evidence = await runAttestation(pqRequester, linkTo(pqResponder()));
    const options = { nonce: someNonce, trust: pqRequester.trust };
    await expect(verifyEvidence(evidence, options)).resolves.toMatchObject({ version: 0x14, slot: 0 });
    const other = { ...options, trust: () => requesterSide.publicKey };
    await expect(verifyEvidence(evidence, other)).rejects.toEqual(code('SPDM_SIGNATURE'));
    const classic = { ...options, trust: () => trustLeaf(realSlot().certificates) };
    await expect(verifyEvidence(evidence, classic)).rejects.toEqual(code('SPDM_SIGNATURE'));
  });

  it('a session with ML-KEM-768, both sides authenticated with ML-DSA-65', async () => {
    const responder = pqResponder();
    const { session, mutual, connection } = await runSessionSetup(pqRequester, linkTo(responder));
    expect([mutual, connection.algorithms?.dhe, connection.algorithms?.signature.bit]).toMatchObject([true, { mlKem: 'ml-kem-768' }, 2]);
    expect(responder.exporterSecret()).toEqual(session.exporterSecret());
    const record = session.seal(Uint8Array.of(0x7f, 1));
    expect(session.open((await linkTo(responder)({ kind: 'secured', message: record })).message)).toEqual(Uint8Array.of(0x7f, 1));
  });

  it.each([0, capability.handshakeInTheClear])(
    'chains of 22 KiB, both sides authenticated, in transfers of 64 bytes (handshake flag %i)',
    async clearFlag => {
      const small = { ...sizes, dataTransferBytes: 64, maxMessageBytes: 0x8000 };
      const certificates = Array.from({ length: 4 }, () => Uint8Array.from([0x30, 0x82, 0x15, 0xdc, ...new Uint8Array(0x15dc).fill(6)]));
      const own = flags | clearFlag;
      const responder = realResponder({
        versions: [0x14],
        slots: [{ ...responderSide.slot, certificates }],
        capabilities: { ...small, flags: deviceFlags | own },
        algorithms: postQuantumAlgorithms,
        kem,
        mutualAuthentication: { how: 'encapsulated', slot: 0, required: true, trust: () => requesterSide.publicKey },
      });
      const ownSlots = [{ ...requesterSide.slot, certificates }];
      const longest: number[] = [];
      const link = async (wire: Wire): Promise<Wire> => {
        const answer = await linkTo(responder)(wire);
        longest.push(...[wire, answer].flatMap(({ kind, message }) => (kind === 'clear' ? message.length : [])));
        return answer;
      };
      const requester = { ...pqRequester, capabilities: { ...small, flags: requesterFlags | own }, ownSlots, portionBytes: 0x8000 };
      const { mutual, session } = await runSessionSetup(requester, link);
      expect([mutual, Math.max(...longest)]).toEqual([true, 64]);
      expect(responder.exporterSecret()).toEqual(session.exporterSecret());
    },
  );

  it('a changed ciphertext or encapsulation key ends the handshake', async () => {
    for (const changed of [0x64, 0xe4]) {
      const responder = linkTo(pqResponder());
      const flip = (wire: Wire): Wire =>
        wire.message[1] === changed ? { ...wire, message: wire.message.map((byte, i) => (i === 700 ? byte ^ 1 : byte)) } : wire;
      await expect(runSessionSetup(pqRequester, async wire => flip(await responder(flip(wire))))).rejects.toEqual(code('SPDM_SIGNATURE'));
    }
  });

  it('is not selected before 1.4, beside a classic algorithm, or without ML-KEM on the platform', async () => {
    const both = { ...allAlgorithms, pqcAsym: 2, requesterPqcAsym: 2, kem: 2, baseHash: 0x2 };
    const { connection } = await runSessionSetup({ ...pqRequester, algorithms: both }, linkTo(pqResponder(both)));
    expect(connection.algorithms?.signature.bit).toBe(2);
    const older = realResponder({ versions: [0x13], algorithms: { ...both, baseAsym: 0x10, baseHash: 1 }, slots: [realSlot()] });
    const requester = { ...pqRequester, versions: [0x13] as const, algorithms: { ...both, baseHash: 3 }, trust: trustLeaf };
    const { connection: classic } = await runSessionSetup(requester, linkTo(older));
    expect(classic.algorithms?.signature).toMatchObject({ curve: 'P-256' });
    const { kem: _, ...without } = pqRequester;
    await expect(runSessionSetup(without, linkTo(pqResponder()))).rejects.toEqual(code('SPDM_UNSUPPORTED'));
  });

  it('takes its context string out of the signing input', () => {
    for (const context of ['responder-challenge_auth signing', 'requester-finish signing'] as const) {
      const input = signingInput(0x14, hashAlgorithms[1]!, context, new Uint8Array(10));
      expect(Buffer.from(signingContextOf(input)).toString()).toBe(context);
    }
  });
});
