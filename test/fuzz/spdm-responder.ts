import { capability, type Wire } from '../../src/spdm/constants.ts';
import { createResponder, deviceFlags } from '../../src/spdm/responder/responder.ts';
import { countingRandom, realSlot, requesterSlot, someMeasurements, trustLeaf } from '../spdm/fixtures.ts';
import { loadCorpus } from './engine.ts';

/** The input is `place | kind | message`: the message is sent after that many requests of a good run. Whatever comes, there is one answer, no fault, and
 *  GET_VERSION begins anew. */

const goodRun = loadCorpus('spdm-responder');

export const target = {
  run: async (input: Uint8Array): Promise<void> => {
    const faults: unknown[] = [];
    const responder = createResponder({
      slots: [{ ...realSlot(), sign: async () => new Uint8Array(64).fill(1) }],
      randomBytes: countingRandom('fuzz'),
      measurements: () => someMeasurements,
      capabilities: { flags: deviceFlags | extraFlags, ctExponent: 0, dataTransferBytes: 256, maxMessageBytes: 0x2000 },
      psk: () => new Uint8Array(32),
      mutualAuthentication: { how: 'encapsulated', slot: 0, required: false, trust: trustLeaf, certificates: requesterSlot().certificates },
      onGetCsr: async () => new Uint8Array(300),
      onSetCertificate: async () => 'done',
      onVendorDefined: async request => request,
      onApplicationData: async (_, data) => data,
      onFault: error => faults.push(error),
    });
    const [place = 0, kind = 0] = input;
    for (const before of goodRun.slice(0, place % goodRun.length)) await responder.handle(wireOf(before));
    const answer = await responder.handle({ kind: kind & 1 ? 'secured' : 'clear', message: input.slice(2) });
    if (!answer || answer.message.length < 4) throw new Error('no answer');
    const again = await responder.handle({ kind: 'clear', message: Uint8Array.of(0x10, 0x84, 0, 0) });
    if (again?.message[1] !== 0x04) throw new Error(`GET_VERSION is answered with ${again?.message}`);
    if (faults.length > 0) throw new Error('fault', { cause: faults[0] });
  },
};

const { chunk, csr, setCertificate, pskWithContext, mutualAuthentication, encapsulated, handshakeInTheClear } = capability;
const extraFlags = chunk | csr | setCertificate | pskWithContext | mutualAuthentication | encapsulated | handshakeInTheClear;

const wireOf = (input: Uint8Array): Wire => ({ kind: (input[1] ?? 0) & 1 ? 'secured' : 'clear', message: input.slice(2) });
