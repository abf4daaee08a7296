import semver from 'semver';
import type { AffectedComponent, Component, VersionRange } from '../domain/component.ts';
import { isSamePackage } from './purl.ts';

/** Order of component versions, and whether a version is an affected one. */

/** Semantic versions in their own order (semver.org §11). Others part by part: numbers by value, words by letter; a pre-release word comes before the
 *  version itself (`1.0-rc1` < `1.0`), any other behind it (OpenSSL's `1.1.1` < `1.1.1a`).
 *  @returns negative, zero or positive */
export function compareComponentVersions(one: string, other: string): number {
  const [a, b] = [semver.parse(one), semver.parse(other)];
  if (a !== null && b !== null) return semver.compare(a, b);
  const [left, right] = [partsOf(one), partsOf(other)];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const order = comparePart(left[i], right[i]);
    if (order !== 0) return order;
  }
  return 0;
}

/** `V10.4.3-rc2+build` → 10, 4, 3, 'rc', 2 */
function partsOf(version: string): readonly (number | string)[] {
  const text = version
    .toLowerCase()
    .replace(/\+.*$/, '')
    .replace(/^v(?=\d)/, '');
  return [...text.matchAll(/\d+|[a-z]+/g)].map(([part]) => (/^\d/.test(part) ? Number(part) : part));
}

const preReleases: readonly string[] = ['dev', 'alpha', 'beta', 'pre', 'preview', 'rc', 'snapshot'];

function comparePart(a: number | string | undefined, b: number | string | undefined): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (typeof a === 'string' && typeof b === 'string') return rankOf(a) - rankOf(b) || (a < b ? -1 : Number(a > b));
  return placeOf(a) - placeOf(b);
}

/** The order of parts of different kinds: pre-release, nothing, other word, number; a missing number is a zero. */
function placeOf(part: number | string | undefined): number {
  if (part === undefined || part === 0) return 0;
  if (typeof part === 'number') return 2;
  return preReleases.includes(part) ? -1 : 1;
}

const rankOf = (word: string): number => (preReleases.includes(word) ? 0 : 1);

/** Whether the component is the affected one, in an affected version. A component without a version is affected: nothing says that it is not. */
export function isAffected(component: Component, affected: AffectedComponent): boolean {
  return isSameComponent(component, affected) && isAffectedVersion(component.version, affected);
}

function isSameComponent(component: Component, affected: Pick<AffectedComponent, 'name' | 'purl'>): boolean {
  if (component.purl !== undefined && affected.purl !== undefined) return isSamePackage(component.purl, affected.purl);
  return component.name.toLowerCase() === affected.name.toLowerCase();
}

function isAffectedVersion(version: string | undefined, { versions, ranges }: AffectedComponent): boolean {
  if (version === undefined || (versions.length === 0 && ranges.length === 0)) return true;
  return versions.some(one => compareComponentVersions(one, version) === 0) || ranges.some(range => isInRange(version, range));
}

function isInRange(version: string, { introduced, fixed, lastAffected }: VersionRange): boolean {
  if (introduced !== undefined && compareComponentVersions(version, introduced) < 0) return false;
  if (fixed !== undefined && compareComponentVersions(version, fixed) >= 0) return false;
  return lastAffected === undefined || compareComponentVersions(version, lastAffected) <= 0;
}
