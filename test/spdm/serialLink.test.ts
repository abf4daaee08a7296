import { describe, expect, it } from 'vitest';
import { concat, utf8 } from '../../src/bytes.ts';
import type { Wire } from '../../src/spdm/constants.ts';
import { verifyEvidence } from '../../src/spdm/evidence.ts';
import { runAttestation, runSessionSetup } from '../../src/spdm/requester/run.ts';
import type { Responder } from '../../src/spdm/responder/responder.ts';
import { createMctpAssembler, encodeMctp } from '../../src/spdm/transport/mctp.ts';
import { decodeTyped, encodeTyped } from '../../src/spdm/transport/mqtt.ts';
import { createSerialDecoder, encodeSerialFrame } from '../../src/spdm/transport/serial.ts';
import { covers } from '../support/covers.ts';
import { countingRandom, realResponder, someNonce, trustLeaf } from './fixtures.ts';

/** The whole way over a UART: SPDM in MCTP packets of 64 bytes in serial frames, and an interposer who sees and changes frames. */

const host = 8;
const device = 9;
const unitBytes = 64;
type Interposer = (frames: readonly Uint8Array[]) => readonly Uint8Array[];
const honest: Interposer = frames => frames;

const toFrames = (wire: Wire, destination: number, source: number): readonly Uint8Array[] =>
  encodeMctp({ destination, source, tag: 1, tagOwner: destination === device, body: encodeTyped(wire) }, unitBytes).map(encodeSerialFrame);

/** @returns the messages that arrive whole; damaged ones are dropped by the link */
function receive(stream: Uint8Array, ownEid: number): readonly Wire[] {
  const assembler = createMctpAssembler(ownEid);
  return createSerialDecoder()
    .push(stream)
    .flatMap(packet => {
      try {
        const message = assembler.push(packet);
        return message ? [decodeTyped(message.body)] : [];
      } catch {
        return [];
      }
    });
}

/** A line to the responder; everything that was on it is kept in `seen`. */
function createLine(responder: Responder) {
  const line = { interposer: honest, seen: [] as Uint8Array[] };
  const exchange = async (wire: Wire): Promise<Wire> => {
    const up = line.interposer(toFrames(wire, device, host));
    line.seen.push(...up);
    const answers: Wire[] = [];
    for (const request of receive(concat(...up), device)) {
      const answer = await responder.handle(request);
      if (answer) answers.push(answer);
    }
    const down = answers.flatMap(answer => toFrames(answer, host, device));
    line.seen.push(...down);
    const received = receive(concat(...down), host);
    const last = received.at(-1);
    if (!last) throw new Error('time-out');
    return last;
  };
  return { line, exchange };
}

const firmware = (i: number): Uint8Array => concat(Uint8Array.of(0x7f), utf8(`firmware block ${i} `.repeat(12)));

async function openSession() {
  const received: Uint8Array[] = [];
  const responder = realResponder({
    onApplicationData: async (_, data) => {
      received.push(data);
      return Uint8Array.of(0x7f, 0);
    },
  });
  const { line, exchange } = createLine(responder);
  const { session } = await runSessionSetup({ nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom() }, exchange);
  const send = async (data: Uint8Array): Promise<Uint8Array> => {
    const answer = await exchange({ kind: 'secured', message: session.seal(data) });
    if (answer.kind === 'clear') throw new Error('responder ended the session');
    return session.open(answer.message);
  };
  return { responder, line, send, received };
}

describe('SPDM over MCTP over serial', () => {
  it('attests a device behind a UART (R84)', async () => {
    covers('R84');
    const evidence = await runAttestation({ nonce: someNonce }, createLine(realResponder()).exchange);
    await expect(verifyEvidence(evidence, { trust: trustLeaf, nonce: someNonce })).resolves.toMatchObject({ version: 0x12 });
  });

  it('carries firmware in a session with no plaintext on the line (R51, T10)', async () => {
    covers('R51', 'T10');
    const { line, send, received } = await openSession();
    for (let i = 0; i < 20; i += 1) expect(await send(firmware(i))).toEqual(Uint8Array.of(0x7f, 0));
    expect(received).toEqual(Array.from({ length: 20 }, (_, i) => firmware(i)));
    expect(Buffer.concat(line.seen).includes('firmware')).toBe(false);
  });

  const attacks: [string, Interposer][] = [
    ['drops a frame', frames => frames.slice(1)],
    ['swaps two frames', ([a, b, ...rest]) => [b!, a!, ...rest]],
    ['repeats a message', frames => [...frames, ...frames]],
    ['flips a bit behind a repaired check sequence', frames => frames.map((frame, i) => (i === 1 ? reframed(frame) : frame))],
    ['replaces the message by an older one', () => []],
  ];
  it.each(attacks)('an interposer who %s: nothing false is delivered, and the session does not go on (T10)', async (what, attack) => {
    covers('T10');
    const { responder, line, send, received } = await openSession();
    let older: readonly Uint8Array[] = [];
    line.interposer = frames => {
      older = frames;
      return frames;
    };
    await send(firmware(0));
    const recorded = older;
    line.interposer = frames => (what.startsWith('replaces') ? recorded : attack(frames));
    await expect(send(firmware(1))).rejects.toThrow();
    line.interposer = honest;
    await expect(send(firmware(2))).rejects.toThrow();
    expect(responder.sessionId()).toBeUndefined();
    expect(received.slice(0, 1)).toEqual([firmware(0)]);
    expect(received.slice(1)).toEqual(what === 'repeats a message' ? [firmware(1)] : []);
  });
});

/** The frame with one bit of its packet's body changed and a check sequence that fits again. */
function reframed(frame: Uint8Array): Uint8Array {
  const [packet] = createSerialDecoder().push(frame);
  const changed = packet!.slice();
  changed[20]! ^= 1;
  return encodeSerialFrame(changed);
}
