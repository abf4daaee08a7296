import { describe, expect, it } from 'vitest';
import { type CertificationCommand, certification } from '../../src/domain/certification.ts';
import { covers } from '../support/covers.ts';
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
  it('is refused to whoever asks too often within an hour', () => {
    covers('T24');
    const another = (serial: number, minute: number): CertificationCommand => ({
      ...intend,
      serial: String(serial),
      publicKeySha256: String(serial),
      notBefore: new Date(Date.parse(intent.notBefore) + minute * 60_000).toISOString(),
    });
    const six = [0, 1, 2, 3, 4, 5].map(serial => another(serial, serial));
    on(...six)
      .when(another(6, 59))
      .refused('RATE_LIMITED');
    on(...six)
      .when(another(5, 59))
      .gives();
    expect(play(certification, [...six, another(6, 61)]).state.status).toBe('PENDING');
  });

  it('is not refused for a key that two people have agreed on, however much the machine has asked for (T20)', () => {
    covers('T20', 'T24');
    const another = (serial: number): CertificationCommand => ({ ...intend, serial: String(serial), publicKeySha256: String(serial) });
    const facts = { ...intent, serial: '9', publicKeySha256: '9', agreed: true } as const;
    const agreed: CertificationCommand = { type: 'IntendCertificate', ...facts };
    const five = [0, 1, 2, 3, 4].map(another);
    on(...five, another(5))
      .when(agreed)
      .gives({ type: 'CertificateIntended', data: facts });
    // Nor does it take from what the machine has.
    expect(play(certification, [...five, agreed, another(5)]).state.status).toBe('PENDING');
    on(...five, agreed, another(5))
      .when(another(6))
      .refused('RATE_LIMITED');
  });

  it('stays what it is for the same key, and gives way to another key or when it is done', () => {
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
