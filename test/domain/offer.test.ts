import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { judgeOffer, judgeReport, maxCounterJump, type OfferDevice, type OfferRelease, type OfferRules } from '../../src/domain/offer.ts';
import { compareVersions, formatVersion, parseVersion } from '../../src/domain/version.ts';
import { covers } from '../support/covers.ts';
import { codeOf } from './scenario.ts';

const product = { line: 'meter', vendorUuid: 'v', classUuid: 'c' };
const device: OfferDevice = { ...product, able: true, firmware: { version: '2.0.0', securityCounter: 5, imageHash: 'old' } };
const release: OfferRelease = {
  ...product,
  status: 'PUBLISHED',
  version: '2.1.0',
  securityCounter: 6,
  imageHashes: ['new', 'new-encrypted'],
};
const rules: OfferRules = { rollbackFloor: 0, counterMaximum: 255 };
const permit = { ...rules, downgradePermit: { approvers: ['a', 'b'] } };
const judge = (d: Partial<OfferDevice>, r: Partial<OfferRelease>, u: Partial<OfferRules> = {}) =>
  judgeOffer({ ...device, ...d }, { ...release, ...r }, { ...rules, ...u });

describe('the offer decision (I9, RULE-11, T12)', () => {
  it('allows newer firmware of the same product', () => {
    expect(judge({}, {})).toBeUndefined();
  });

  it('refuses another line, vendor or class before anything else (T13)', () => {
    covers('T13');
    for (const other of [{ line: 'x' }, { vendorUuid: 'x' }, { classUuid: 'x' }])
      expect(judge({ able: false }, other)).toBe('WRONG_PRODUCT');
  });

  it('refuses in the order device state, release state, rollback, version, maximum, jump', () => {
    covers('I9', 'RULE-11', 'T12');
    expect(judge({ able: false }, { status: 'WITHDRAWN' })).toBe('DEVICE_STATE');
    expect(judge({}, { status: 'WITHDRAWN', securityCounter: 1 })).toBe('RELEASE_STATE');
    expect(judge({}, { securityCounter: 4, version: '1.0.0' })).toBe('ROLLBACK');
    expect(judge({}, { securityCounter: 6 }, { rollbackFloor: 7 })).toBe('ROLLBACK');
    expect(judge({}, { version: '1.0.0', securityCounter: 300 })).toBe('DOWNGRADE');
    expect(judge({}, { securityCounter: 300 })).toBe('COUNTER_EXHAUSTED');
    expect(judge({}, { securityCounter: 5 + maxCounterJump })).toBeUndefined();
    expect(judge({}, { securityCounter: 6 + maxCounterJump })).toBe('COUNTER_JUMP');
    expect(judge({}, { securityCounter: 6 + maxCounterJump }, { counterJumpApproved: true })).toBeUndefined();
  });

  it('offers a line that accepts encrypted images only nothing else, and nothing to a device that cannot decrypt', () => {
    const only = { encryptedOnly: true };
    expect(judge({ decrypts: true }, {}, only)).toBe('ENCRYPTION_REQUIRED');
    expect(judge({ decrypts: false }, { isEncrypted: true }, only)).toBe('ENCRYPTION_REQUIRED');
    expect(judge({ decrypts: true }, { isEncrypted: true }, only)).toBeUndefined();
    expect(judge({}, { isEncrypted: true })).toBeUndefined();
  });

  it('knows what is installed already, in either variant', () => {
    const same = { version: '2.0.0', securityCounter: 5, imageHashes: ['plain', 'old'] };
    expect(judge({}, same)).toBe('ALREADY');
    expect(judge({}, { ...same, imageHashes: ['plain'] })).toBe('DOWNGRADE');
  });

  it('allows an older version only at equal counter with a permit of two people', () => {
    const older = { version: '1.9.0', securityCounter: 5 };
    expect(judge({}, older)).toBe('DOWNGRADE');
    expect(judge({}, older, permit)).toBeUndefined();
    expect(judge({}, older, { downgradePermit: { approvers: ['a', 'a'] } })).toBe('DOWNGRADE');
    expect(judge({}, { ...older, securityCounter: 6 }, permit)).toBe('DOWNGRADE');
  });

  it('never lets the counter fall or the maximum be passed, whatever the permits (I9)', () => {
    covers('I9');
    const counter = fc.integer({ min: 0, max: 300 });
    const version = fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3)).map(parts => parts.join('.'));
    fc.assert(
      fc.property(counter, counter, counter, version, version, fc.boolean(), (mine, theirs, floor, installed, offered, jump) => {
        const verdict = judge(
          { firmware: { version: installed, securityCounter: mine, imageHash: 'old' } },
          { version: offered, securityCounter: theirs },
          { ...permit, rollbackFloor: floor, counterJumpApproved: jump },
        );
        if (verdict !== undefined) return;
        expect(theirs).toBeGreaterThanOrEqual(Math.max(mine, floor));
        expect(theirs).toBeLessThanOrEqual(rules.counterMaximum);
        expect(compareVersions(offered, installed) > 0 || theirs === mine).toBe(true);
      }),
    );
  });
});

describe('what the device reports', () => {
  const { firmware } = device;
  it('is taken when it is not below what was proven', () => {
    expect(judgeReport(firmware, undefined)).toEqual({ firmware, verified: false, lower: false });
    const newer = { version: '3.0.0', securityCounter: 6, imageHash: 'x' };
    expect(judgeReport(firmware, newer)).toEqual({ firmware: newer, verified: true, lower: false });
  });

  it('shows a rollback or a clone when it is lower', () => {
    expect(judgeReport(firmware, { ...firmware, securityCounter: 4, version: '9.0.0' }).lower).toBe(true);
    expect(judgeReport(firmware, { ...firmware, version: '1.9.9' }).lower).toBe(true);
    expect(judgeReport(firmware, { ...firmware, version: '1.9.9', securityCounter: 6 }).lower).toBe(false);
  });
});

describe('versions', () => {
  it('read and write MCUboot versions', () => {
    const fields = fc.record({
      major: fc.nat(0xff),
      minor: fc.nat(0xff),
      revision: fc.nat(0xffff),
      build: fc.integer({ min: 0, max: 0xffff_ffff }),
    });
    fc.assert(
      fc.property(fields, version => {
        expect(parseVersion(formatVersion(version))).toEqual(version);
      }),
    );
    expect(formatVersion(parseVersion('1.2.3+0'))).toBe('1.2.3');
  });

  it('refuse what is no version', () => {
    for (const text of ['', '1', '1.2', '1.2.3.4', '1.2.x', 'v1.2.3', '256.0.0', '0.256.0', '0.0.65536', '0.0.0+4294967296', ' 1.2.3']) {
      expect(
        codeOf(() => parseVersion(text)),
        text,
      ).toBe('BAD_REQUEST');
    }
  });

  it('are ordered by number, ignoring the build', () => {
    expect(compareVersions('1.10.0', '1.9.9')).toBeGreaterThan(0);
    expect(compareVersions('1.2.3+9', '1.2.3+1')).toBe(0);
    expect(compareVersions('0.9.9', '1.0.0')).toBeLessThan(0);
  });
});
