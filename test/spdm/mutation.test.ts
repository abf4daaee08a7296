import { describe, expect, it } from 'vitest';
import { concat, toHex } from '../../src/bytes.ts';
import { capability, type Wire } from '../../src/spdm/constants.ts';
import { type Evidence, verifyEvidence } from '../../src/spdm/evidence.ts';
import { continueAttestation, startAttestation } from '../../src/spdm/requester/attestation.ts';
import { requesterFlags } from '../../src/spdm/requester/identify.ts';
import { runSessionSetup } from '../../src/spdm/requester/run.ts';
import { createSessionSetup } from '../../src/spdm/requester/sessionSetup.ts';
import { createResponder, deviceFlags } from '../../src/spdm/responder/responder.ts';
import { covers } from '../support/covers.ts';
import { countingRandom, linkTo, realResponder, realSlot, someMeasurements, someNonce, trustLeaf } from './fixtures.ts';
import { loadRecording, named } from './recording.ts';

/** Every message flipped byte by byte, cut and lengthened (T27). */

const refusal = /^SPDM_(MALFORMED|UNEXPECTED|UNSUPPORTED|SIGNATURE|RECORD)$/;

/** Flips of each byte, every length below, and three lengths above. Long messages are flipped at every seventh byte behind their head. */
function mutations(message: Uint8Array): readonly Uint8Array[] {
  const places = Array.from({ length: message.length }, (_, at) => at).filter(at => at < 64 || message.length < 600 || at % 7 === 0);
  const flips = places.flatMap(at => [0x01, 0x80, 0xff].map(flip => message.map((byte, i) => (i === at ? byte ^ flip : byte))));
  const cuts = places.map(at => message.slice(0, at));
  return [...flips, ...cuts, ...[1, 4, 64].map(extra => concat(message, new Uint8Array(extra)))];
}

describe('a requester that is answered with changed messages', () => {
  it('attestation: refuses each of them, at the latest when the evidence is verified', async () => {
    covers('T27');
    const responder = linkTo(realResponder());
    const requests: Uint8Array[] = [];
    const responses: Uint8Array[] = [];
    let step = startAttestation({ nonce: someNonce });
    const states = [];
    while ('send' in step) {
      states.push(step.state);
      requests.push(step.send);
      responses.push((await responder({ kind: 'clear', message: step.send })).message);
      step = continueAttestation(step.state, responses.at(-1)!);
    }
    const accepted: string[] = [];
    for (const [i, state] of states.entries()) {
      for (const mutated of mutations(responses[i]!)) {
        const attempt = async (): Promise<void> => {
          let next = continueAttestation(state, mutated);
          for (let j = i + 1; 'send' in next; j += 1) next = continueAttestation(next.state, responses[j] ?? new Uint8Array());
          const evidence: Evidence = next.evidence;
          await verifyEvidence(evidence, { trust: () => trustLeaf(realSlot().certificates), nonce: someNonce });
        };
        await attempt().then(
          () => accepted.push(toHex(mutated)),
          error => expect(error.code).toMatch(refusal),
        );
      }
    }
    expect(accepted).toEqual([]);
  });

  it.each([
    ['encrypted handshake', 0],
    ['handshake in the clear', capability.handshakeInTheClear],
  ])('session, %s: refuses each of them, unless nothing depends on the byte', async (_, extra) => {
    const sizes = { ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };
    const options = () => ({
      nonce: someNonce,
      trust: () => trustLeaf(realSlot().certificates),
      randomBytes: countingRandom('requester'),
      capabilities: { ...sizes, flags: requesterFlags | extra },
    });
    const responder = linkTo(realResponder({ capabilities: { ...sizes, flags: deviceFlags | extra } }));
    const responses: Wire[] = [];
    const { session } = await runSessionSetup(options(), async wire => {
      responses.push(await responder(wire));
      return responses.at(-1)!;
    });
    const secret = toHex(session.exporterSecret().secret);
    const accepted: string[] = [];
    for (const [i, response] of responses.entries()) {
      for (const message of mutations(response.message)) {
        const attempt = async (): Promise<string> => {
          const setup = createSessionSetup(options());
          let step = setup.start();
          for (let j = 0; 'send' in step; j += 1) step = await setup.receive(i === j ? { ...response, message } : responses[j]!);
          return toHex(step.session.exporterSecret().secret);
        };
        await attempt().then(
          result => {
            expect(result).toBe(secret);
            accepted.push(toHex(message.subarray(1, 4)));
          },
          error => expect(error.code).toMatch(refusal),
        );
      }
    }
    // Reserved bytes of DIGESTS (01) and CERTIFICATE (02), which the transcript of a session does not cover and nobody reads.
    expect(accepted.filter(head => !head.startsWith('01') && !head.startsWith('02'))).toEqual([]);
  });
});

describe('a responder that is sent changed messages', () => {
  const fresh = () =>
    createResponder({
      slots: [{ ...realSlot(), sign: async () => new Uint8Array(64).fill(1) }],
      randomBytes: countingRandom(),
      measurements: () => someMeasurements,
      capabilities: {
        flags: deviceFlags | capability.handshakeInTheClear,
        ctExponent: 0,
        dataTransferBytes: 0x1200,
        maxMessageBytes: 0x1200,
      },
      binding: 'tcp',
      onFault: error => expect.unreachable(String(error)),
    });

  it.each(['c-spdm12-p256-measurements', 'e-spdm12-p256-session-nomut-tcp'])(
    '%s: answers each with a response, and ERROR when the length is wrong',
    async name => {
      const requests = loadRecording(name)
        .exchanges.map(({ request }) => request)
        .slice(0, 12);
      for (const [i, request] of requests.entries()) {
        for (const message of mutations(request.message)) {
          const responder = fresh();
          for (const before of requests.slice(0, i)) await responder.handle(before);
          const answer = await responder.handle({ ...request, message });
          const { message: response, kind } = answer!;
          expect(kind).toBe('clear');
          if (message.length !== request.message.length) expect([toHex(message), response[1]]).toEqual([toHex(message), 0x7f]);
          else expect([0x7f, (message[1]! & 0x7f) as number]).toContain(response[1]);
          expect(toHex((await responder.handle(requests[0]!))!.message)).toBe('1004000000010012');
        }
      }
    },
  );

  it('any bytes, in the clear or as a record: an answer, never an exception', async () => {
    const random = countingRandom('noise');
    const responder = fresh();
    for (let i = 0; i < 2000; i += 1) {
      const message = random(random(1)[0]! % 80);
      if (message.length > 1) message[0] = [0x10, 0x12][i % 2]!;
      const answer = await responder.handle({ kind: i % 3 === 0 ? 'secured' : 'clear', message });
      expect(answer!.message.length).toBeGreaterThanOrEqual(4);
    }
  });

  it('a thousand unsigned measurements: what is kept for the signature is bounded', async () => {
    const requests = named(loadRecording('c-spdm12-p256-measurements'), 'GET_MEASUREMENTS')[0]!;
    expect(requests.request.message.length).toBe(37);
    const responder = realResponder({ measurements: () => [{ index: 1, type: 1, form: 'raw', value: new Uint8Array(3000) }] });
    for (const hex of [
      '10840000',
      toHex(named(loadRecording('a-spdm12-p256-challenge'), 'GET_CAPABILITIES')[0]!.request.message),
      toHex(named(loadRecording('a-spdm12-p256-challenge'), 'NEGOTIATE_ALGORITHMS')[0]!.request.message),
    ]) {
      await responder.handle({ kind: 'clear', message: Uint8Array.from(Buffer.from(hex, 'hex')) });
    }
    const codes = new Set<number>();
    for (let i = 0; i < 100; i += 1)
      codes.add((await responder.handle({ kind: 'clear', message: Uint8Array.of(0x12, 0xe0, 0, 1) }))!.message[1]!);
    expect([...codes].sort()).toEqual([0x60, 0x7f].sort());
  });
});
