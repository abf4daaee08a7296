import { z } from 'zod';
import type { Component } from '../domain/component.ts';

/** SPDX 2.3 JSON. Checked: what the specification asks of a document (clause 6) and of a package (clause 7), and that what relationships name is there. */

const spdxId = z.string().regex(/^SPDXRef-[A-Za-z0-9.-]+$/, 'an SPDX identifier reads SPDXRef-…');
const packageSchema = z.looseObject({
  SPDXID: spdxId,
  name: z.string().min(1),
  downloadLocation: z.string().min(1),
  versionInfo: z.string().optional(),
  externalRefs: z
    .array(z.looseObject({ referenceCategory: z.string(), referenceType: z.string(), referenceLocator: z.string() }))
    .optional(),
});
const documentSchema = z.looseObject({
  spdxVersion: z.literal('SPDX-2.3'),
  dataLicense: z.literal('CC0-1.0'),
  SPDXID: z.literal('SPDXRef-DOCUMENT'),
  name: z.string().min(1),
  documentNamespace: z.url(),
  creationInfo: z.looseObject({ created: z.iso.datetime(), creators: z.array(z.string().min(1)).min(1) }),
  packages: z.array(packageSchema).min(1),
  relationships: z
    .array(z.looseObject({ spdxElementId: z.string(), relatedSpdxElement: z.string(), relationshipType: z.string() }))
    .optional(),
  documentDescribes: z.array(z.string()).optional(),
});

type Document = z.infer<typeof documentSchema>;

/** What the document describes is the firmware itself and no component of it. @param refuse called with what is wrong */
export function readSpdx(value: object, refuse: (why: string) => never): readonly Component[] {
  const { success, data, error } = documentSchema.safeParse(value);
  if (!success) return refuse(`${error.issues[0]?.path.join('.')}: ${error.issues[0]?.message}`);
  const described = describedBy(data);
  const twice = data.packages.find(({ SPDXID }, i) => data.packages.findIndex(other => other.SPDXID === SPDXID) !== i);
  if (twice !== undefined) refuse(`it has ${twice.SPDXID} twice`);
  const parts = data.packages.filter(({ SPDXID }) => data.packages.length === 1 || !described.has(SPDXID));
  return parts.map(({ name, versionInfo, externalRefs = [] }) => {
    const purl = externalRefs.find(({ referenceType }) => referenceType === 'purl')?.referenceLocator;
    return { name, ...(versionInfo && { version: versionInfo }), ...(purl && { purl }) };
  });
}

function describedBy({ relationships = [], documentDescribes = [], SPDXID }: Document): ReadonlySet<string> {
  const related = relationships.flatMap(({ spdxElementId, relatedSpdxElement, relationshipType }) => {
    if (relationshipType === 'DESCRIBES' && spdxElementId === SPDXID) return [relatedSpdxElement];
    return relationshipType === 'DESCRIBED_BY' && relatedSpdxElement === SPDXID ? [spdxElementId] : [];
  });
  return new Set([...documentDescribes, ...related]);
}
