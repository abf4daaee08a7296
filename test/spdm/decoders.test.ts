import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { concat, toHex } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { decodeAlgorithms, decodeNegotiateAlgorithms } from '../../src/spdm/messages/algorithms.ts';
import { decodeCapabilities, decodeGetCapabilities } from '../../src/spdm/messages/capabilities.ts';
import { decodeCertificate, decodeGetCertificate } from '../../src/spdm/messages/certificate.ts';
import { decodeCsr, decodeGetCsr } from '../../src/spdm/messages/csr.ts';
import { decodeDigests } from '../../src/spdm/messages/digests.ts';
import { decodeDeliverResponse, decodeEncapsulatedAck, decodeEncapsulatedRequest } from '../../src/spdm/messages/encapsulated.ts';
import { decodeFinish } from '../../src/spdm/messages/finish.ts';
import { decodeKeyExchange } from '../../src/spdm/messages/key-exchange.ts';
import { decodeKeyUpdate, decodeKeyUpdateAck } from '../../src/spdm/messages/key-update.ts';
import { decodeGetMeasurements } from '../../src/spdm/messages/measurements.ts';
import { decodePskExchange, decodePskExchangeRsp, decodePskFinish, decodePskFinishRsp } from '../../src/spdm/messages/psk.ts';
import { decodeSetCertificate, decodeSetCertificateRsp } from '../../src/spdm/messages/set-certificate.ts';
import { decodeVersion } from '../../src/spdm/messages/version.ts';
import { dheGroups } from '../../src/spdm/suite.ts';
import { openRecords } from './recordedRecords.ts';
import { loadRecording } from './recording.ts';

/** Every recorded message that these decoders read (P-256), flipped, cut, lengthened, its lengths at 0 and at their largest (T27). */

const decoders: Readonly<Record<number, (message: Uint8Array) => unknown>> = {
  1: message => decodeDigests(message, 32, (message.length - 4) % 32 !== 0),
  2: decodeCertificate,
  4: decodeVersion,
  97: decodeCapabilities,
  99: decodeAlgorithms,
  102: message => decodePskExchangeRsp(message, 32, 0xff),
  103: decodePskFinishRsp,
  105: decodeKeyUpdateAck,
  106: decodeEncapsulatedRequest,
  107: decodeEncapsulatedAck,
  109: decodeCsr,
  110: decodeSetCertificateRsp,
  130: decodeGetCertificate,
  224: decodeGetMeasurements,
  225: decodeGetCapabilities,
  227: decodeNegotiateAlgorithms,
  228: message => decodeKeyExchange(message, dheGroups[0]!),
  229: message => decodeFinish(message, 32, 64),
  230: decodePskExchange,
  231: message => decodePskFinish(message, 32),
  233: decodeKeyUpdate,
  235: decodeDeliverResponse,
  237: decodeGetCsr,
  238: decodeSetCertificate,
};

const folder = new URL('../vectors/spdm/', import.meta.url);
const names = readdirSync(folder).filter(file => file.endsWith('.json') && !file.includes('p384'));
const messages = new Map(
  names
    .flatMap(file => openRecords(loadRecording(file.replace('.json', ''))))
    .flatMap(({ plain, isApplication }) => (isApplication ? [] : plain))
    .filter(message => decoders[message[1]!])
    .map(message => [`${message[0]} ${message[1]} ${message.length}`, message] as const),
);
const longestFlipped = 200;

function changed(message: Uint8Array): readonly Uint8Array[] {
  const places = Array.from({ length: Math.min(message.length, longestFlipped) }, (_, i) => i);
  const put = (at: number, bytes: readonly number[]) => message.map((byte, i) => bytes[i - at] ?? byte);
  const flips = places.flatMap(at => [1, 0x80, 0xff].map(flip => put(at, [message[at]! ^ flip])));
  const lengths = places.flatMap(at => [put(at, [0, 0]), put(at, [0xff, 0xff]), put(at, [0xff, 0xff, 0xff, 0xff])]);
  const cuts = places.map(at => message.slice(0, at));
  return [...flips, ...lengths, ...cuts, concat(message, new Uint8Array(1)), concat(message, new Uint8Array(300))];
}

describe('every decoder with changed messages', () => {
  it('reads what was recorded, and answers anything else with a result or SPDM_MALFORMED', () => {
    const kinds = new Set<number>();
    for (const message of messages.values()) {
      const decode = decoders[message[1]!]!;
      decode(message);
      kinds.add(message[1]!);
      for (const mutated of changed(message)) {
        try {
          decode(mutated);
        } catch (error) {
          const defined = error instanceof NusecError && error.code === 'SPDM_MALFORMED';
          expect(defined ? '' : `${toHex(mutated)}: ${error}`).toBe('');
        }
      }
    }
    expect([...kinds].sort((a, b) => a - b)).toEqual(Object.keys(decoders).map(Number));
  });

  it('refuses each cut of a message whose length is fixed', () => {
    // These carry whatever comes, or (DIGESTS) are read here by what their length says.
    const open = new Set([1, 2, 106, 107, 235, 238]);
    for (const message of messages.values()) {
      if (open.has(message[1]!)) continue;
      for (let length = 0; length < message.length; length += 1)
        expect(() => decoders[message[1]!]!(message.slice(0, length)), `${message[1]} cut at ${length}`).toThrow('');
    }
  });
});
