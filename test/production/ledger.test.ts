import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { emptyLedger, type LedgerRecord, ledgerHeadOf, signLedgerRecord, verifyLedgerSegment } from '../../src/production/ledger.ts';
import { everyByteFlipped, testKey } from '../cose/keys.ts';
import { covers } from '../support/covers.ts';
import { ledgerSteps } from './samples.ts';

const key = testKey();
const resolveKey = () => key.spki;
const code = (name: string) => expect.objectContaining({ code: name });

/** Signs steps as one chain. */
async function chain(steps: readonly (typeof ledgerSteps)[number][], signer = key): Promise<Uint8Array[]> {
  const records: Uint8Array[] = [];
  let head = emptyLedger.headSha256;
  for (const [index, step] of steps.entries()) {
    const signed = await signLedgerRecord({ ...step, number: index + 1, previousSha256: head, uptimeSeconds: index }, signer);
    records.push(signed);
    head = ledgerHeadOf(signed);
  }
  return records;
}

const records = await chain(ledgerSteps);
const verify = (list: readonly Uint8Array[], head = emptyLedger) => verifyLedgerSegment(list, head, resolveKey);
const without = (index: number) => records.filter((_, at) => at !== index);

describe('ledger', () => {
  it('is read back in order with its new head (I14, RULE-20)', async () => {
    covers('I14', 'RULE-20');
    const { records: read, head } = await verify(records);
    expect(read.map(({ number, previousSha256: _, uptimeSeconds: __, ...step }) => ({ number, ...step }))).toEqual(
      ledgerSteps.map((step, index) => ({ number: index + 1, ...step })),
    );
    expect(head).toEqual({ nextNumber: 8, headSha256: ledgerHeadOf(records[6]!) });
  });

  it('goes on from segment to segment (I14)', async () => {
    covers('I14');
    const first = await verify(records.slice(0, 3));
    const second = await verify(records.slice(3), first.head);
    expect(second.head).toEqual((await verify(records)).head);
    expect((await verify([], first.head)).head).toEqual(first.head);
  });

  it('shows a missing, repeated or reordered record (I14, T2)', async () => {
    covers('I14', 'T2');
    for (const index of [0, 1, 3]) await expect(verify(without(index))).rejects.toThrow(code('LEDGER_GAP'));
    await expect(verify([...records, records[6]!])).rejects.toThrow(code('LEDGER_GAP'));
    await expect(verify([records[1]!, records[0]!, ...records.slice(2)])).rejects.toThrow(code('LEDGER_GAP'));
  });

  it('shows a programmer that was set back to an older snapshot (T2)', async () => {
    covers('T2');
    const { head } = await verify(records.slice(0, 5));
    const fork = await chain([...ledgerSteps.slice(0, 4), ledgerSteps[6]!, ledgerSteps[6]!]);
    await expect(verify(fork.slice(4), head)).rejects.toThrow(code('LEDGER_GAP'));
    await expect(verify(fork.slice(5), head)).rejects.toThrow(code('LEDGER_GAP'));
  });

  it('cannot be denied or edited: every byte is under the signature (T19, I14)', async () => {
    covers('T19', 'I14');
    for (const changed of everyByteFlipped(records[3]!)) {
      await expect(verify([...records.slice(0, 3), changed, ...records.slice(4)])).rejects.toThrow(code('LEDGER_SIGNATURE'));
    }
    const foreign = await chain(ledgerSteps, testKey());
    await expect(verify(foreign)).rejects.toThrow(code('LEDGER_SIGNATURE'));
    await expect(verifyLedgerSegment(records, emptyLedger, () => undefined)).rejects.toThrow(code('LEDGER_SIGNATURE'));
  });

  it('takes at most 256 records at a time', async () => {
    const many = Array.from({ length: 257 }, () => records[0]!);
    await expect(verify(many)).rejects.toThrow(code('BODY_TOO_LARGE'));
  });

  it('has no record without the fields of its type', async () => {
    const base = { number: 1, previousSha256: emptyLedger.headSha256, uptimeSeconds: 0 };
    for (const [index, name] of [
      [1, 'packageId'],
      [2, 'uid'],
      [3, 'receiptSha256'],
      [5, 'reason'],
    ] as const) {
      const { [name]: _, ...step } = ledgerSteps[index] as LedgerRecord;
      await expect(signLedgerRecord({ ...step, ...base } as LedgerRecord, key)).rejects.toThrow(code('CBOR_MALFORMED'));
    }
  });

  it('refuses any list but the one that was written (I14, T27)', async () => {
    covers('I14', 'T27');
    const indices = fc.array(fc.nat(records.length - 1), { maxLength: 9 });
    await fc.assert(
      fc.asyncProperty(indices, async list => {
        const isPrefix = list.every((value, at) => value === at);
        const outcome = verify(list.map(index => records[index]!));
        if (isPrefix) expect((await outcome).head.nextNumber).toBe(list.length + 1);
        else await expect(outcome).rejects.toThrow(code('LEDGER_GAP'));
      }),
    );
  });
});
