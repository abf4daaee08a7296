import { describe, it } from 'vitest';
import { type RecoveryCodesCommand, recoveryCodes } from '../../src/domain/recoveryCodes.ts';
import { play, scenario } from './scenario.ts';

const now = '2026-07-01T00:00:00.000Z';
const codes = ['a', 'b', 'c'].map(salt => ({ salt, hash: `h${salt}` }));
const make = (validFrom = now): RecoveryCodesCommand => ({ type: 'MakeRecoveryCodes', codes, validFrom });
const use = (right: number) => ({ type: 'UseRecoveryCodes', name: 'ann', right, now }) as const;
const on = (...commands: readonly RecoveryCodesCommand[]) => scenario(recoveryCodes).given(...play(recoveryCodes, commands).events);

describe('recovery codes', () => {
  it('are three, and two of them are used once', () => {
    on(make())
      .when(use(2))
      .gives({ type: 'RecoveryCodesUsed', data: { name: 'ann' } });
    on(make())
      .when({ ...use(2), second: 'ben' })
      .gives({ type: 'RecoveryCodesUsed', data: { name: 'ann', second: 'ben' } });
    on(make())
      .when({ ...use(2), second: 'ann' })
      .refused('FOUR_EYES_REQUIRED');
    on(make()).when(use(1)).refused('FORBIDDEN');
    on(make(), use(2)).when(use(3)).refused('STATE');
    on().when(use(3)).refused('STATE');
    on()
      .when({ type: 'MakeRecoveryCodes', codes: codes.slice(1), validFrom: now })
      .refused('BAD_REQUEST');
  });

  it('count from their time on, and a new set ends the one before', () => {
    on(make('2026-07-04T00:00:00.000Z')).when(use(2)).refused('STATE');
    on(make(), make('2026-07-04T00:00:00.000Z')).when(use(3)).refused('STATE');
  });
});
