import { describe, expect, it } from 'vitest';
import { adviceOn, stopsLine } from '../../src/cli/produceAdvice.ts';
import type { ErrorCode } from '../../src/errors.ts';

/** What an operator reads when a unit was not built: what happened, and what to do about it and about the chip. */

const advice = (outcome: ErrorCode, bin: 'hold' | 'retry' | 'scrap' | 'reject', detail = '') =>
  adviceOn({ outcome, bin, ...(detail !== '' && { detail }) });

describe('the line about a unit that was not built', () => {
  it.each<readonly [string, ErrorCode, string, RegExp]>([
    ['a chip that was provisioned before', 'DEVICE_STATE', 'this chip has been provisioned before', /provisioned before; .*new/],
    ['a package that was replaced', 'PACKAGE_REFUSED', '', /newer package/],
    ['a certificate of the programmer that is revoked or on hold', 'CERTIFICATE_REVOKED', '', /suspended .*or ended .*ask the OEM/],
    ['a full disk of the server', 'STORE_FULL', 'the disk is full', /disk is full; .*tell the OEM/],
    ['a server that cannot store', 'STORE_UNAVAILABLE', '', /tell the OEM/],
    ['no package', 'NOT_FOUND', 'no package was imported', /import a package first/],
  ])('says of %s what it is, and that no unit was begun', (_, code, detail, text) => {
    const line = advice(code, 'reject', detail);
    expect(line).toMatch(text);
    expect(line).toContain('no unit was begun on this chip');
  });

  it('says where the chip goes', () => {
    expect(advice('LINK_TIMEOUT', 'hold')).toMatch(/socket, power and wires; keep this chip/);
    expect(advice('RECEIPT_REFUSED', 'scrap')).toMatch(/scrap bin/);
    expect(advice('GRANT_USED', 'retry')).toMatch(/run the same command again; nothing was burned/);
    expect(advice('CONFLICT', 'retry')).toMatch(/nothing was burned/);
  });

  it('is never empty', () => {
    expect(adviceOn({ outcome: 'INTERNAL' })).toBe('the programmer has ended this unit');
  });
});

describe('the line of a station', () => {
  it('stops for what no other chip would get past, and goes on after what is of one chip or of the moment', () => {
    expect((['COUNT_EXHAUSTED', 'CERTIFICATE_REVOKED', 'PACKAGE_REFUSED', 'NOT_FOUND'] as const).map(stopsLine)).toEqual(
      Array(4).fill(true),
    );
    expect((['DEVICE_STATE', 'LINK_TIMEOUT', 'UID_CONFLICT', 'STORE_FULL', 'RECEIPT_REFUSED'] as const).map(stopsLine)).toEqual(
      Array(5).fill(false),
    );
  });
});
