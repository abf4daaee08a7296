import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { thirdPartyPage } from '../scripts/licences.ts';
import { productSbom } from '../scripts/sbom.ts';
import { thirdParties } from '../scripts/thirdParty.ts';
import { readSbom } from '../src/sbom/sbom.ts';

const { dependencies, optionalDependencies } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as Record<
  'dependencies' | 'optionalDependencies',
  Record<string, string>
>;
const asked = Object.entries({ ...dependencies, ...optionalDependencies });
/** Licences that ask nothing of who builds on a package but to name it; whoever adds another one thinks first. */
const welcome =
  /^(MIT|ISC|0BSD|BSD-[23]-Clause|Apache-2\.0|CC0-1\.0|\(BSD-3-Clause AND Apache-2\.0\)|LicenseRef-Kurrent-1|BlueOak-1\.0\.0|Unlicense)$/;

it('the bill of materials of the product is valid CycloneDX, has every package of the lock file, and is the same each time', async () => {
  const text = productSbom();
  const { format, components } = await readSbom(Buffer.from(text));
  expect(format).toBe('cyclonedx-json');
  expect(components).toHaveLength(thirdParties().length);
  for (const [name, version] of asked) expect(text).toContain(`"pkg:npm/${name.replace('@', '%40')}@${version}"`);
  expect(productSbom()).toBe(text);
});

it('every package that is shipped names a licence that may be shipped', () => {
  expect(thirdParties().filter(({ license }) => !welcome.test(license))).toEqual([]);
  for (const [name, version] of asked) expect(thirdPartyPage()).toContain(`${name} ${version}`);
});
