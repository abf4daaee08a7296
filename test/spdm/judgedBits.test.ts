import { describe, expect, it } from 'vitest';
import { capability, maxMessageBytes, type SpdmVersion, type Wire } from '../../src/spdm/constants.ts';
import { type Evidence, verifyEvidence } from '../../src/spdm/evidence.ts';
import { type KeyPairInfo, keyUse } from '../../src/spdm/messages/digests.ts';
import { p256Algorithms } from '../../src/spdm/negotiation.ts';
import { defaultIdentifyOptions, requesterFlags } from '../../src/spdm/requester/identify.ts';
import { runAttestation, runSessionSetup } from '../../src/spdm/requester/run.ts';
import { deviceFlags } from '../../src/spdm/responder/responder.ts';
import { signingInput } from '../../src/spdm/signature.ts';
import { hashAlgorithms } from '../../src/spdm/suite.ts';
import { challengeTranscript, measurementTranscript } from '../../src/spdm/transcript.ts';
import { countingRandom, linkTo, realResponder, realSlot, someNonce, trustLeaf } from './fixtures.ts';

/** Bits in signed messages that say something: they are judged, not masked away. */

const signatureBytes = 64;
const sha256 = hashAlgorithms[0]!;
const verify = (evidence: Evidence) => verifyEvidence(evidence, { nonce: someNonce, trust: trustLeaf });
const code = (name: string) => expect.objectContaining({ code: name });

/** The last message changed, and signed again by the device itself. */
async function resigned(evidence: Evidence, which: 'exchange' | 'measurements', change: (message: Uint8Array) => void): Promise<Evidence> {
  const messages = evidence[which];
  const body = messages.at(-1)!.slice(0, -signatureBytes);
  change(body);
  const { vca, identity } = evidence;
  const [context, transcript] =
    which === 'exchange'
      ? (['responder-challenge_auth signing', challengeTranscript({ vca, identity, measurements: [] }, messages[0]!, body)] as const)
      : (['responder-measurements signing', measurementTranscript(0x12, vca, [messages[0]!, body])] as const);
  const signature = await realSlot().sign(signingInput(0x12, sha256, context, transcript), 'sha256');
  return { ...evidence, [which]: [messages[0]!, new Uint8Array([...body, ...signature])] };
}

describe('what a signed MEASUREMENTS says of changes (DSP0274 §10.11)', () => {
  const withBits = async (bits: number) => {
    const evidence = await runAttestation({ nonce: someNonce }, linkTo(realResponder()));
    return verify(
      await resigned(evidence, 'measurements', message => {
        message[3] = (message[3]! & ~0x30) | bits;
      }),
    );
  };
  it('is told to whoever judges: changed, unchanged, not watched', async () => {
    expect((await withBits(0x10)).contentChanged).toBe(true);
    expect((await withBits(0x20)).contentChanged).toBe(false);
    expect((await withBits(0x00)).contentChanged).toBe(false);
    await expect(withBits(0x30)).rejects.toEqual(code('SPDM_MALFORMED'));
  });
});

describe('what CHALLENGE_AUTH says of its slot (DSP0274 §10.8)', () => {
  const withChange = async (change: (message: Uint8Array) => void) => {
    const evidence = await runAttestation({ nonce: someNonce }, linkTo(realResponder()));
    return verify(await resigned(evidence, 'exchange', change));
  };
  it('refuses one that wants us to prove ourselves too, and one whose own mask says that the slot is empty', async () => {
    await expect(withChange(() => undefined)).resolves.toBeDefined();
    const mutual = (message: Uint8Array) => {
      message[2]! |= 0x80;
    };
    await expect(withChange(mutual)).rejects.toEqual(code('SPDM_UNSUPPORTED'));
    const empty = (message: Uint8Array) => {
      message[3] = 0x02;
    };
    await expect(withChange(empty)).rejects.toEqual(code('SPDM_UNEXPECTED'));
    const change = (by: (message: Uint8Array) => void) => {
      const link = linkTo(realResponder());
      return async (wire: Wire): Promise<Wire> => {
        const answer = await link(wire);
        if (wire.message[1] === 0x83) by(answer.message);
        return answer;
      };
    };
    await expect(runAttestation({ nonce: someNonce }, change(mutual))).rejects.toEqual(code('SPDM_UNSUPPORTED'));
    await expect(runAttestation({ nonce: someNonce }, change(empty))).rejects.toEqual(code('SPDM_UNEXPECTED'));
  });
});

describe.each([0x13, 0x14] as const)('what DIGESTS say of a key on connections with several keys, version %i (DSP0274 §10.6)', version => {
  const { keyExchange, challenge, measurements } = keyUse;
  const all = keyExchange | challenge | measurements;
  const device: KeyPairInfo = { keyPairId: 1, certificateInfo: 1, keyUsage: all };
  const options = {
    versions: [version as SpdmVersion],
    capabilities: { ...defaultIdentifyOptions.capabilities, flags: requesterFlags | capability.multiKeyNegotiated },
    algorithms: { ...p256Algorithms, otherParams: 0x12 },
    nonce: someNonce,
  };
  /** A responder that does not refuse itself; `told` is what its DIGESTS say of it. */
  const linkWith = (told: Partial<KeyPairInfo>, slot = 0, model = told.certificateInfo ?? 1) => {
    const slots = Array.from({ length: slot }, () => undefined);
    const keyPair = { ...device, certificateInfo: model };
    const responder = realResponder({
      versions: [version],
      capabilities: { flags: deviceFlags | capability.multiKeyNegotiated, ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes },
      algorithms: { ...p256Algorithms, otherParams: 0x12 },
      slots: [...slots, { ...realSlot(), keyPair: { ...keyPair, ...told, keyUsage: told.keyUsage ?? all } }],
    });
    return linkTo(responder);
  };
  const attest = (link: (wire: Wire) => Promise<Wire>, slot = 0) => runAttestation({ ...options, slot }, link);

  it('takes a device or alias key for all, a generic one in another slot than 0', async () => {
    for (const certificateInfo of [1, 2])
      await expect(verify(await attest(linkWith({ certificateInfo })))).resolves.toMatchObject({ version });
    await expect(verify(await attest(linkWith({ certificateInfo: 3 }, 1), 1))).resolves.toMatchObject({ slot: 1 });
  });

  it('refuses a generic certificate in slot 0, no or a reserved model, and no key pair', async () => {
    for (const told of [{ certificateInfo: 3 }, { certificateInfo: 0 }, { certificateInfo: 5 }, { keyPairId: 0 }])
      await expect(attest(linkWith(told))).rejects.toEqual(code('SPDM_UNEXPECTED'));
  });

  it('asks no key for what it is not for, and believes no signature of such a key', async () => {
    const told = (keyUsage: number) =>
      lying(linkWith({}), message => {
        message[message.length - 2] = keyUsage;
      });
    for (const keyUsage of [keyExchange, keyExchange | measurements, keyExchange | challenge])
      await expect(attest(told(keyUsage))).rejects.toThrow('is not for this use');
    const session = { ...options, randomBytes: countingRandom('requester'), trust: trustLeaf };
    await expect(runSessionSetup(session, told(challenge | measurements))).rejects.toThrow('is not for this use');
    const lax = await runAttestation({ ...options, uses: [] }, told(keyExchange));
    await expect(verify(lax)).rejects.toEqual(code('SPDM_UNSUPPORTED'));
  });

  it('refuses a certificate of another model than DIGESTS say', async () => {
    const link = linkWith({});
    const other = async (wire: Wire): Promise<Wire> => {
      const answer = await link(wire);
      if (wire.message[1] === 0x82) answer.message[3] = 2;
      return answer;
    };
    await expect(attest(other)).rejects.toEqual(code('SPDM_UNEXPECTED'));
  });
});

/** Changes DIGESTS on their way. */
const lying =
  (link: (wire: Wire) => Promise<Wire>, change: (message: Uint8Array) => void) =>
  async (wire: Wire): Promise<Wire> => {
    const answer = await link(wire);
    if (wire.message[1] !== 0x81) return answer;
    const message = answer.message.slice();
    change(message);
    return { kind: 'clear', message };
  };
