import { describe, expect, it } from 'vitest';
import { issuerUses } from '../../src/pki/issuerScope.ts';
import { endOfLife, icaLifetime, issuingEndsMs, leafLifetimes } from '../../src/pki/lifetimes.ts';
import { dayMs } from '../../src/times.ts';
import { covers } from '../support/covers.ts';

const start = '2026-01-01T00:00:00.000Z';
const startMs = Date.parse(start);
const authority = (lifetimeDays: number) => ({ notBefore: start, notAfter: new Date(startMs + lifetimeDays * dayMs).toISOString() });
const issuingDays = (ica: ReturnType<typeof authority>, profile: Parameters<typeof issuingEndsMs>[1]) =>
  Math.round((issuingEndsMs(ica, profile) - startMs) / dayMs);

describe('an issuing CA (I15)', () => {
  it('lives as long as what it issues and the ten years in which it issues', () => {
    covers('I15');
    for (const use of issuerUses) {
      const leaf: number | string = leafLifetimes[use];
      const life = icaLifetime(use);
      if (leaf === 'endless') expect(life).toBe('endless');
      else expect(Number(life) - Number(leaf)).toBe(3652);
    }
    expect(new Date(endOfLife(startMs, 'endless')).toISOString()).toBe('9999-12-31T23:59:59.000Z');
  });

  it('issues while a certificate has its whole life before it', () => {
    expect(issuingDays(authority(3652 + 730), 'programmer')).toBe(3652);
    expect(issuingDays(authority(3652 + 365), 'gateway')).toBe(3652);
    expect(issuingDays(authority(3652), 'ldevid')).toBe(3562);
  });

  it('that was made shorter than what it issues stops in the last third of its life', () => {
    expect(issuingDays(authority(3653), 'device')).toBe(2435);
    expect(issuingDays(authority(90), 'gateway')).toBe(60);
  });
});
