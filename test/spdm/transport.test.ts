import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex, utf8 } from '../../src/bytes.ts';
import {
  createEmulatorDecoder,
  emulatorCommand,
  emulatorTransport,
  encodeEmulatorFrame,
  maxEmulatorPayloadBytes,
} from '../../src/spdm/transport/emulator.ts';
import { createMctpAssembler, encodeMctp, maxMctpMessageBytes } from '../../src/spdm/transport/mctp.ts';
import { decodeTyped, encodeTyped } from '../../src/spdm/transport/mqtt.ts';
import {
  checkSequence,
  createSerialDecoder,
  encodeSerialFrame,
  maxPacketBytes,
  maxSerialUnitBytes,
} from '../../src/spdm/transport/serial.ts';
import { decodeTcp, encodeTcp } from '../../src/spdm/transport/tcp.ts';
import { covers } from '../support/covers.ts';
import { loadRecording } from './recording.ts';

const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength });
/** Cuts bytes at the given places. */
function cut(stream: Uint8Array, places: readonly number[]): readonly Uint8Array[] {
  const at = [0, ...places.map(place => place % (stream.length + 1)).sort((a, b) => a - b), stream.length];
  return at.slice(1).map((end, i) => stream.subarray(at[i]!, end));
}

describe('MCTP packets (DSP0236)', () => {
  const address = { destination: 9, source: 8, tag: 5, tagOwner: true };

  it('puts any message together again, for any transmission unit', () => {
    fc.assert(
      fc.property(bytes(1, 600), fc.integer({ min: 1, max: 250 }), (body, unit) => {
        const assembler = createMctpAssembler(9);
        const results = encodeMctp({ ...address, body }, unit).map(packet => assembler.push(packet));
        expect(results.slice(0, -1).every(result => result === undefined)).toBe(true);
        expect(results.at(-1)).toEqual({ ...address, body });
      }),
    );
  });

  it('refuses a lost, repeated or reordered packet and starts anew with the next message (T10)', () => {
    covers('T10');
    const body = new Uint8Array(200).fill(3);
    const [first, second, third, fourth] = encodeMctp({ ...address, body }, 50) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    for (const order of [[second], [first, third], [first, first, second, second], [first, second, second], [first, second, fourth]]) {
      const assembler = createMctpAssembler(9);
      expect(() => order.forEach(packet => void assembler.push(packet))).toThrow(expect.objectContaining({ code: 'MCTP_MALFORMED' }));
      expect([first, second, third, fourth].map(packet => assembler.push(packet)).at(-1)?.body).toEqual(body);
    }
  });

  it('refuses packets of another version, endpoint, tag or size, and a message above its limit', () => {
    const push = (...packets: string[]) => {
      const assembler = createMctpAssembler(9);
      for (const packet of packets) assembler.push(fromHex(packet));
    };
    const refused = expect.objectContaining({ code: 'MCTP_MALFORMED' });
    expect(() => push('020908c805')).toThrow(refused);
    expect(() => push('010a08c805')).toThrow(refused);
    expect(() => push('010908c8')).toThrow(refused);
    expect(() => push('0109088805aa', '0109085907')).toThrow(refused);
    expect(() => push('0109088805', '010908580707')).toThrow(refused);
    expect(() => push('0109088805aa', '0109081807')).toThrow(refused);
    expect(() => push('010008c805')).not.toThrow();
    const assembler = createMctpAssembler(9);
    const packets = encodeMctp({ ...address, body: new Uint8Array(maxMctpMessageBytes + 1) }, 250);
    expect(() => packets.forEach(packet => void assembler.push(packet))).toThrow(refused);
  });
});

describe('MCTP over serial (DSP0253)', () => {
  it('writes the frame of the standard: flag, revision, count, escaped packet, FCS, flag', () => {
    const packet = fromHex('010908c8057e7d');
    const fcs = checkSequence(concat(Uint8Array.of(1, packet.length), packet));
    expect(toHex(encodeSerialFrame(packet))).toBe(`7e010701 0908c8057d5e7d5d${fcs.toString(16).padStart(4, '0')}7e`.replace(' ', ''));
    expect(checkSequence(utf8('123456789'))).toBe(0x6f91);
  });

  it('reads any packets out of any cuts of the byte stream, with noise between the frames', () => {
    fc.assert(
      fc.property(
        fc.array(bytes(1, maxPacketBytes), { maxLength: 5 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        bytes(0, 9),
        (packets, places, noise) => {
          const quiet = noise.filter(byte => byte !== 0x7e);
          const stream = concat(...packets.flatMap(packet => [quiet, encodeSerialFrame(packet)]));
          const decoder = createSerialDecoder();
          const read = cut(stream, places).flatMap(part => [...decoder.push(part)]);
          expect(read.map(toHex)).toEqual(packets.map(toHex));
        },
      ),
    );
  });

  it('drops every frame with one changed byte, and reads the next one (T10)', () => {
    covers('T10');
    const packet = fromHex('01090888057e7d0011223344');
    const frame = encodeSerialFrame(packet);
    for (let at = 1; at < frame.length - 1; at += 1) {
      for (const flip of [0x01, 0x80, 0xff]) {
        const damaged = frame.slice();
        damaged[at]! ^= flip;
        const decoder = createSerialDecoder();
        const read = [
          ...decoder.push(damaged),
          ...decoder.push(frame),
          ...decoder.push(frame),
          ...decoder.push(new Uint8Array(300)),
          ...decoder.push(frame),
        ];
        expect(read.length).toBeGreaterThan(0);
        expect(read.every(one => toHex(one) === toHex(packet))).toBe(true);
        expect(decoder.damagedFrames()).toBeGreaterThan(0);
      }
    }
  });

  it('lets a flag that closes a damaged frame open the next, and counts what it drops', () => {
    const frame = encodeSerialFrame(Uint8Array.of(5));
    const decoder = createSerialDecoder();
    expect(decoder.push(fromHex('7e02'))).toHaveLength(0);
    expect(decoder.push(fromHex('7e0100'))).toHaveLength(0);
    expect(decoder.push(fromHex('7e01027d00'))).toHaveLength(0);
    expect(decoder.push(fromHex('7e0102057e'))).toHaveLength(0);
    expect(decoder.push(frame.subarray(1))).toHaveLength(1);
    expect(decoder.damagedFrames()).toBe(4);
    expect(() => encodeSerialFrame(new Uint8Array())).toThrow(RangeError);
    expect(() => encodeSerialFrame(new Uint8Array(256))).toThrow(RangeError);
  });

  it('carries a message of any length over packets and frames together', () => {
    fc.assert(
      fc.property(bytes(1, 2000), fc.integer({ min: 1, max: maxSerialUnitBytes }), (body, unit) => {
        const message = { destination: 0, source: 8, tag: 0, tagOwner: true, body };
        const decoder = createSerialDecoder();
        const assembler = createMctpAssembler(9);
        const stream = concat(...encodeMctp(message, unit).map(encodeSerialFrame));
        expect(
          decoder
            .push(stream)
            .map(packet => assembler.push(packet))
            .at(-1),
        ).toEqual(message);
      }),
      { numRuns: 40 },
    );
  });
});

describe('transports that keep messages apart', () => {
  it.each(['a-spdm12-p256-challenge-mctp', 'd-spdm12-p256-session-mutauth-mctp-app'])('%s: type byte and message, as recorded', name => {
    for (const { payload, wire } of loadRecording(name).payloads) {
      expect(decodeTyped(payload)).toEqual(wire);
      expect(toHex(encodeTyped(wire))).toBe(toHex(payload));
    }
  });

  it.each(['a-spdm12-p256-challenge', 'e-spdm12-p256-session-nomut-tcp'])('%s: TCP binding (DSP0287), as recorded', name => {
    for (const { payload, wire } of loadRecording(name).payloads) {
      expect(decodeTcp(payload)).toEqual(wire);
      expect(toHex(encodeTcp(wire))).toBe(toHex(payload));
    }
  });

  it('refuses another type, version or length', () => {
    const refused = expect.objectContaining({ code: 'SPDM_MALFORMED' });
    for (const payload of ['', '05', '0710840000']) expect(() => decodeTyped(fromHex(payload))).toThrow(refused);
    for (const payload of ['06000105', '0600020510840000', '0600010710840000', '0500010510840000'])
      expect(() => decodeTcp(fromHex(payload))).toThrow(refused);
    expect(decodeTcp(fromHex('0800010510840000')).message).toEqual(fromHex('10840000'));
    expect(() => encodeTcp({ kind: 'clear', message: new Uint8Array(0xfffe) })).toThrow(refused);
  });

  it('cuts the emulator framing out of any portions of the stream', () => {
    const frame = fc.record({
      command: fc.constantFrom(...Object.values(emulatorCommand)),
      transport: fc.constantFrom(...Object.values(emulatorTransport)),
      payload: bytes(0, 50),
    });
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 5 }), fc.array(fc.nat(), { maxLength: 10 }), (frames, places) => {
        const decoder = createEmulatorDecoder();
        const stream = concat(...frames.map(encodeEmulatorFrame));
        expect(cut(stream, places).flatMap(part => [...decoder.push(part)])).toEqual(frames);
      }),
    );
    const head = encodeEmulatorFrame({ command: 1, transport: 1, payload: new Uint8Array() });
    new DataView(head.buffer).setUint32(8, maxEmulatorPayloadBytes + 1);
    expect(() => createEmulatorDecoder().push(head)).toThrow(expect.objectContaining({ code: 'SPDM_MALFORMED' }));
  });
});
