import { PackageURL } from 'packageurl-js';

/** Package URLs (ECMA-427), read by the library of the purl project. */

export type Purl = {
  readonly type: string;
  readonly namespace: string | undefined;
  readonly name: string;
  readonly version: string | undefined;
};

/** @returns undefined when the text is no package URL */
export function readPurl(text: string): Purl | undefined {
  try {
    const { type, namespace, name, version } = PackageURL.fromString(text);
    return { type, namespace: namespace ?? undefined, name, version: version ?? undefined };
  } catch {
    return undefined;
  }
}

/** Types whose names are not given out by a registry: another type may mean the same package. */
const unregistered: readonly string[] = ['generic', 'github', 'gitlab', 'bitbucket'];

/** Whether two package URLs name the same package, whatever the version. In doubt they do: a vulnerability that is shown once too often is looked at. */
export function isSamePackage(one: string, other: string): boolean {
  const [a, b] = [readPurl(one), readPurl(other)];
  if (a === undefined || b === undefined) return one === other;
  if (a.name.toLowerCase() !== b.name.toLowerCase()) return false;
  if (unregistered.includes(a.type) || unregistered.includes(b.type)) return true;
  return a.type === b.type && (a.namespace ?? '').toLowerCase() === (b.namespace ?? '').toLowerCase();
}
