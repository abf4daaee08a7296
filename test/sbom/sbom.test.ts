import { describe, expect, it } from 'vitest';
import { utf8 } from '../../src/bytes.ts';
import { readSbom } from '../../src/sbom/sbom.ts';
import { codeOf } from '../pki/support.ts';
import { cycloneDx, fileOf, spdx } from './samples.ts';

const parts = [
  { name: 'openssl', version: '3.0.1', purl: 'pkg:generic/openssl@3.0.1' },
  { name: 'lwip', version: '2.1.3' },
] as const;
const refused = (value: unknown) => codeOf(() => readSbom(value instanceof Uint8Array ? value : fileOf(value)));

describe('a CycloneDX bill of materials', () => {
  it.each(['1.2', '1.4', '1.5', '1.6', '1.7'])('of version %s names its components', async version => {
    expect(await readSbom(fileOf(cycloneDx(parts, version)))).toEqual({ format: 'cyclonedx-json', components: parts });
  });

  it('names components within components, and the version that only the package URL has', async () => {
    const inner = { type: 'library', name: 'zlib', purl: 'pkg:generic/zlib@1.3' };
    const nested = { ...cycloneDx([]), components: [{ type: 'library', name: 'outer', components: [inner] }, inner] };
    const { components } = await readSbom(fileOf(nested));
    expect(components).toEqual([{ name: 'outer' }, { name: 'zlib', version: '1.3', purl: 'pkg:generic/zlib@1.3' }]);
  });

  it('is refused where it is against the schema of its version', async () => {
    expect(await refused({ ...cycloneDx([]), components: [{ name: 'without a type' }] })).toBe('SBOM_REFUSED');
    expect(await refused(cycloneDx(parts, '1.1'))).toBe('SBOM_REFUSED');
    expect(await refused(cycloneDx([]))).toBe('SBOM_REFUSED');
    expect(await refused(cycloneDx([{ name: 'openssl', purl: 'openssl' }]))).toBe('SBOM_REFUSED');
  });
});

describe('an SPDX 2.3 bill of materials', () => {
  it('names its packages without the firmware that it describes', async () => {
    expect(await readSbom(fileOf(spdx(parts)))).toEqual({ format: 'spdx-json', components: parts });
  });

  it('is refused without what the specification asks for', async () => {
    const good = spdx(parts);
    for (const field of ['dataLicense', 'SPDXID', 'documentNamespace', 'creationInfo', 'packages'])
      expect(await refused({ ...good, [field]: undefined }), field).toBe('SBOM_REFUSED');
    expect(await refused({ ...good, spdxVersion: 'SPDX-2.2' })).toBe('SBOM_REFUSED');
    expect(await refused({ ...good, packages: [...good.packages, good.packages[1]] })).toBe('SBOM_REFUSED');
  });
});

it('anything else is refused', async () => {
  for (const value of [[], {}, { bomFormat: 'other' }, utf8('{'), Uint8Array.of(0xff)]) expect(await refused(value)).toBe('SBOM_REFUSED');
});
