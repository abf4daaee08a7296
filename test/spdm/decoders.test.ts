import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { concat, toHex } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { decodeCertificateChain } from '../../src/spdm/certChain.ts';
import { capability } from '../../src/spdm/constants.ts';
import { type Evidence, verifyEvidence } from '../../src/spdm/evidence.ts';
import { decodeAlgorithms, decodeNegotiateAlgorithms } from '../../src/spdm/messages/algorithms.ts';
import { decodeCapabilities, decodeGetCapabilities } from '../../src/spdm/messages/capabilities.ts';
import { decodeCertificate, decodeGetCertificate } from '../../src/spdm/messages/certificate.ts';
import { decodeChallenge, decodeChallengeAuth } from '../../src/spdm/messages/challenge.ts';
import { decodeCsr, decodeGetCsr } from '../../src/spdm/messages/csr.ts';
import { decodeDigests, decodeGetDigests } from '../../src/spdm/messages/digests.ts';
import { decodeDeliverResponse, decodeEncapsulatedAck, decodeEncapsulatedRequest } from '../../src/spdm/messages/encapsulated.ts';
import { decodeError } from '../../src/spdm/messages/error.ts';
import { decodeFinish, decodeFinishRsp } from '../../src/spdm/messages/finish.ts';
import { decodeKeyExchange, decodeKeyExchangeRsp } from '../../src/spdm/messages/keyExchange.ts';
import { decodeKeyUpdate, decodeKeyUpdateAck } from '../../src/spdm/messages/keyUpdate.ts';
import { decodeGetMeasurements, decodeMeasurements } from '../../src/spdm/messages/measurements.ts';
import { decodePskExchange, decodePskExchangeRsp, decodePskFinish, decodePskFinishRsp } from '../../src/spdm/messages/psk.ts';
import { decodeHeadOnly } from '../../src/spdm/messages/sessionControl.ts';
import { decodeSetCertificate, decodeSetCertificateRsp } from '../../src/spdm/messages/setCertificate.ts';
import { decodeGetVersion, decodeVersion } from '../../src/spdm/messages/version.ts';
import { readAlgorithms } from '../../src/spdm/negotiation.ts';
import { type Algorithms, dheGroups, hashAlgorithms } from '../../src/spdm/suite.ts';
import { trustLeaf } from './fixtures.ts';
import { openRecords } from './recordedRecords.ts';
import { loadRecording, named, type Recording } from './recording.ts';

/** Every message of every recording, flipped, cut, lengthened, its lengths at 0 and at their largest (T27): the decoders, and the evidence. */

/** What a decoder must know beside the message. */
type Context = { readonly algorithms: Algorithms; readonly clearHandshake: boolean; readonly request: Uint8Array };
type Decoder = (message: Uint8Array, context: Context) => unknown;

const hashBytes = ({ algorithms }: Context): number => algorithms.hash.hashBytes;
const headOnly: Decoder = message => decodeHeadOnly(message, message[1]!, 'HEAD');

const decoders: Readonly<Record<number, Decoder>> = {
  1: (message, context) => decodeDigests(message, hashBytes(context), (message.length - 4) % hashBytes(context) !== 0),
  2: decodeCertificate,
  3: (message, { algorithms, request }) => decodeChallengeAuth(message, algorithms, request[3]!),
  4: decodeVersion,
  96: (message, { algorithms, request }) => decodeMeasurements(message, request[2]! & 1 ? algorithms.signature.signatureBytes : 0),
  97: decodeCapabilities,
  99: decodeAlgorithms,
  100: (message, context) =>
    decodeKeyExchangeRsp(
      message,
      context.algorithms,
      context.algorithms.dhe!,
      context.request[2]!,
      context.clearHandshake ? 0 : hashBytes(context),
    ),
  101: (message, context) => decodeFinishRsp(message, context.clearHandshake ? hashBytes(context) : 0),
  102: (message, context) => decodePskExchangeRsp(message, hashBytes(context), 0xff),
  103: decodePskFinishRsp,
  104: headOnly,
  105: decodeKeyUpdateAck,
  106: decodeEncapsulatedRequest,
  107: decodeEncapsulatedAck,
  108: headOnly,
  109: decodeCsr,
  110: decodeSetCertificateRsp,
  127: decodeError,
  129: decodeGetDigests,
  130: decodeGetCertificate,
  131: decodeChallenge,
  132: decodeGetVersion,
  224: decodeGetMeasurements,
  225: decodeGetCapabilities,
  227: decodeNegotiateAlgorithms,
  228: (message, { algorithms }) => decodeKeyExchange(message, algorithms.dhe ?? dheGroups[0]!),
  229: (message, context) => decodeFinish(message, hashBytes(context), context.algorithms.requesterSignature?.signatureBytes ?? 64),
  230: decodePskExchange,
  231: (message, context) => decodePskFinish(message, hashBytes(context)),
  232: headOnly,
  233: decodeKeyUpdate,
  234: headOnly,
  235: decodeDeliverResponse,
  236: headOnly,
  237: decodeGetCsr,
  238: decodeSetCertificate,
};

const folder = new URL('../vectors/spdm/', import.meta.url);
const recordings = readdirSync(folder)
  .filter(file => file.endsWith('.json'))
  .map(file => [file.replace('.json', ''), loadRecording(file.replace('.json', ''))] as const);

type Recorded = Context & { readonly message: Uint8Array };

/** PSK recordings negotiate no signature, so that what reads them needs a hash only. */
function contextOf(recording: Recording): Omit<Context, 'request'> {
  const [capabilities] = named(recording, 'GET_CAPABILITIES');
  const [negotiation] = named(recording, 'NEGOTIATE_ALGORITHMS');
  const requester = decodeGetCapabilities(capabilities!.request.message).flags;
  const responder = decodeCapabilities(capabilities!.response.message).flags;
  const algorithms = readAlgorithms(negotiation!.request.message, negotiation!.response.message, requester, responder);
  expect(hashAlgorithms).toContain(algorithms.hash);
  return { algorithms, clearHandshake: (requester & responder & capability.handshakeInTheClear) !== 0 };
}

/** Each message once, however often it was recorded. */
const messages = new Map<string, Recorded>();
const kinds = new Set<number>();
for (const [name, recording] of recordings) {
  const context = contextOf(recording);
  for (const { plain, isApplication } of openRecords(recording)) {
    for (const message of isApplication ? [] : plain) {
      kinds.add(message[1]!);
      messages.set(`${name.includes('p384')} ${toHex(message)}`, { ...context, request: plain[0], message });
    }
  }
}

/** Every place of a short message; behind that a sample. */
const wholeBytes = 256;
const sampleStep = 29;
const placesOf = ({ length }: Uint8Array): readonly number[] =>
  Array.from({ length }, (_, at) => at).filter(at => at < wholeBytes || at % sampleStep === 0 || at === length - 1);

function put(message: Uint8Array, at: number, bytes: readonly number[]): Uint8Array {
  const changed = Uint8Array.from(message);
  changed.set(bytes.slice(0, message.length - at), at);
  return changed;
}

const lengths = [
  [0, 0],
  [0xff, 0xff],
  [0xff, 0xff, 0xff],
  [0xff, 0xff, 0xff, 0xff],
];

function* changed(message: Uint8Array): Generator<Uint8Array> {
  for (const [at, byte] of message.entries()) for (const flip of [1, 0x80, 0xff]) yield put(message, at, [byte ^ flip]);
  for (const at of placesOf(message)) {
    for (const length of lengths) yield put(message, at, length);
    yield message.slice(0, at);
  }
  for (const more of [1, 300]) yield concat(message, new Uint8Array(more));
}

describe('every decoder with changed messages', () => {
  it('knows every message of every recording', () => {
    expect([...kinds].filter(kind => !decoders[kind])).toEqual([]);
    expect(
      Object.keys(decoders)
        .map(Number)
        .filter(kind => !kinds.has(kind)),
    ).toEqual([]);
  });

  it('reads what was recorded, and answers anything else with a result or SPDM_MALFORMED', () => {
    for (const { message, ...context } of messages.values()) {
      const decode = decoders[message[1]!]!;
      decode(message, context);
      for (const mutated of changed(message)) {
        try {
          decode(mutated, context);
        } catch (error) {
          const defined = error instanceof NusecError && error.code === 'SPDM_MALFORMED';
          if (!defined) expect.unreachable(`${toHex(mutated)}: ${error}`);
        }
      }
    }
  });

  it('refuses each cut of a message whose length is fixed', () => {
    // These carry whatever comes, or (DIGESTS) are read here by what their length says; of ERROR only the head is read.
    const open = new Set([1, 2, 106, 107, 127, 235, 238]);
    for (const { message, ...context } of messages.values()) {
      if (open.has(message[1]!)) continue;
      for (const length of placesOf(message))
        expect(() => decoders[message[1]!]!(message.slice(0, length), context), `${message[1]} cut at ${length}`).toThrow('');
    }
  });
});

/** What was signed in the clear: CHALLENGE_AUTH, or KEY_EXCHANGE_RSP. */
function evidenceOf(recording: Recording): { readonly evidence: Evidence; readonly nonce: Uint8Array } | undefined {
  const { exchanges } = recording;
  const at = exchanges.findIndex(({ name }) => name === 'CHALLENGE' || name === 'KEY_EXCHANGE');
  if (at < 0) return undefined;
  const both = (from: number, to: number) =>
    exchanges.slice(from, to).flatMap(({ request, response }) => [request.message, response.message]);
  const isSession = exchanges[at]!.name === 'KEY_EXCHANGE';
  const request = exchanges[at]!.request.message;
  const certificates = exchanges.slice(3, at).filter(({ name }) => name === 'GET_CERTIFICATE');
  const chain = certificates
    .map(({ response }) => decodeCertificate(response.message))
    .find(({ slot }) => slot === request[isSession ? 3 : 2]);
  const digests = exchanges.findLastIndex(({ name }, i) => name === 'GET_DIGESTS' && i < at);
  const evidence: Evidence = {
    kind: isSession ? 'session' : 'attestation',
    vca: both(0, 3),
    identity: isSession ? both(digests, digests + 1) : both(3, at),
    exchange: both(at, at + 1),
    measurements: [],
    chain: chain!.portion,
  };
  return {
    evidence,
    nonce: isSession ? decodeKeyExchange(request, contextOf(recording).algorithms.dhe!).random : decodeChallenge(request).nonce,
  };
}

const refusal = /^SPDM_(MALFORMED|UNEXPECTED|UNSUPPORTED|SIGNATURE)$/;

/** One flip of each place, some cuts, and more behind the end. */
function* tampered(message: Uint8Array): Generator<Uint8Array> {
  for (const [at, byte] of message.entries()) yield put(message, at, [byte ^ (1 << (at % 8))]);
  for (const length of [0, 1, 3, 4, message.length >> 1, message.length - 1]) yield message.slice(0, length);
  yield concat(message, new Uint8Array(1));
}

/** The same bytes one after the other, with another end of message `i` − 1. */
function shifted(list: readonly Uint8Array[], i: number): readonly Uint8Array[] {
  const longer = concat(list[i - 1]!, list[i]!.subarray(0, 1));
  return list.with(i - 1, longer).with(i, list[i]!.subarray(1));
}

function* tamperedEvidence(evidence: Evidence): Generator<readonly [string, Evidence]> {
  for (const field of ['vca', 'identity', 'exchange'] as const)
    for (const [i, message] of evidence[field].entries())
      for (const other of tampered(message))
        yield [`${field} ${i} ${toHex(other)}`, { ...evidence, [field]: evidence[field].with(i, other) }];
  for (const field of ['vca', 'identity', 'exchange'] as const)
    for (let i = 1; i < evidence[field].length; i += 1)
      yield [`${field} ${i} cut elsewhere`, { ...evidence, [field]: shifted(evidence[field], i) }];
  for (const chain of tampered(evidence.chain)) yield [`chain ${toHex(chain)}`, { ...evidence, chain }];
}

/** ResponderVerifyData stands behind the signature (only the requester of the session can check it), and the signature of a session covers no DIGESTS
 *  unless there are several key pairs. @returns the evidence without them */
function signedPart(recording: Recording, { kind, exchange, identity, ...rest }: Evidence): string {
  if (kind === 'attestation') return JSON.stringify([exchange, identity, rest]);
  const { algorithms, clearHandshake } = contextOf(recording);
  const tail = clearHandshake ? 0 : algorithms.hash.hashBytes;
  const response = exchange[1]!.subarray(0, exchange[1]!.length - tail);
  return JSON.stringify([exchange[0], exchange[1]!.length, response, algorithms.multiKey ? identity[1] : [], rest]);
}

describe('recorded evidence with changed messages', () => {
  const signed = recordings.flatMap(([name, recording]) => {
    const found = evidenceOf(recording);
    return found ? [[name, recording, found] as const] : [];
  });

  it('there is some in every recording but those without CHALLENGE and KEY_EXCHANGE', () => {
    const without = recordings.map(([name]) => name).filter(name => !signed.some(([one]) => one === name));
    expect(without).toEqual(['c-spdm12-p256-measurements-onebyone-raw', 'f-spdm12-psk-session-mctp']);
  });

  it.each(signed)('%s: is good as recorded, and never when what is signed is changed', async (_, recording, { evidence, nonce }) => {
    const key = trustLeaf(decodeCertificateChainOf(recording, evidence));
    const options = { nonce, trust: () => key, versions: [0x11, 0x12, 0x13, 0x14] as const };
    await verifyEvidence(evidence, options);
    const asRecorded = signedPart(recording, evidence);
    const attempt = async ([what, changedEvidence]: readonly [string, Evidence]): Promise<void> => {
      const outcome = await verifyEvidence(changedEvidence, options).then(
        () => (signedPart(recording, changedEvidence) === asRecorded ? 'the same' : `accepted: ${what}`),
        error => (error instanceof NusecError && refusal.test(error.code) ? 'refused' : `${what}: ${error}`),
      );
      if (outcome !== 'refused') expect(outcome).toBe('the same');
    };
    const all = tamperedEvidence(evidence);
    const worker = async (): Promise<void> => {
      for (const one of all) await attempt(one);
    };
    await Promise.all(Array.from({ length: 8 }, worker));
  });
});

const decodeCertificateChainOf = (recording: Recording, { vca, chain }: Evidence) =>
  decodeCertificateChain(vca[2]![0]!, contextOf(recording).algorithms.hash, chain).certificates;
