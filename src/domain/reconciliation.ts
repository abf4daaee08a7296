/** Reconciliation of a closed job (requirements: anti-overbuild): do the server's counts, the programmers' signed ledgers and the
 *  units seen in the field agree? Pure; the caller gathers the numbers and signs the report. */

/** The numbers of one allotment; letters as in the requirements. */
export type AllotmentFacts = {
  readonly programmer: string;
  /** Q */
  readonly quota: number;
  readonly scrapAllowance: number;
  /** R: grants ever given. */
  readonly reserved: number;
  /** C */
  readonly committed: number;
  /** V, scrapped ones included. */
  readonly voided: number;
  /** S */
  readonly scrapped: number;
  readonly open: number;
  /** L: reserve records in the programmer's last signed ledger segment. */
  readonly ledgerCounter: number;
  /** Whether a gap or a fork was seen in the ledger chain. */
  readonly ledgerGap: boolean;
  /** Whether the programmer proved with a signed receipt that the rest was erased. */
  readonly zeroised: boolean;
};

export type JobFacts = {
  readonly plannedCount: number;
  readonly allotments: readonly AllotmentFacts[];
  /** Devices minted and certified for this job that have not been voided. */
  readonly devicesCertified: number;
  /** UIDs of all committed units. */
  readonly committedUids: ReadonlySet<string>;
  /** Where the programmers' ledgers and the server disagree about units (ledgerStory.ts). */
  readonly ledgerFindings?: readonly Finding[];
  /** F: distinct UIDs seen in the field with this job. */
  readonly fieldUids: Iterable<string>;
};

export type Finding = {
  readonly kind:
    | 'overbuild-attempt'
    | 'lost-ledger'
    | 'ledger-tampering'
    | 'grey-unit'
    | 'open-units'
    | 'count-mismatch'
    | 'quota-exceeded'
    | 'scrap-exceeded'
    | 'not-zeroised'
    | 'device-mismatch'
    | 'unit-mismatch'
    | 'ledger-order';
  readonly programmer?: string;
  readonly uid?: string;
  readonly detail: string;
};

export type Reconciliation = { readonly verdict: 'clean' | 'discrepant'; readonly findings: readonly Finding[] };

/** Grey units named one by one in a report; the rest is counted in one finding. */
export const maxNamedGreyUnits = 1000;

/** @returns `clean` with no finding, or `discrepant` with all of them */
export function reconcile(facts: JobFacts): Reconciliation {
  const findings = [
    ...facts.allotments.flatMap(judgeAllotment),
    ...(facts.ledgerFindings ?? []),
    ...judgeDevices(facts),
    ...judgeField(facts),
  ];
  return { verdict: findings.length === 0 ? 'clean' : 'discrepant', findings };
}

function judgeAllotment(facts: AllotmentFacts): readonly Finding[] {
  const { programmer, quota, scrapAllowance, reserved, committed, voided, scrapped, open, ledgerCounter } = facts;
  const findings: Finding[] = [];
  const add = (kind: Finding['kind'], detail: string) => findings.push({ kind, programmer, detail });
  if (facts.ledgerGap) add('ledger-tampering', 'the ledger chain has a gap or a fork');
  if (ledgerCounter > reserved) add('overbuild-attempt', `the ledger counts ${ledgerCounter} reservations, the server ${reserved}`);
  if (ledgerCounter < reserved) add('lost-ledger', `the ledger counts ${ledgerCounter} reservations, the server ${reserved}`);
  if (open > 0) add('open-units', `${open} units are neither committed nor voided`);
  if (reserved !== committed + voided + open) {
    add('count-mismatch', `${reserved} reserved, but ${committed} committed + ${voided} voided + ${open} open`);
  }
  if (committed > quota) add('quota-exceeded', `${committed} committed of ${quota}`);
  if (scrapped > scrapAllowance) add('scrap-exceeded', `${scrapped} scrapped of ${scrapAllowance} allowed`);
  if (!facts.zeroised) add('not-zeroised', 'no signed receipt proves that the remaining count was erased');
  return findings;
}

function judgeDevices({ plannedCount, allotments, devicesCertified }: JobFacts): readonly Finding[] {
  const committed = allotments.reduce((sum, allotment) => sum + allotment.committed, 0);
  const findings: Finding[] = [];
  if (committed > plannedCount) findings.push({ kind: 'quota-exceeded', detail: `${committed} committed of ${plannedCount} planned` });
  if (committed !== devicesCertified) {
    findings.push({ kind: 'device-mismatch', detail: `${committed} units committed, ${devicesCertified} devices certified` });
  }
  return findings;
}

function judgeField({ committedUids, fieldUids }: JobFacts): readonly Finding[] {
  const grey = [...new Set(fieldUids)].filter(uid => !committedUids.has(uid)).sort();
  const named = grey.slice(0, maxNamedGreyUnits);
  const findings: Finding[] = named.map(uid => ({ kind: 'grey-unit', uid, detail: 'seen in the field, never committed' }));
  if (grey.length > named.length) findings.push({ kind: 'grey-unit', detail: `${grey.length - named.length} further units` });
  return findings;
}
