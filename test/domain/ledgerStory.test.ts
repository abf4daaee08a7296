import { describe, expect, it } from 'vitest';
import { type CountingRecord, compareLedger, maxNamedFindings, type RecordedUnit } from '../../src/domain/ledgerStory.ts';
import { covers } from '../support/covers.ts';

const records = (...list: readonly (readonly [CountingRecord['type'], number, string?])[]): readonly CountingRecord[] =>
  list.map(([type, remaining, uid], index) => ({
    number: index + 1,
    type,
    remaining,
    ...(uid !== undefined && { uid, grantId: `g${uid}`, receiptSha256: `r${uid}` }),
  }));
const unit = (uid: string, ledgerNumber: number, outcome: RecordedUnit['outcome']): RecordedUnit => ({
  uid,
  grantId: `g${uid}`,
  ledgerNumber,
  outcome,
  ...(outcome === 'committed' && { receiptSha256: `r${uid}` }),
});
const details = (ledger: readonly CountingRecord[], ...units: readonly RecordedUnit[]) =>
  compareLedger('p', ledger, units).map(({ kind, detail }) => `${kind}: ${detail}`);

describe('ledger and server', () => {
  const built = records(['import', 3], ['reserve', 2, 'a'], ['commit', 2, 'a'], ['reserve', 1, 'b'], ['void', 2, 'b'], ['zeroise', 0]);

  it('agree when every unit has one story (I14, T19)', () => {
    covers('I14', 'T19');
    expect(details(built, unit('a', 2, 'committed'), unit('b', 4, 'voided'))).toEqual([]);
  });

  it.each<readonly [RecordedUnit['outcome'], readonly (readonly [CountingRecord['type'], number])[], string]>([
    ['committed', [], 'committed, but the ledger never ends it'],
    ['committed', [['void', 3]], 'committed, but the ledger voids it'],
    ['voided', [], 'voided, but the ledger never ends it'],
    ['voided', [['commit', 2]], 'voided, but the ledger commits it'],
    ['open', [['commit', 2]], 'the ledger has its commit, the server neither'],
    ['open', [['void', 3]], 'the ledger has its void, the server neither'],
  ])('%s at the server, %j in the ledger', (outcome, ends, problem) => {
    covers('T1');
    const ledger = records(['import', 3], ['reserve', 2, 'a'], ...ends.map(([type, left]) => [type, left, 'a'] as const));
    expect(details(ledger, unit('a', 2, outcome))).toEqual([`unit-mismatch: ${problem}`]);
  });

  it('name each unit that neither has ended (I14)', () => {
    covers('I14');
    const ledger = records(['import', 3], ['reserve', 2, 'a'], ['reserve', 1, 'b']);
    expect(compareLedger('p', ledger, [unit('a', 2, 'open'), unit('b', 3, 'open')])).toEqual(
      ['a', 'b'].map(uid => ({ kind: 'open-units', programmer: 'p', detail: 'neither committed nor voided', uid })),
    );
  });

  it('may differ in a commit that was refused and then voided', () => {
    const ledger = records(['import', 3], ['reserve', 2, 'a'], ['commit', 2, 'a'], ['void', 3, 'a']);
    expect(details(ledger, unit('a', 2, 'voided'))).toEqual([]);
    expect(details(ledger, unit('a', 2, 'committed'))).toEqual(['unit-mismatch: committed, but the ledger voids it']);
  });

  it.each<readonly [server: 'scrapped' | 'given back', ledger: boolean | undefined, hasBootloader: boolean, problem: string | undefined]>([
    ['scrapped', true, true, undefined],
    ['scrapped', true, false, undefined],
    ['scrapped', false, true, undefined],
    ['scrapped', false, false, 'scrapped, but by the ledger nothing was burned, and it never got a bootloader'],
    ['scrapped', undefined, false, undefined],
    ['given back', true, false, 'the ledger scraps it, the server gave its unit back'],
    ['given back', false, false, undefined],
    ['given back', undefined, false, undefined],
  ])('%s at the server, scrap %s in the ledger, bootloader %s (T1)', (server, scrap, hasBootloader, problem) => {
    covers('T1');
    const [first, second, end] = records(['import', 3], ['reserve', 2, 'a'], ['void', 3, 'a']) as CountingRecord[];
    const ledger = [first!, second!, { ...end!, ...(scrap !== undefined && { scrap }) }];
    const voided = { ...unit('a', 2, 'voided'), scrapped: server === 'scrapped', hasBootloader };
    expect(details(ledger, voided)).toEqual(problem === undefined ? [] : [`unit-mismatch: ${problem}`]);
  });

  it('leave fewer units than the ledger counts, when the server scraps one besides', () => {
    const ledger = records(['import', 3], ['reserve', 2, 'a'], ['void', 3, 'a'], ['reserve', 1, 'b'], ['void', 2, 'b'], ['zeroise', 0]);
    expect(details(ledger, unit('a', 2, 'voided'), unit('b', 4, 'voided'))).toEqual([]);
  });

  it('are compared by record, grant and receipt, not by UID alone', () => {
    const committed = unit('a', 2, 'committed');
    expect(details(built, { ...committed, grantId: 'x' }, unit('b', 4, 'voided'))).toHaveLength(1);
    expect(details(built, { ...committed, receiptSha256: 'x' }, unit('b', 4, 'voided'))).toHaveLength(1);
    expect(details(built, unit('a', 4, 'committed'), unit('b', 2, 'voided'))).toHaveLength(2);
    expect(details(built, committed)).toEqual([]);
    expect(details(records(['import', 3], ['reserve', 2, 'a']))).toEqual([
      'unit-mismatch: the ledger reserves it and never ends it; the server never granted it',
    ]);
  });

  it.each<readonly [string, readonly CountingRecord[]]>([
    ['a reservation that takes none', records(['import', 3], ['reserve', 3, 'a'], ['void', 3, 'a'])],
    ['a commit that gives one back', records(['import', 3], ['reserve', 2, 'a'], ['commit', 3, 'a'])],
    ['a void that gives two back', records(['import', 3], ['reserve', 2, 'a'], ['void', 4, 'a'])],
    ['an end that leaves some', records(['import', 3], ['zeroise', 1])],
    ['a unit after the end', records(['import', 3], ['zeroise', 0], ['reserve', 0, 'a'], ['void', 1, 'a'])],
    ['two reservations of one chip', records(['import', 3], ['reserve', 2, 'a'], ['reserve', 1, 'a'], ['void', 2, 'a'])],
  ])('%s is out of order', (_, ledger) => {
    expect(compareLedger('p', ledger, []).map(({ kind }) => kind)).toContain('ledger-order');
  });

  it('name at most so many findings', () => {
    const many = Array.from({ length: maxNamedFindings + 5 }, (_, index) => unit(`u${index}`, index, 'committed'));
    const findings = compareLedger('p', [], many);
    expect(findings).toHaveLength(maxNamedFindings + 1);
    expect(findings.at(-1)?.detail).toBe('5 further findings');
  });
});
