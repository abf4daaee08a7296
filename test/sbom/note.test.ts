import { describe, expect, it } from 'vitest';
import { readNote } from '../../src/sbom/note.ts';
import { codeOf } from '../domain/scenario.ts';
import { csaf, fileOf, osv } from './samples.ts';

const read = (value: unknown) => readNote(fileOf(value));

describe('an OSV note', () => {
  it('names packages with the ranges of their events, by the CVE number it has', () => {
    const note = read({ ...osv('OSV-2026-1', 'openssl', '3.0.7'), aliases: ['CVE-2026-1'] });
    expect(note).toMatchObject({ format: 'osv', id: 'CVE-2026-1', aliases: ['OSV-2026-1'], title: 'a hole in openssl' });
    expect(note.affected).toEqual([{ name: 'openssl', versions: [], ranges: [{ introduced: '3.0.0', fixed: '3.0.7' }] }]);
  });

  it('takes 0 for the first version, several ranges and the last affected one, and leaves commits out', () => {
    const events = [{ introduced: '0' }, { fixed: '1.0' }, { introduced: '2.0' }, { last_affected: '2.4' }, { introduced: '3.0' }];
    const affected = [
      {
        package: { ecosystem: 'npm', name: '@scope/core', purl: 'pkg:npm/%40scope/core' },
        ranges: [
          { type: 'SEMVER', events },
          { type: 'GIT', repo: 'https://example.com', events: [{ introduced: 'abc' }] },
        ],
        versions: ['2.9'],
      },
    ];
    expect(read({ ...osv('X-1', 'y', '1'), affected }).affected).toEqual([
      {
        name: 'core',
        purl: 'pkg:npm/%40scope/core',
        versions: ['2.9'],
        ranges: [{ fixed: '1.0' }, { introduced: '2.0', lastAffected: '2.4' }, { introduced: '3.0' }],
      },
    ]);
  });

  it('is refused when it was withdrawn, or names nothing', () => {
    const good = osv('X-1', 'y', '1');
    for (const bad of [{ ...good, withdrawn: '2026-01-02T00:00:00Z' }, { ...good, affected: [] }, { ...good, id: undefined }, {}])
      expect(codeOf(() => read(bad))).toBe('NOTE_REFUSED');
  });
});

describe('a CSAF note', () => {
  const product = (id: string, purl?: string) => ({
    product_id: id,
    name: `product ${id}`,
    ...(purl && { product_identification_helper: { purl } }),
  });
  const branches = [
    {
      category: 'vendor',
      name: 'OpenSSL',
      branches: [
        {
          category: 'product_name',
          name: 'openssl',
          branches: [
            { category: 'product_version_range', name: 'vers:generic/>=3.0.0|<3.0.7|3.2.0', product: product('P1') },
            { category: 'product_version', name: '1.1.1k', product: product('P2', 'pkg:generic/openssl@1.1.1k') },
            { category: 'product_version', name: '3.0.7', product: product('P3') },
          ],
        },
      ],
    },
  ];

  it('names the products that are known to be affected, by package URL or by branches', () => {
    expect(read(csaf('CVE-2026-2', branches, ['P1', 'P2']))).toEqual({
      format: 'csaf',
      id: 'CVE-2026-2',
      aliases: ['EX-2026-1'],
      title: 'A hole',
      affected: [
        { name: 'openssl', versions: ['3.2.0'], ranges: [{ introduced: '3.0.0', fixed: '3.0.7' }] },
        { name: 'openssl', purl: 'pkg:generic/openssl@1.1.1k', versions: ['1.1.1k'], ranges: [] },
      ],
    });
  });

  it('is refused when a product is not in its tree, or when it is of another version', () => {
    expect(codeOf(() => read(csaf('CVE-2026-2', branches, ['P9'])))).toBe('NOTE_REFUSED');
    expect(codeOf(() => read(csaf('CVE-2026-2', branches, [])))).toBe('NOTE_REFUSED');
    const { document, ...rest } = csaf('CVE-2026-2', branches, ['P1']);
    expect(codeOf(() => read({ ...rest, document: { ...document, csaf_version: '1.2' } }))).toBe('NOTE_REFUSED');
  });
});
