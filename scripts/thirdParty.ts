import { readFileSync } from 'node:fs';

/** What NuSEC is shipped with: the packages of package-lock.json that are no tools of developers, each with what it says of its license. */

const root = new URL('..', import.meta.url);

type LockedPackage = {
  readonly version: string;
  readonly license?: string;
  readonly integrity?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
};

export type ThirdParty = {
  readonly name: string;
  readonly version: string;
  /** SPDX expression, or a name where there is none. */
  readonly license: string;
  /** Left out where it does not fit the machine, or by `npm ci --omit=optional`. */
  readonly optional: boolean;
  /** SHA-512 of its archive, hex. */
  readonly sha512: string | undefined;
};

/** Packages whose files say something else than their description (docs/decisions/026). */
const otherwise: Readonly<Record<string, string>> = { '@kurrent/bridge': 'LicenseRef-Kurrent-1' };
const licenseOf = (name: string, declared = 'NOASSERTION'): string =>
  otherwise[name.replace(/^(@kurrent\/bridge)-.*$/, '$1')] ?? declared.replace(/^BSD-0-Clause$/, '0BSD');

const sha512Of = (integrity = ''): string | undefined => {
  const base64 = /^sha512-(\S+)$/.exec(integrity)?.[1];
  return base64 && Buffer.from(base64, 'base64').toString('hex');
};

const text = (name: string): string => readFileSync(new URL(name, root), 'utf8');

export const product = JSON.parse(text('package.json')) as {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly description: string;
};

export function thirdParties(): readonly ThirdParty[] {
  const { packages } = JSON.parse(text('package-lock.json')) as { readonly packages: Readonly<Record<string, LockedPackage>> };
  const shipped = Object.entries(packages).filter(([path, { dev }]) => path !== '' && dev !== true);
  const parties = shipped.map(([path, { version, license, optional = false, integrity }]): ThirdParty => {
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    return { name, version, license: licenseOf(name, license), optional, sha512: sha512Of(integrity) };
  });
  const byKey = new Map(parties.map(party => [`${party.name}@${party.version}`, party]));
  return [...byKey.values()].sort((a, b) => (`${a.name}@${a.version}` < `${b.name}@${b.version}` ? -1 : 1));
}
