import { utf8 } from '../../src/bytes.ts';

/** Bills of materials and vulnerability notes, as tools write them. */

export const fileOf = (value: unknown): Uint8Array => utf8(JSON.stringify(value));

export type Part = { readonly name: string; readonly version?: string; readonly purl?: string };

export const cycloneDx = (components: readonly Part[], specVersion = '1.6') => ({
  bomFormat: 'CycloneDX',
  specVersion,
  version: 1,
  metadata: { component: { type: 'firmware', name: 'meter', version: '1.0.0' } },
  components: components.map(part => ({ type: 'library', ...part })),
});

export const spdx = (components: readonly Part[]) => ({
  spdxVersion: 'SPDX-2.3',
  dataLicense: 'CC0-1.0',
  SPDXID: 'SPDXRef-DOCUMENT',
  name: 'meter',
  documentNamespace: 'https://example.com/meter/1.0.0',
  creationInfo: { created: '2026-01-01T00:00:00Z', creators: ['Tool: west spdx'] },
  packages: [
    { SPDXID: 'SPDXRef-firmware', name: 'meter', versionInfo: '1.0.0', downloadLocation: 'NOASSERTION' },
    ...components.map(({ name, version, purl }, i) => ({
      SPDXID: `SPDXRef-${i}`,
      name,
      downloadLocation: 'NOASSERTION',
      ...(version && { versionInfo: version }),
      ...(purl && { externalRefs: [{ referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator: purl }] }),
    })),
  ],
  relationships: [{ spdxElementId: 'SPDXRef-DOCUMENT', relatedSpdxElement: 'SPDXRef-firmware', relationshipType: 'DESCRIBES' }],
});

/** Versions from 3.0.0 up to, without, `fixed`. */
export const osv = (id: string, name: string, fixed: string) => ({
  schema_version: '1.6.0',
  id,
  modified: '2026-01-01T00:00:00Z',
  summary: `a hole in ${name}`,
  affected: [{ package: { ecosystem: 'OSS-Fuzz', name }, ranges: [{ type: 'ECOSYSTEM', events: [{ introduced: '3.0.0' }, { fixed }] }] }],
});

export const csaf = (cve: string, branches: unknown, affected: readonly string[]) => ({
  document: {
    category: 'csaf_security_advisory',
    csaf_version: '2.0',
    title: 'A hole',
    publisher: { category: 'vendor', name: 'Example', namespace: 'https://example.com' },
    tracking: { id: 'EX-2026-1' },
  },
  product_tree: { branches },
  vulnerabilities: [{ cve, product_status: { known_affected: affected } }],
});
