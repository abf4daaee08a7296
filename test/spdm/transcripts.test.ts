import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex } from '../../src/bytes.ts';
import { encodeCertificateChain } from '../../src/spdm/certChain.ts';
import { capability, type Wire } from '../../src/spdm/constants.ts';
import { type Evidence, verifyEvidence } from '../../src/spdm/evidence.ts';
import { p256Algorithms } from '../../src/spdm/negotiation.ts';
import { sessionAsk } from '../../src/spdm/requester/delivery.ts';
import { defaultIdentifyOptions, requesterFlags } from '../../src/spdm/requester/identify.ts';
import { runAttestation, runSessionSetup } from '../../src/spdm/requester/run.ts';
import { deviceFlags, type ResponderOptions } from '../../src/spdm/responder/responder.ts';
import { hashAlgorithms } from '../../src/spdm/suite.ts';
import { beforeRequest, emptyTranscript, sessionTranscriptHead, withDigests, withVca } from '../../src/spdm/transcript.ts';
import { countingRandom, linkTo, realResponder, realSlot, someNonce, trustLeaf } from './fixtures.ts';

type Pair = readonly [Uint8Array, Uint8Array];
const signatureError = expect.objectContaining({ code: 'SPDM_SIGNATURE' });
const verify = (evidence: Evidence) => verifyEvidence(evidence, { trust: trustLeaf, nonce: someNonce });
const chain = encodeCertificateChain(0x12, hashAlgorithms[0]!, realSlot().certificates);
const challenge = `12830000${toHex(someNonce)}`;
const signedSecond = `12e00102${toHex(someNonce)}00`;

/** VCA, then these requests, with the responses as they are. */
async function conversation(requests: readonly string[], options: Partial<ResponderOptions> = {}) {
  const { capabilities = defaultIdentifyOptions.capabilities } = options;
  const link = linkTo(realResponder(options));
  const ask = async (message: Uint8Array): Promise<Uint8Array> => (await link({ kind: 'clear', message })).message;
  const vca: Uint8Array[] = [];
  const onlyVca = async ({ message }: Wire): Promise<Wire> => {
    if (vca.length === 6) throw new Error('VCA is over');
    const answer = await ask(message);
    vca.push(message, answer);
    return { kind: 'clear', message: answer };
  };
  await expect(runAttestation({ nonce: someNonce, capabilities }, onlyVca)).rejects.toThrow('VCA is over');
  const pairs: Pair[] = [];
  for (const hex of requests) pairs.push([fromHex(hex), await ask(fromHex(hex))]);
  return { vca, pairs, ask };
}

describe('M1/M2 (DSP0274 §10.8.2)', () => {
  it('begins B anew with each GET_DIGESTS, in both roles', async () => {
    const { vca, pairs } = await conversation(['12810000', '1282000000000004', '12810000', challenge]);
    const evidence = (identity: readonly Uint8Array[]): Evidence => ({
      kind: 'attestation',
      vca,
      identity,
      exchange: [...pairs[3]!],
      measurements: [],
      chain,
    });
    await expect(verify(evidence(pairs[2]!))).resolves.toMatchObject({ slot: 0 });
    await expect(verify(evidence(pairs.slice(0, 3).flat()))).rejects.toEqual(signatureError);
  });

  it('leaves B alone when CHUNK_GET fetches a long DIGESTS', async () => {
    const slots = Array.from({ length: 3 }, () => realSlot());
    const capabilities = { flags: deviceFlags | capability.chunk, ctExponent: 0, dataTransferBytes: 64, maxMessageBytes: 0x2000 };
    const link = linkTo(realResponder({ slots, capabilities }));
    const evidence = await runAttestation({ nonce: someNonce, measurements: 'none', capabilities }, link);
    await expect(verify(evidence)).resolves.toMatchObject({ slot: 0 });
  });
});

describe('D, the DIGESTS of a session (DSP0274 1.3 §17)', () => {
  it('is the one right after ALGORITHMS, whatever DIGESTS come later', async () => {
    let keyPairId = 1;
    const slots = () => [{ ...realSlot(), keyPair: { keyPairId, certificateInfo: 1, keyUsage: 0x0f } }];
    const capabilities = {
      flags: deviceFlags | capability.multiKeyNegotiated,
      ctExponent: 0,
      dataTransferBytes: 1024,
      maxMessageBytes: 1024,
    };
    const algorithms = { ...p256Algorithms, otherParams: 0x12 };
    const responder = realResponder({ versions: [0x13], slots, capabilities, algorithms });
    const link = async (wire: Wire): Promise<Wire> => {
      if (wire.message[1] === 0xe4) {
        keyPairId = 2;
        expect(toHex((await linkTo(responder)({ kind: 'clear', message: fromHex('13810000') })).message).slice(0, 4)).toBe('1301');
      }
      return linkTo(responder)(wire);
    };
    const random = { nonce: someNonce, randomBytes: countingRandom('requester') };
    const own = { versions: [0x13] as const, capabilities: { ...capabilities, flags: requesterFlags }, algorithms };
    const { session, connection } = await runSessionSetup({ ...random, ...own, trust: trustLeaf }, link);
    expect(connection.algorithms?.multiKey).toBe(true);
    expect(responder.exporterSecret()).toEqual(session.exporterSecret());
  });

  it('is empty when something else came first', () => {
    const vca = withVca(emptyTranscript, ...Array.from({ length: 6 }, (_, i) => Uint8Array.of(i)));
    const [request, response] = [Uint8Array.of(0x81), Uint8Array.of(0x01)];
    const head = (transcript: typeof vca) => toHex(sessionTranscriptHead(transcript, true, Uint8Array.of(0xcc)));
    expect(head(withDigests(beforeRequest(vca, 0x81), request, response))).toBe('00010203040501cc');
    expect(head(withDigests(beforeRequest(beforeRequest(vca, 0x82), 0x81), request, response))).toBe('000102030405cc');
  });
});

describe('L1/L2 (DSP0274 §10.11.3)', () => {
  it('leaves unsigned measurements alone when CHUNK_GET fetches them', async () => {
    const capabilities = { flags: deviceFlags | capability.chunk, ctExponent: 0, dataTransferBytes: 64, maxMessageBytes: 0x2000 };
    const { vca, pairs, ask } = await conversation([challenge], { capabilities });
    const fetched = async (hex: string): Promise<Pair> => {
      let response = await ask(fromHex(hex));
      const parts: Uint8Array[] = [];
      for (let handle = response[4]!, sequence = 0, last = false; response[1] === 0x7f || !last; sequence += 1) {
        const chunk = await ask(Uint8Array.of(0x12, 0x86, 0, handle, sequence, 0));
        last = (chunk[2]! & 1) !== 0;
        parts.push(chunk.subarray(sequence === 0 ? 16 : 12));
        response = chunk;
      }
      return [fromHex(hex), concat(...parts)];
    };
    expect(toHex(pairs[0]![1])).toMatch(/^127f0f00/);
    const first = await fetched(challenge);
    const exchange = [...first] as [Uint8Array, Uint8Array];
    const measurements = [await fetched('12e00001'), await fetched(signedSecond)].flat();
    const evidence: Evidence = { kind: 'attestation', vca, identity: [], exchange, measurements, chain };
    await expect(verify(evidence)).resolves.toMatchObject({ slot: 0 });
  });

  it('of a session is emptied by any other request in it', async () => {
    const responder = realResponder();
    const link = linkTo(responder);
    const options = { nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom('requester') };
    const { session, evidence } = await runSessionSetup(options, link);
    const ask = sessionAsk(session, link);
    const say = async (hex: string): Promise<Pair> => [fromHex(hex), await ask(fromHex(hex))];
    const kept = [await say('12e00001'), await say(signedSecond)];
    await expect(verify({ ...evidence, measurements: kept.flat() })).resolves.toMatchObject({ slot: 0 });
    await say('12e00001');
    expect(toHex((await say('12e80000'))[1])).toBe('12680000');
    await expect(verify({ ...evidence, measurements: [...(await say(signedSecond))] })).resolves.toMatchObject({ slot: 0 });
  });
});
