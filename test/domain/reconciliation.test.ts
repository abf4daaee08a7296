import { describe, expect, it } from 'vitest';
import { type AllotmentFacts, type JobFacts, maxNamedGreyUnits, reconcile } from '../../src/domain/reconciliation.ts';
import { covers } from '../support/covers.ts';

const allotment: AllotmentFacts = {
  programmer: 'p',
  quota: 10,
  scrapAllowance: 1,
  reserved: 5,
  committed: 3,
  voided: 2,
  scrapped: 1,
  open: 0,
  ledgerCounter: 5,
  ledgerGap: false,
  zeroised: true,
};
const facts = (change: Partial<AllotmentFacts> = {}, job: Partial<JobFacts> = {}): JobFacts => ({
  plannedCount: 10,
  allotments: [{ ...allotment, ...change }],
  devicesCertified: 3,
  committedUids: new Set(['u1', 'u2', 'u3']),
  fieldUids: ['u1', 'u3', 'u1'],
  ...job,
});
const kinds = (input: JobFacts) => reconcile(input).findings.map(finding => finding.kind);

describe('reconciliation', () => {
  it('is clean when server, ledger and field tell the same story', () => {
    expect(reconcile(facts())).toEqual({ verdict: 'clean', findings: [] });
  });

  it('sees an overbuild attempt and a lost ledger (T1)', () => {
    covers('T1');
    expect(kinds(facts({ ledgerCounter: 6 }))).toEqual(['overbuild-attempt']);
    expect(kinds(facts({ ledgerCounter: 4 }))).toEqual(['lost-ledger']);
  });

  it('sees a tampered ledger, missing zeroise receipts and open units (T2)', () => {
    covers('T2');
    expect(kinds(facts({ ledgerGap: true }))).toEqual(['ledger-tampering']);
    expect(kinds(facts({ zeroised: false }))).toEqual(['not-zeroised']);
    expect(kinds(facts({ open: 1, voided: 1 }))).toEqual(['open-units']);
  });

  it('sees counts that do not add up (I1)', () => {
    covers('I1');
    expect(kinds(facts({ voided: 1 }))).toEqual(['count-mismatch']);
    expect(kinds(facts({ quota: 2 }))).toEqual(['quota-exceeded']);
    expect(kinds(facts({ scrapped: 2 }))).toEqual(['scrap-exceeded']);
    expect(kinds(facts({}, { devicesCertified: 4 }))).toEqual(['device-mismatch']);
    expect(kinds(facts({}, { plannedCount: 2 }))).toEqual(['quota-exceeded']);
  });

  it('names grey units seen in the field (T7)', () => {
    covers('T7');
    const report = reconcile(facts({}, { fieldUids: ['u1', 'zz', 'aa'] }));
    expect(report.verdict).toBe('discrepant');
    expect(report.findings.map(finding => finding.uid)).toEqual(['aa', 'zz']);
    const many = Array.from({ length: maxNamedGreyUnits + 5 }, (_, i) => `x${i}`);
    const long = reconcile(facts({}, { fieldUids: many })).findings;
    expect(long).toHaveLength(maxNamedGreyUnits + 1);
    expect(long.at(-1)?.detail).toBe('5 further units');
  });
});
