import { describe, it } from 'vitest';
import type { LineEncryption } from '../../src/domain/encryption.ts';
import { type LineCommand, line } from '../../src/domain/line.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

describe('a line', () => {
  const definition = { line: 'meter', vendorUuid: 'v', classUuid: 'c', counterMaximum: 200, oem: 'ACME' };
  const define: LineCommand = { type: 'DefineLine', ...definition };
  const floor = (value: number): LineCommand => ({ type: 'RaiseRollbackFloor', floor: value, by: 'o' });
  const onLine = (...commands: readonly LineCommand[]) => scenario(line).given(...play(line, commands).events);

  it('is defined once within the counter budget', () => {
    onLine().when(define).givesOnce({ type: 'LineDefined', data: definition });
    onLine(define)
      .when({ ...define, vendorUuid: 'x' })
      .refused('CONFLICT');
    onLine()
      .when({ ...define, counterMaximum: 256 })
      .refused('BAD_REQUEST');
    onLine()
      .when({ ...define, counterMaximum: 0 })
      .refused('BAD_REQUEST');
  });

  it('has blocks that a job can name, and as many as its slot needs', () => {
    const layout = { blockBytes: 65_536, appSlotBytes: 16 * 1024 * 1024 };
    onLine()
      .when({ ...define, layout })
      .givesOnce({ type: 'LineDefined', data: { ...definition, layout } });
    for (const wrong of [{ blockBytes: 255 }, { blockBytes: 65_537 }, { blockBytes: 256, appSlotBytes: 1024 * 1024 + 1 }])
      onLine()
        .when({ ...define, layout: wrong })
        .refused('BAD_REQUEST');
  });

  it('raises its rollback floor, never lowers it (RULE-11)', () => {
    covers('RULE-11');
    onLine(define)
      .when(floor(5))
      .givesOnce({ type: 'RollbackFloorRaised', data: { floor: 5, by: 'o' } });
    onLine(define, floor(5)).when(floor(4)).refused('ROLLBACK');
    onLine(define).when(floor(201)).refused('COUNTER_EXHAUSTED');
    onLine().when(floor(1)).refused('STATE');
  });

  it('decides once how its images are encrypted; that plain ones are refused may follow, and is never taken back', () => {
    const own = { scheme: 'device', bits: 128, only: false, uidBound: false } as const;
    const set = (encryption: LineEncryption): LineCommand => ({ type: 'SetLineEncryption', encryption, by: 'o' });
    const only = { ...own, only: true };
    onLine(define)
      .when(set(own))
      .givesOnce({ type: 'LineEncryptionSet', data: { encryption: own, by: 'o' } });
    onLine(define, set(own))
      .when(set(only))
      .givesOnce({ type: 'LineEncryptionSet', data: { encryption: only, by: 'o' } });
    onLine(define, set(only)).when(set(own)).refused('CONFLICT');
    for (const other of [{ bits: 256 }, { uidBound: true }, { scheme: 'line', publicKey: 'A'.repeat(87) }] as const)
      onLine(define, set(only))
        .when(set({ ...only, ...other }))
        .refused('CONFLICT');
    onLine(define)
      .when(set({ ...own, uidBound: true }))
      .refused('BAD_REQUEST');
    onLine(define)
      .when(set({ ...own, scheme: 'line' }))
      .refused('BAD_REQUEST');
    onLine(define)
      .when(set({ ...own, publicKey: 'A'.repeat(87) }))
      .refused('BAD_REQUEST');
    onLine(define)
      .when(set({ ...own, scheme: 'line', publicKey: 'A' }))
      .refused('KEY_REFUSED');
    onLine().when(set(own)).refused('STATE');
  });

  it('has a support period', () => {
    const set: LineCommand = { type: 'SetSupportPeriod', supportUntil: '2035-01-01T00:00:00.000Z', by: 'o' };
    onLine(define)
      .when(set)
      .givesOnce({ type: 'SupportPeriodSet', data: { supportUntil: '2035-01-01T00:00:00.000Z', by: 'o' } });
    onLine().when(set).refused('STATE');
  });
});
