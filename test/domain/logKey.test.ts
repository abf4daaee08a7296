import { describe, it } from 'vitest';
import { type LogKeyCommand, logKey } from '../../src/domain/logKey.ts';
import { play, scenario } from './scenario.ts';

describe('the key of the log', () => {
  const { type, ...facts } = {
    type: 'CertifyLogKey',
    rootId: 'root-1',
    keyId: 'log/1',
    certificate: 'MII',
    serial: '01',
    sha256: 'ab'.repeat(32),
    notAfter: '2046-01-01T00:00:00.000Z',
  } as const satisfies LogKeyCommand;
  const certified = scenario(logKey).given(...play(logKey, [{ type, ...facts }]).events);

  it('has one certificate by each root', () => {
    scenario(logKey)
      .given()
      .when({ type, ...facts })
      .givesOnce({ type: 'LogKeyCertified', data: facts });
    certified.when({ type, ...facts, certificate: 'MIJ', serial: '02' }).gives();
  });

  it('gets another one when a root or the key is new', () => {
    certified.when({ type, ...facts, rootId: 'root-2' }).givesOnce({ type: 'LogKeyCertified', data: { ...facts, rootId: 'root-2' } });
    certified.when({ type, ...facts, keyId: 'log/2' }).givesOnce({ type: 'LogKeyCertified', data: { ...facts, keyId: 'log/2' } });
  });
});
