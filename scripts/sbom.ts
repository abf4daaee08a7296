import { ComponentScope, ComponentType, HashAlgorithm } from '@cyclonedx/cyclonedx-library/Enums';
import { Bom, Component, HashDictionary, LicenseExpression, LicenseRepository, NamedLicense } from '@cyclonedx/cyclonedx-library/Models';
import { JSON as Json, JsonSerializer } from '@cyclonedx/cyclonedx-library/Serialize';
import { Spec1dot6 } from '@cyclonedx/cyclonedx-library/Spec';
import { PackageURL } from 'packageurl-js';
import { product, type ThirdParty, thirdParties } from './thirdParty.ts';

/** `npm run -s sbom` prints the product's own bill of materials, CycloneDX 1.6 JSON. The same package-lock.json gives the same bytes. */

function componentOf({ name, version, license, optional, sha512 }: ThirdParty): Component {
  const [bare = '', group] = name.split('/').reverse();
  const purl = new PackageURL('npm', group, bare, version, undefined, undefined).toString();
  const named = license.startsWith('LicenseRef-') ? new NamedLicense(license) : new LicenseExpression(license);
  return new Component(ComponentType.Library, bare, {
    bomRef: purl,
    purl,
    version,
    ...(group !== undefined && { group }),
    scope: optional ? ComponentScope.Optional : ComponentScope.Required,
    licenses: new LicenseRepository([named]),
    ...(sha512 !== undefined && { hashes: new HashDictionary([[HashAlgorithm['SHA-512'], sha512]]) }),
  });
}

export function productSbom(): string {
  const { name, version, license, description } = product;
  const bom = new Bom();
  bom.metadata.component = new Component(ComponentType.Application, name, {
    bomRef: `${name}@${version}`,
    version,
    description,
    licenses: new LicenseRepository([new LicenseExpression(license)]),
  });
  for (const party of thirdParties()) {
    const component = componentOf(party);
    bom.components.add(component);
    bom.metadata.component.dependencies.add(component.bomRef);
  }
  return `${new JsonSerializer(new Json.Normalize.Factory(Spec1dot6)).serialize(bom, { sortLists: true, space: 2 })}\n`;
}

if (import.meta.main) process.stdout.write(productSbom());
