import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareComponentVersions, isAffected } from '../../src/sbom/versions.ts';

describe('the order of component versions', () => {
  it.each([
    ['1.0.0-rc.1', '1.0.0'],
    ['1.9.0', '1.10.0'],
    ['1.1.1', '1.1.1a'],
    ['1.1.1a', '1.1.1w'],
    ['1.1.1w', '1.1.2'],
    ['V10.4.3', 'V10.5.0'],
    ['3.5', '3.5.1'],
    ['3.6.0-rc2', '3.6.0'],
    ['2.1.3-beta1', '2.1.3-rc1'],
    ['2022-05-01', '2023-01-02'],
  ])('%s is older than %s', (older, newer) => {
    expect(compareComponentVersions(older, newer)).toBeLessThan(0);
    expect(compareComponentVersions(newer, older)).toBeGreaterThan(0);
  });

  it.each([
    ['v1.2.0', '1.2'],
    ['1.2.0+build5', '1.2.0'],
  ])('%s is %s', (one, other) => {
    expect(compareComponentVersions(one, other)).toBe(0);
  });

  it('turns round with its arguments', () => {
    const version = fc.stringMatching(/^v?\d{1,3}(\.\d{1,3}){0,3}(-?(rc|beta|a|w)\d?)?$/);
    fc.assert(
      fc.property(version, version, (a, b) => {
        expect(Math.sign(compareComponentVersions(a, b)) + Math.sign(compareComponentVersions(b, a))).toBe(0);
        expect(compareComponentVersions(a, a)).toBe(0);
      }),
    );
  });
});

describe('an affected component', () => {
  const range = {
    name: 'openssl',
    versions: ['1.1.1k'],
    ranges: [
      { introduced: '3.0.0', fixed: '3.0.7' },
      { introduced: '3.2.0', lastAffected: '3.2.1' },
    ],
  };

  it.each([
    ['1.1.1k', true],
    ['2.9', false],
    ['3.0.0', true],
    ['3.0.6', true],
    ['3.0.7', false],
    ['3.2.1', true],
    ['3.2.2', false],
  ])('in version %s: %s', (version, affected) => {
    expect(isAffected({ name: 'OpenSSL', version }, range)).toBe(affected);
  });

  it('is one without a version, and one of which no version is named', () => {
    expect(isAffected({ name: 'openssl' }, range)).toBe(true);
    expect(isAffected({ name: 'openssl', version: '9' }, { name: 'openssl', versions: [], ranges: [] })).toBe(true);
  });

  it('is told from another of the same name by its package URL, where both have one of a registry', () => {
    const affected = { name: 'core', purl: 'pkg:npm/%40scope/core', versions: [], ranges: [] };
    expect(isAffected({ name: 'core', purl: 'pkg:npm/%40scope/core@1.0.0' }, affected)).toBe(true);
    expect(isAffected({ name: 'core', purl: 'pkg:npm/core@1.0.0' }, affected)).toBe(false);
    expect(isAffected({ name: 'core', purl: 'pkg:generic/core@1.0.0' }, affected)).toBe(true);
    expect(isAffected({ name: 'core' }, affected)).toBe(true);
  });
});
