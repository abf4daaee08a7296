import type { Actor } from '../../domain/actor.ts';
import type { AffectedComponent } from '../../domain/component.ts';
import { release, releaseStream, type UploadedRelease } from '../../domain/release.ts';
import { isInScope, linesWithin, type Scope } from '../../domain/roles.ts';
import { NusecError } from '../../errors.ts';
import { type ComponentRow, componentQueries } from '../../projections/components.ts';
import { deviceQueries } from '../../projections/deviceQueries.ts';
import { type ReleaseRow, releaseQueries } from '../../projections/releases.ts';
import { readPurl } from '../../sbom/purl.ts';
import { readSbom } from '../../sbom/sbom.ts';
import { isAffected } from '../../sbom/versions.ts';
import { type Context, execute } from '../base/context.ts';
import { releaseOf } from './releases.ts';

/** Bills of materials of releases, and where in the fleet a component is. */

/** Checks a bill of materials and attaches it to a release; the same again changes nothing.
 *  @throws NusecError SBOM_REFUSED, NOT_FOUND */
export async function attachSbom(ctx: Context, releaseId: string, bytes: Uint8Array, by: Actor): Promise<UploadedRelease> {
  await releaseOf(ctx, releaseId);
  const { format, components } = await readSbom(bytes);
  const sha256 = await ctx.blobs.put(bytes);
  await execute(ctx, release, releaseStream(releaseId), { type: 'AttachSbom', sha256, format, components, by }, by);
  return releaseOf(ctx, releaseId);
}

/** The file as it was attached. @throws NusecError NOT_FOUND */
export async function sbomOf(ctx: Context, releaseId: string): Promise<Uint8Array> {
  const { sbomSha256 } = await releaseOf(ctx, releaseId);
  if (sbomSha256 === undefined) throw new NusecError('NOT_FOUND', 'this release has no bill of materials: attach one');
  return ctx.blobs.get(sbomSha256);
}

/** What is looked for. @param text `openssl`, `openssl@3.0.1` or a package URL @throws NusecError BAD_REQUEST */
export function wantedComponent(text: string): AffectedComponent {
  const purl = text.startsWith('pkg:') ? readPurl(text) : undefined;
  if (text.startsWith('pkg:') && purl === undefined) throw new NusecError('BAD_REQUEST', `${text} is no package URL`);
  if (purl !== undefined) return { name: purl.name, purl: text, versions: purl.version === undefined ? [] : [purl.version], ranges: [] };
  const at = text.lastIndexOf('@');
  const [name, version] = at > 0 ? [text.slice(0, at), text.slice(at + 1)] : [text, ''];
  return { name, versions: version === '' ? [] : [version], ranges: [] };
}

export type Found = { readonly row: ReleaseRow; readonly components: readonly ComponentRow[] };

/** Releases, of any state, that contain one of these components in an affected version. The read models are to be current. */
export async function releasesWith(ctx: Context, affected: readonly AffectedComponent[]): Promise<readonly Found[]> {
  const rows = await componentQueries(ctx.reads.db).named(affected.map(({ name }) => name));
  const hits = rows.filter(row => affected.some(one => isAffected(componentOf(row), one)));
  const byRelease = Map.groupBy(hits, row => row.release_id);
  const releases = await releaseQueries(ctx.reads.db).byIds([...byRelease.keys()]);
  return releases.map(row => ({ row, components: byRelease.get(row.release_id) ?? [] }));
}

const componentOf = ({ name, version, purl }: ComponentRow) => ({
  name,
  ...(version !== null && { version }),
  ...(purl !== null && { purl }),
});

export const componentModels = ['components', 'releases', 'devices', 'jobs'] as const;

type Page = { readonly after?: string | undefined; readonly limit: number; readonly scope?: Scope | undefined };

/** Where components are: releases, their lines, and the devices in use that run them, by the image they last proved; devices by page. Nothing is said
 *  of releases without a bill of materials but their number. */
export async function whereIs(ctx: Context, affected: readonly AffectedComponent[], { after, limit, scope }: Page) {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: componentModels });
  const lines = linesWithin(scope ?? {});
  const found = (await releasesWith(ctx, affected)).filter(({ row }) => lines === undefined || isInScope({ lines }, row));
  const all = scope === undefined ? found : await releasesWith(ctx, affected);
  const releaseIds = all.map(({ row }) => row.release_id);
  const queries = deviceQueries(ctx.reads.db);
  const [counts, devices, withSbom, releases] = await Promise.all([
    queries.countRunning(releaseIds, scope),
    queries.running({ releaseIds, after, limit, scope }),
    componentQueries(ctx.reads.db).releases(),
    releaseQueries(ctx.reads.db).ofLines(lines ?? (await releaseQueries(ctx.reads.db).lines())),
  ]);
  return {
    releases: found.map(one => affectedView(one, counts.get(one.row.release_id) ?? 0)),
    lines: [...new Set(found.map(({ row }) => row.line))].toSorted(),
    deviceCount: [...counts.values()].reduce((sum, count) => sum + count, 0),
    releasesWithoutSbom: releases.filter(({ release_id, status }) => status !== 'WITHDRAWN' && !withSbom.has(release_id)).length,
    devices: devices.map(({ uid, line, status, version, release_id }) => ({ uid, line, status, version, releaseId: release_id })),
  };
}

export const affectedView = ({ row, components }: Found, devices: number) => ({
  releaseId: row.release_id,
  line: row.line,
  image: row.image,
  version: row.version,
  status: row.status,
  components: components.map(componentOf),
  devices,
});
