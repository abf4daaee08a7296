import { describe, it } from 'vitest';
import { type CertificationCommand, certification } from '../../src/domain/certification.ts';
import { type ExpiryCommand, expiry } from '../../src/domain/expiry.ts';
import { play, scenario } from './scenario.ts';

const intent = {
  serial: '1',
  csrSha256: 'c',
  publicKeySha256: 'k',
  icaId: 'gateway-1',
  notBefore: '2026-01-01T00:00:00.000Z',
  notAfter: '2027-01-01T00:00:00.000Z',
};
const intend: CertificationCommand = { type: 'IntendCertificate', ...intent };
const finish: CertificationCommand = { type: 'FinishIntent', serial: '1' };
const on = (...commands: readonly CertificationCommand[]) => scenario(certification).given(...play(certification, commands).events);

describe('the intent to sign a certificate', () => {
  it('stays what it is for the same key, and gives way to another key or when it is done (R78)', () => {
    on().when(intend).givesOnce({ type: 'CertificateIntended', data: intent });
    on(intend)
      .when({ ...intend, serial: '2' })
      .gives();
    on(intend)
      .when({ ...intend, serial: '2', publicKeySha256: 'other' })
      .gives({ type: 'CertificateIntended', data: { ...intent, serial: '2', publicKeySha256: 'other' } });
    on(intend)
      .when(finish)
      .givesOnce({ type: 'CertificateIntentDone', data: { serial: '1' } });
    on(intend, finish)
      .when({ ...intend, serial: '2' })
      .gives({ type: 'CertificateIntended', data: { ...intent, serial: '2' } });
    on(intend)
      .when({ ...finish, serial: '9' })
      .gives();
    on()
      .when({ ...intend, notAfter: intent.notBefore })
      .refused('CERTIFICATE_EXPIRED');
  });
});

describe('the end of a certificate', () => {
  const facts = { serial: '1', kind: 'gateway', subject: 'g', notAfter: '2027-01-01T00:00:00.000Z' };
  const notice = (days: number): ExpiryCommand => ({ type: 'NoticeExpiry', ...facts, days });
  const end = (now: string): ExpiryCommand => ({ type: 'EndCertificate', serial: '1', notAfter: facts.notAfter, now });
  const given = (...commands: readonly ExpiryCommand[]) => scenario(expiry).given(...play(expiry, commands).events);

  it('is told once at each threshold, nearer ones only, and is reached once (R86)', () => {
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
