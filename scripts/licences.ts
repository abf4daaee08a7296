import { type ThirdParty, thirdParties } from './thirdParty.ts';

/** `npm run -s licences` prints under which license each package is that NuSEC is shipped with. */

const listed = (parties: readonly ThirdParty[]): string =>
  parties.map(({ name, version, optional }) => `${name} ${version}${optional ? ' (optional)' : ''}`).join(' · ');

export function thirdPartyPage(): string {
  const byLicense = Map.groupBy(thirdParties(), ({ license }) => license);
  const sections = [...byLicense]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(([license, parties]) => `## ${license}\n${listed(parties)}\n`);
  return `# Third-party licences

From package-lock.json, as \`npm run -s sbom\`, which prints the same as CycloneDX. Each package brings the text of its license with it, in \`node_modules\` of an installation and of the image. Why each one was taken: docs/dependencies.md.
Optional ones are installed where they fit the machine, and left out by \`npm ci --omit=optional\`; LicenseRef-Kurrent-1 is explained in docs/decisions/026-one-log-in-kurrentdb.md. Tools of developers and tests are not shipped and not listed.

${sections.join('\n')}`;
}

if (import.meta.main) process.stdout.write(thirdPartyPage());
