import { equalBytes } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { verifyEvidence } from '../../src/spdm/evidence.ts';
import { continueAttestation, startAttestation } from '../../src/spdm/requester/attestation.ts';
import { realSlot, someNonce, trustLeaf } from '../spdm/fixtures.ts';
import { loadCorpus } from './engine.ts';

/** The input is `place | response`: it replaces that response of a good attestation. Either a defined error comes of it, or the evidence is the good one. */

const goodRun = loadCorpus('spdm-requester').map(input => input.slice(1));
const defined = /^SPDM_(MALFORMED|UNEXPECTED|UNSUPPORTED|SIGNATURE|BUSY)$/;
const trust = () => trustLeaf(realSlot().certificates);

export const target = {
  run: async (input: Uint8Array): Promise<void> => {
    const place = (input[0] ?? 0) % goodRun.length;
    const changed = input.slice(1);
    try {
      let step = startAttestation({ nonce: someNonce });
      for (let i = 0; 'send' in step; i += 1)
        step = continueAttestation(step.state, (i === place ? changed : goodRun[i]) ?? new Uint8Array());
      await verifyEvidence(step.evidence, { nonce: someNonce, trust });
    } catch (error) {
      if (error instanceof NusecError && defined.test(error.code)) return;
      throw error;
    }
    if (!equalBytes(changed, goodRun[place]!)) throw new Error('a changed response was believed');
  },
};
