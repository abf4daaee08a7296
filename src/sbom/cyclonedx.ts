import type { JsonValidator } from '@cyclonedx/cyclonedx-library/Validation';
import { z } from 'zod';
import type { Component } from '../domain/component.ts';

/** CycloneDX JSON (ECMA-424), versions 1.2 to 1.7: checked against the schema of its version by the library of the project, which brings it along. */

type Part = {
  readonly name: string;
  readonly version?: string | undefined;
  readonly purl?: string | undefined;
  readonly components?: unknown;
};
const part = z.looseObject({
  name: z.string(),
  version: z.string().optional(),
  purl: z.string().optional(),
  components: z.array(z.unknown()).optional(),
});

/** Components within components. */
const maxDepth = 20;

/** @param refuse called with what is wrong */
export async function readCycloneDx(text: string, value: object, refuse: (why: string) => never): Promise<readonly Component[]> {
  await validate(text, value, refuse);
  const { components = [] } = value as { readonly components?: readonly unknown[] };
  return components.flatMap(one => flat(one, 0, refuse));
}

/** Each schema is compiled once, when the first document of its version comes: that takes a tenth of a second. */
const validators = new Map<string, JsonValidator>();

async function validate(text: string, value: object, refuse: (why: string) => never): Promise<void> {
  const validation = await import('@cyclonedx/cyclonedx-library/Validation');
  const { Version } = await import('@cyclonedx/cyclonedx-library/Spec');
  const version = Object.values(Version).find(known => known === (value as { readonly specVersion?: unknown }).specVersion);
  if (version === undefined || version === Version.v1dot0 || version === Version.v1dot1) return refuse('its specVersion is not supported');
  const validator = validators.get(version) ?? new validation.JsonValidator(version);
  validators.set(version, validator);
  const [wrong] = (await validator.validate(text)) ?? [];
  if (wrong !== undefined) refuse(`${wrong.instancePath || 'the document'} ${wrong.message ?? 'is not as the schema has it'}`);
}

function flat(one: unknown, depth: number, refuse: (why: string) => never): readonly Component[] {
  if (depth > maxDepth) refuse('its components are nested too deeply');
  const { name, version, purl, components } = part.parse(one) satisfies Part;
  const own: Component = { name, ...(version && { version }), ...(purl && { purl }) };
  return [own, ...(components ?? []).flatMap(inner => flat(inner, depth + 1, refuse))];
}
