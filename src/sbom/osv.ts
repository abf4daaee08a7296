import { z } from 'zod';
import type { AffectedComponent, VersionRange } from '../domain/component.ts';
import { readPurl } from './purl.ts';
import type { VulnerabilityNote } from './vulnerabilityNote.ts';

/** OSV: affected packages with ranges of events. Ranges of Git commits say nothing about versions and are passed over. */

const eventSchema = z.looseObject({
  introduced: z.string().optional(),
  fixed: z.string().optional(),
  last_affected: z.string().optional(),
  limit: z.string().optional(),
});
const affectedSchema = z.looseObject({
  package: z.looseObject({ ecosystem: z.string(), name: z.string().min(1), purl: z.string().optional() }),
  ranges: z.array(z.looseObject({ type: z.enum(['SEMVER', 'ECOSYSTEM', 'GIT']), events: z.array(eventSchema).min(1) })).optional(),
  versions: z.array(z.string()).optional(),
});
const noteSchema = z.looseObject({
  id: z.string().min(1).max(100),
  modified: z.iso.datetime(),
  withdrawn: z.string().optional(),
  aliases: z.array(z.string()).optional(),
  summary: z.string().optional(),
  details: z.string().optional(),
  affected: z.array(affectedSchema).min(1),
});

export function readOsv(value: object, refuse: (why: string) => never): VulnerabilityNote {
  const { success, data, error } = noteSchema.safeParse(value);
  if (!success) return refuse(`neither CSAF 2.0 nor OSV: ${error.issues[0]?.path.join('.')}: ${error.issues[0]?.message}`);
  if (data.withdrawn !== undefined) refuse(`it was withdrawn at ${data.withdrawn}`);
  const { aliases = [], summary, details } = data;
  const cve = [data.id, ...aliases].find(name => name.startsWith('CVE-')) ?? data.id;
  const others = [data.id, ...aliases].filter(name => name !== cve);
  return { format: 'osv', id: cve, aliases: others, title: summary ?? details ?? cve, affected: data.affected.map(affectedOf) };
}

function affectedOf({ package: { name, purl }, ranges = [], versions = [] }: z.infer<typeof affectedSchema>): AffectedComponent {
  const known = purl === undefined ? undefined : readPurl(purl);
  return {
    name: known?.name ?? bareName(name),
    ...(purl !== undefined && known !== undefined && { purl }),
    versions,
    ranges: ranges.filter(({ type }) => type !== 'GIT').flatMap(({ events }) => rangesOf(events)),
  };
}

/** Without the namespace that ecosystems write before it: `group:artifact`, `@scope/name`. */
const bareName = (name: string): string => name.split(/[/:]/).at(-1) ?? name;

/** Each `introduced` opens a range that the next `fixed` or `last_affected` closes; `0` is before every version. */
function rangesOf(events: readonly z.infer<typeof eventSchema>[]): readonly VersionRange[] {
  const ranges: VersionRange[] = [];
  let open: VersionRange | undefined;
  for (const { introduced, fixed, last_affected: lastAffected } of events) {
    if (introduced !== undefined) {
      if (open !== undefined) ranges.push(open);
      open = introduced === '0' ? {} : { introduced };
    }
    const end = fixed === undefined ? (lastAffected === undefined ? undefined : { lastAffected }) : { fixed };
    if (end === undefined) continue;
    ranges.push({ ...open, ...end });
    open = undefined;
  }
  return open === undefined ? ranges : [...ranges, open];
}
