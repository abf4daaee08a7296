import { equalBytes, fromHex, toHex } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { emptyLedger, verifyLedgerSegment } from '../../src/production/ledger.ts';
import { loadCorpus } from './engine.ts';

/** The input is signed records, each behind its length (u16, big endian). What is accepted is the beginning of the true ledger, which is the first
 *  line of the corpus; everything else has one of three codes. */

/** Of the key that signed the corpus; its private half was never kept. */
const spki = fromHex(
  '3059301306072a8648ce3d020106082a8648ce3d030107034200044ea5b440edd5c49af7851444121a6d427b5ecbd11b23e691591d13400a26cc97ea33e6ef479c91f8cee013013bd1d91919b4de3d069b4fe084602b3300206102',
);
const allowed = ['LEDGER_SIGNATURE', 'LEDGER_GAP', 'BODY_TOO_LARGE'];
const genuine = recordsIn(loadCorpus('ledger-segment')[0] ?? new Uint8Array());

export const target = {
  run: async (input: Uint8Array): Promise<void> => {
    const records = recordsIn(input);
    try {
      const { head } = await verifyLedgerSegment(records, emptyLedger, () => spki);
      const isGenuine = records.every((record, index) => equalBytes(record, genuine[index] ?? new Uint8Array()));
      if (!isGenuine || head.nextNumber !== records.length + 1) throw new Error(`accepted: ${records.map(toHex).join(' ')}`);
    } catch (error) {
      if (!(error instanceof NusecError && allowed.includes(error.code))) throw error;
    }
  },
};

function recordsIn(input: Uint8Array): readonly Uint8Array[] {
  const records: Uint8Array[] = [];
  for (let at = 0; at + 2 <= input.length; ) {
    const length = ((input[at] ?? 0) << 8) | (input[at + 1] ?? 0);
    records.push(input.slice(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return records;
}
