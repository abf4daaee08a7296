import type { Command } from 'commander';
import { counted } from '../counted.ts';
import { NusecError } from '../errors.ts';
import { ask, type ServerOptions, subcommandsOf } from './client.ts';
import { print, styled, table } from './output.ts';

type Component = { readonly name: string; readonly version?: string };
export type AffectedRelease = {
  readonly releaseId: string;
  readonly line: string;
  readonly image: string;
  readonly version: string;
  readonly status: string;
  readonly components: readonly Component[];
  readonly devices: number;
};
type Device = { readonly uid: string; readonly line: string; readonly status: string; readonly version: string | null };
type Where = {
  readonly releases: readonly AffectedRelease[];
  readonly lines: readonly string[];
  readonly deviceCount: number;
  readonly releasesWithoutSbom: number;
  readonly devices: readonly Device[];
  readonly next?: string;
};
type Options = ServerOptions & { component?: string; vulnerability?: string };

/** `nusec fleet`: questions about all devices. */
export function registerFleet(program: Command): void {
  const fleet = program.command('fleet').description('the fleet as a whole: where a component is');
  subcommandsOf(fleet)(
    'where',
    'releases, lines and devices that contain a component, by the image each device last proved',
    'where --component openssl@3.0.1',
    'where --component pkg:generic/mbedtls@3.5.0 --json',
    'where --vulnerability CVE-2023-0286',
  )
    .option('--component <name@version>', 'name, name@version or a package URL')
    .option('--vulnerability <id>', 'what a case is about instead of one component')
    .action(where);
}

async function where({ component, vulnerability, ...options }: Options): Promise<void> {
  if ((component === undefined) === (vulnerability === undefined))
    throw new NusecError('BAD_REQUEST', 'name either --component or --vulnerability');
  const found = await allOf(options, { ...(component && { component }), ...(vulnerability && { vulnerability }) });
  const { releases, devices, deviceCount, releasesWithoutSbom } = found;
  const unknown =
    releasesWithoutSbom === 0 ? '' : `\nNothing is known of ${counted(releasesWithoutSbom, 'release')} without a bill of materials`;
  const rows = devices.map(one => [one.uid, one.line, one.status, one.version]);
  const text = [
    releaseTable(releases),
    `${styled('bold', counted(deviceCount, 'device'))}\n${table(['UID', 'LINE', 'STATUS', 'VERSION'], rows)}${unknown}`,
  ].join('\n\n');
  print(options, found, text);
}

const rowsAtOnce = '500';

/** Page after page; releases and lines are the same on each. */
async function allOf(options: ServerOptions, filter: Readonly<Record<string, string>>): Promise<Where> {
  const devices: Device[] = [];
  for (let cursor: string | undefined; ; ) {
    const query = new URLSearchParams({ ...filter, limit: rowsAtOnce, ...(cursor !== undefined && { cursor }) });
    const { next, ...page } = await ask<Where>(options, 'GET', `/v1/fleet/where?${query}`);
    devices.push(...page.devices);
    if (next === undefined) return { ...page, devices };
    cursor = next;
  }
}

/** Releases with what of them is affected. */
export function releaseTable(releases: readonly AffectedRelease[]): string {
  const nameOf = ({ name, version }: Component): string => (version === undefined ? name : `${name}@${version}`);
  const rows = releases.map(one => [
    one.releaseId,
    one.line,
    one.image,
    one.version,
    one.status,
    one.devices,
    one.components.map(nameOf).join(', '),
  ]);
  return table(['RELEASE', 'LINE', 'IMAGE', 'VERSION', 'STATUS', 'DEVICES', 'COMPONENTS'], rows);
}
