import { NusecError } from '../../src/errors.ts';
import { createSession } from '../../src/spdm/session.ts';
import { aeads, hashAlgorithms } from '../../src/spdm/suite.ts';
import { countingRandom } from '../spdm/fixtures.ts';
import { loadCorpus } from './engine.ts';

/** The input is a record for a session whose next good record is the first of the corpus: that one opens, anything else ends the session. */

const secrets = { request: new Uint8Array(32).fill(1), response: new Uint8Array(32).fill(2) };
const settings = {
  version: 0x12,
  hash: hashAlgorithms[0]!,
  aead: aeads[0]!,
  binding: 'mctp',
  sessionId: 0x12345678,
  maxRecords: 2 ** 24,
} as const;
const [good] = loadCorpus('secured-record');

export const target = {
  run: async (input: Uint8Array): Promise<void> => {
    const session = createSession({ ...settings, role: 'responder', randomBytes: countingRandom() }, secrets);
    try {
      session.openAny(input);
    } catch (error) {
      if (error instanceof NusecError && error.code === 'SPDM_RECORD' && session.ended()) return;
      throw error;
    }
    if (Buffer.compare(input, good!) !== 0) throw new Error('a record of nobody was opened');
  },
};

/** The record that the corpus begins with. */
export function goodRecord(): Uint8Array {
  const peer = createSession({ ...settings, role: 'requester', randomBytes: countingRandom('corpus') }, secrets);
  return peer.seal(Uint8Array.of(0x7f, 1, 2, 3));
}
