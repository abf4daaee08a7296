import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';

/** The naming rule: an aggregate has the same file name, in the singular or plural, in every layer. What has another place is listed with the
 *  reason, so that whoever knows the word finds it. */

const folders = {
  services: 'src/services',
  projections: 'src/projections',
  api: 'src/api',
  cli: 'src/cli',
  tests: 'test/domain',
} as const;
type Layer = keyof typeof folders;
const layers = Object.keys(folders) as Layer[];

/** By decider and layer: where it is instead, or why nowhere. */
const exceptions: Readonly<Record<string, Partial<Record<Layer, string>>>> = {
  allotment: {
    projections: 'a table of jobs.ts',
    cli: '`nusec job allot`',
  },
  attestationSeal: {
    projections: 'each stream is asked by its line',
    api: 'in the events of the line',
    cli: 'in the events of the line',
  },
  authority: {
    projections: 'its certificates are in certificates.ts; there is one stream, which is read itself',
    cli: '`nusec ca`: the word that people use',
  },
  bulkRevocations: { projections: 'one stream, which is read itself', cli: '`nusec revoke`' },
  ceremonies: {
    projections: 'one stream, which is read itself',
    cli: '`nusec ca`',
  },
  certification: {
    services: 'identity/issuance.ts records it for all certificates',
    projections: 'an intent: only its outcome is looked for, in certificates.ts',
    api: 'an intent: nobody asks for it',
    cli: 'an intent: nobody asks for it',
  },
  effects: { projections: 'each stream is asked by its person', cli: '`nusec operator allowance`' },
  expiry: {
    projections: 'columns of certificates.ts',
    api: 'in certificates.ts',
    cli: 'alarms say it',
  },
  grant: {
    services: 'production/units.ts signs it, production/images.ts adds the trailers',
    projections: 'a column of units in jobs.ts',
    api: '/v1/production/units in production.ts',
    cli: 'the programmer asks for it, no person',
  },
  line: { projections: 'a table of releases.ts' },
  logKey: {
    projections: 'one stream, which is read itself',
    api: 'its certificates are in the evidence of devices',
    cli: 'its certificates are in the evidence of devices',
  },
  operators: { projections: 'one stream, which is read itself', cli: '`nusec operator`' },
  parkedEvents: { projections: 'one stream, which is read itself' },
  publicKey: {
    services: 'identity/issuance.ts reserves keys',
    projections: 'each stream is asked by its key',
    api: 'nobody asks for it',
    cli: 'nobody asks for it',
  },
  recoveryCodes: {
    projections: 'one stream, which is read itself',
    api: 'only on the server’s own machine',
    cli: '`nusec operator recover`',
  },
  series: { projections: 'one stream, which is read itself' },
  sessions: { projections: 'each stream is asked by its person', cli: '`nusec operator session`' },
  subjects: { projections: 'one stream, which is read itself', cli: '`nusec subject`' },
  releaseVersion: {
    services: 'firmware/releases.ts reserves versions',
    projections: 'a column of releases.ts',
    api: 'nobody asks for it',
    cli: 'nobody asks for it',
  },
};

const root = new URL('..', import.meta.url).pathname;
const plural = (name: string): string => (/[^aeiou]y$/.test(name) ? `${name.slice(0, -1)}ies` : name.endsWith('s') ? name : `${name}s`);
const namesIn = (folder: string): ReadonlySet<string> =>
  new Set(readdirSync(root + folder, { recursive: true, encoding: 'utf8' }).map(path => basename(path).split('.')[0] ?? ''));

const deciders = readdirSync(`${root}src/domain`)
  .filter(file => /^export const \w+: Decider</m.test(readFileSync(`${root}src/domain/${file}`, 'utf8')))
  .map(file => basename(file, '.ts'));
const names = Object.fromEntries(layers.map(layer => [layer, namesIn(folders[layer])])) as Record<Layer, ReadonlySet<string>>;

describe('every decider of the domain', () => {
  it.each(deciders)('%s is found by its name in every layer, or is an exception with a reason', decider => {
    const isThere = (layer: Layer): boolean => names[layer].has(decider) || names[layer].has(plural(decider));
    const missing = layers.filter(layer => !isThere(layer));
    expect(missing).toEqual(layers.filter(layer => exceptions[decider]?.[layer] !== undefined));
  });

  it('is a file, and so is every exception', () => {
    expect(deciders.length).toBeGreaterThan(12);
    expect(Object.keys(exceptions).filter(name => !existsSync(`${root}src/domain/${name}.ts`))).toEqual([]);
  });
});
