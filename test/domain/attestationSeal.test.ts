import { expect, it } from 'vitest';
import { type AttestationSealCommand, attestationSeal } from '../../src/domain/attestationSeal.ts';
import { play, scenario } from './scenario.ts';

const seal = (day: string): AttestationSealCommand => ({ type: 'SealDay', day, rows: 2, root: 'aa', note: 'signed' });
const on = (...commands: readonly AttestationSealCommand[]) => scenario(attestationSeal).given(...play(attestationSeal, commands).events);

it('seals the days of a line in their order, each once', () => {
  const data = { day: '2026-01-02', rows: 2, root: 'aa', note: 'signed' };
  on().when(seal('2026-01-02')).givesOnce({ type: 'AttestationsSealed', data });
  on(seal('2026-01-02'))
    .when(seal('2026-01-05'))
    .gives({ type: 'AttestationsSealed', data: { ...data, day: '2026-01-05' } });
  on(seal('2026-01-02')).when(seal('2026-01-01')).refused('CONFLICT');
  expect(play(attestationSeal, [seal('2026-01-02')]).state).toEqual({ status: 'SEALED', lastDay: '2026-01-02', lastRoot: 'aa' });
});

it('seals rows that came late for a day that is sealed, or was passed over, and each once', () => {
  const late = (day: string, root = 'bb') => ({ ...seal(day), root, through: { aa: 3 }, late: true }) as const;
  const { type: _, ...data } = late('2026-01-02');
  on(seal('2026-01-05')).when(late('2026-01-02')).givesOnce({ type: 'AttestationsSealed', data });
  on(seal('2026-01-05'), late('2026-01-02')).when(seal('2026-01-05')).gives();
  on(seal('2026-01-05')).when(late('2026-01-06')).refused('CONFLICT');
  on().when(late('2026-01-06')).refused('CONFLICT');
  expect(play(attestationSeal, [seal('2026-01-05'), late('2026-01-02')]).state).toEqual({
    status: 'SEALED',
    lastDay: '2026-01-05',
    lastRoot: 'bb',
  });
});
