import type { Component } from '../domain/component.ts';
import { NusecError } from '../errors.ts';
import { readCycloneDx } from './cyclonedx.ts';
import { jsonOf } from './json.ts';
import { readPurl } from './purl.ts';
import { readSpdx } from './spdx.ts';

/** Bills of materials of firmware: CycloneDX JSON (ECMA-424) and SPDX 2.3 JSON (ISO/IEC 5962 and its successor). */

export type Sbom = { readonly format: 'cyclonedx-json' | 'spdx-json'; readonly components: readonly Component[] };

const maxSbomBytes = 8 * 1024 * 1024;
const maxComponents = 4000;
/** Characters of one field of a component. */
const maxNameChars = 200;
const maxVersionChars = 100;
const maxPurlChars = 500;

/** Reads and checks a bill of materials.
 *  @throws NusecError SBOM_REFUSED with the place that is wrong: neither format, against its schema, without components, too large */
export async function readSbom(bytes: Uint8Array): Promise<Sbom> {
  if (bytes.length > maxSbomBytes) refuse(`it is larger than ${maxSbomBytes} bytes`);
  const { text, value } = jsonOf(bytes, refuse);
  const { bomFormat, spdxVersion } = value as { readonly bomFormat?: unknown; readonly spdxVersion?: unknown };
  if (bomFormat === 'CycloneDX') return { format: 'cyclonedx-json', components: listed(await readCycloneDx(text, value, refuse)) };
  if (spdxVersion !== undefined) return { format: 'spdx-json', components: listed(readSpdx(value, refuse)) };
  return refuse('it is neither CycloneDX JSON (bomFormat) nor SPDX 2.3 JSON (spdxVersion)');
}

function refuse(why: string): never {
  throw new NusecError('SBOM_REFUSED', `the bill of materials is refused: ${why}`);
}

/** Each component once, in order. A version that only the package URL has counts as well. */
function listed(found: readonly Component[]): readonly Component[] {
  const byKey = new Map<string, Component>();
  for (const { name, version, purl } of found) {
    if (name.length > maxNameChars || (version ?? '').length > maxVersionChars || (purl ?? '').length > maxPurlChars)
      refuse(`the component ${name.slice(0, 40)} has a name, version or package URL that is too long`);
    const known = purl === undefined ? undefined : readPurl(purl);
    if (purl !== undefined && known === undefined) refuse(`${purl} is no package URL`);
    const own = version ?? known?.version;
    byKey.set(JSON.stringify([name, own, purl]), { name, ...(own !== undefined && { version: own }), ...(purl !== undefined && { purl }) });
  }
  if (byKey.size === 0) refuse('it names no component');
  if (byKey.size > maxComponents) refuse(`it names more than ${maxComponents} components`);
  return [...byKey.values()];
}
