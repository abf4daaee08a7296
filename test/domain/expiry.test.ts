import { describe, it } from 'vitest';
import { type ExpiryCommand, expiry } from '../../src/domain/expiry.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

describe('the end of a certificate', () => {
  const facts = { serial: '1', kind: 'gateway', subject: 'g', notAfter: '2027-01-01T00:00:00.000Z' };
  const notice = (days: number): ExpiryCommand => ({ type: 'NoticeExpiry', ...facts, days });
  const end = (now: string): ExpiryCommand => ({ type: 'EndCertificate', serial: '1', notAfter: facts.notAfter, now });
  const given = (...commands: readonly ExpiryCommand[]) => scenario(expiry).given(...play(expiry, commands).events);

  it('is told once at each threshold, nearer ones only, and is reached once (R86)', () => {
    covers('R86');
    given()
      .when(notice(90))
      .givesOnce({ type: 'CertificateExpiryNoticed', data: { ...facts, days: 90 } });
    given(notice(7)).when(notice(30)).gives();
    given(notice(30))
      .when(notice(7))
      .gives({ type: 'CertificateExpiryNoticed', data: { ...facts, days: 7 } });
    given().when(end('2026-12-31T00:00:00.000Z')).refused('STATE');
    given(notice(7))
      .when(end(facts.notAfter))
      .givesOnce({ type: 'CertificateEnded', data: { serial: '1', notAfter: facts.notAfter } });
    given(end(facts.notAfter)).when(notice(7)).gives();
  });
});
