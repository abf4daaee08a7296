import type { Command } from 'commander';
import { ask, type Look, listAll, lookOf, readBytes, type ServerOptions, withLook, withServer, withServerOptions } from './client.ts';
import { act, type Confirmed, withConfirmation } from './confirm.ts';
import { unitCount } from './options.ts';
import { print, record, table } from './output.ts';
import { readFirmware } from './readFirmware.ts';
import { type Rollout, showRollout } from './rolloutView.ts';

type Release = {
  readonly releaseId: string;
  readonly line: string;
  readonly image: string;
  readonly version: string;
  readonly securityCounter: number;
  readonly imageHash: string;
  readonly status: string;
};
type Upload = ServerOptions & {
  line: string;
  image: string;
  version?: string;
  counter?: number;
  drop?: boolean;
  counterJump?: boolean;
  sbom?: string;
};

type Recall = ServerOptions & { with: string; deadline?: string; permitDowngrade?: boolean; permitCounterJump?: boolean };

/** `nusec release`: releases, from upload to withdrawal. Uploading and approving need two people. */
export function registerRelease(program: Command): void {
  const release = program
    .command('release')
    .alias('firmware')
    .description('firmware releases: upload, approve by a second person, publish, withdraw');
  withServerOptions(
    release
      .command('upload')
      .description('store firmware: Intel HEX, S-record, ELF, a raw binary, or an MCUboot image whose signature is dropped')
      .argument('<file>', 'firmware file')
      .requiredOption('--line <line>', 'product line')
      .requiredOption('--image <image>', 'bl2 (bootloader) or app (application)')
      .option('--version <version>', '1.2.3 or 1.2.3+4; needed for a raw binary')
      .option('--counter <n>', 'security counter; needed for a raw binary', unitCount)
      .option('--drop', 'drop a UID binding and protected TLVs that are not known here')
      .option('--sbom <file>', 'bill of materials of it: CycloneDX or SPDX 2.3, JSON')
      .option('--counter-jump', 'the counter is a large step: you and the approver stand for it')
      .addHelpText(
        'after',
        `
Examples:
  $ nusec release upload app.bin --line meter --image app --version 1.2.0 --counter 5
  $ nusec release upload app.bin --line meter --image app --version 1.2.0 --counter 5 --sbom app.cdx.json
  $ nusec release upload app.hex --line meter --image app --version 1.2.0 --counter 5
  $ nusec release upload bl2.mcuboot.bin --line meter --image bl2 --json`,
      ),
  ).action(async (file: string, options: Upload) => {
    const { line, image, version, counter, drop, counterJump, sbom } = options;
    const materials = sbom === undefined ? undefined : await sbomIn(sbom);
    const query = new URLSearchParams({
      line,
      image,
      ...(version && { version }),
      ...(counter !== undefined && { counter: String(counter) }),
      ...flags({ drop, counterJump }),
    });
    const answer = await withServer(options, server => server.bytes('POST', `/v1/releases?${query}`, readFirmware(file)));
    const uploaded = JSON.parse(new TextDecoder().decode(answer)) as Release;
    if (materials === undefined) print(options, uploaded, record(uploaded));
    else await attach(options, uploaded.releaseId, materials);
  });
  withServerOptions(
    release
      .command('sbom')
      .description('attach a bill of materials to a release, or print the one it has')
      .argument('<release>', 'release id')
      .argument('[file]', 'CycloneDX or SPDX 2.3, JSON')
      .addHelpText(
        'after',
        '\nExamples:\n  $ nusec release sbom 148f3636cfa2c0dac2794f4ebae4200c app.cdx.json\n  $ nusec release sbom 148f3636cfa2c0dac2794f4ebae4200c > app.cdx.json',
      ),
  ).action(async (id: string, file: string | undefined, options: ServerOptions) => {
    if (file !== undefined) return attach(options, id, await sbomIn(file));
    const stored = await withServer(options, server => server.bytes('GET', `/v1/releases/${id}/sbom`));
    process.stdout.write(stored);
  });
  const steps = [
    ['approve', 'approve a release: not by who uploaded it'],
    ['publish', 'publish an approved release'],
  ] as const;
  for (const [name, description] of steps) {
    const step = withServerOptions(
      release.command(name).description(description).argument('<release>', 'release id').addHelpText('after', exampleOf(name)),
    );
    (name === 'approve' ? withLook(step) : step).action(async (id: string, options: ServerOptions & Look) =>
      show(options, 'POST', `/v1/releases/${id}/${name}`, lookOf(options)),
    );
  }
  withConfirmation(
    withServerOptions(
      release
        .command('withdraw')
        .description('withdraw a release: it is never offered again')
        .argument('<release>', 'release id')
        .requiredOption('--reason <text>', 'why')
        .addHelpText(
          'after',
          '\nExamples:\n  $ nusec release withdraw 148f3636cfa2c0dac2794f4ebae4200c --reason "CVE-2026-1234"\n  $ nusec release withdraw 148f3636cfa2c0dac2794f4ebae4200c --reason "CVE-2026-1234" --yes --json',
        ),
    ),
  ).action(async (id: string, { reason, ...options }: Confirmed & { reason: string }) => {
    const deed = { what: `The release ${id} is withdrawn.`, name: id, method: 'POST', path: `/v1/releases/${id}/withdraw` } as const;
    await act<Release>(options, { ...deed, body: { reason } }, done => print(options, done, record(done)));
  });
  withServerOptions(
    release
      .command('recall')
      .description('plan the security rollout that takes all devices away from a release')
      .argument('<release>', 'release that the devices run')
      .requiredOption('--with <release>', 'published release that they get')
      .option('--deadline <time>', 'what has no end by then has one; RFC 3339')
      .option('--permit-downgrade', 'it may be an older version at the same counter: you and the approver stand for it')
      .option('--permit-counter-jump', 'the counter may rise by more than the step of the line: you and the approver stand for it')
      .addHelpText(
        'after',
        '\nIt is approved and started as any rollout: nusec rollout approve, nusec rollout start.\n\nExamples:\n  $ nusec release recall 148f3636cfa2c0dac2794f4ebae4200c --with 874a667189da472d09d34276d97e812f\n  $ nusec release recall 148f3636cfa2c0dac2794f4ebae4200c --with 874a667189da472d09d34276d97e812f --permit-downgrade --json',
      ),
  ).action(async (id: string, { with: releaseId, deadline, permitDowngrade, permitCounterJump, ...options }: Recall) => {
    const permits = { permitDowngrade, permitCounterJump };
    const wish = { releaseId, fromRelease: id, securityUpdate: true, deadline, ...permits };
    const planned = await ask<Rollout>(options, 'POST', '/v1/rollouts', wish);
    const none = 'No device that may get an upgrade runs it now: started, the rollout would reach none.';
    await showRollout(options, planned, planned.devices === 0 ? [none] : []);
  });
  withServerOptions(
    release.command('show').description('one release').argument('<release>', 'release id').addHelpText('after', exampleOf('show')),
  ).action(async (id: string, options: ServerOptions) => show(options, 'GET', `/v1/releases/${id}`));
  withServerOptions(
    release
      .command('analysis')
      .description('what the stored image of a release says of itself: to be read before it is approved')
      .argument('<release>', 'release id')
      .addHelpText('after', exampleOf('analysis')),
  ).action(async (id: string, options: ServerOptions) => {
    const analysis = await ask<Readonly<Record<string, unknown>>>(options, 'GET', `/v1/releases/${id}/analysis`);
    print(options, analysis, record(analysis));
  });
  withServerOptions(
    release
      .command('list')
      .description('releases')
      .option('--line <line>', 'only of this product line')
      .addHelpText('after', '\nExamples:\n  $ nusec release list --line meter\n  $ nusec release list --json'),
  ).action(async (options: ServerOptions & { line?: string }) => {
    const releases = await listAll<Release>(options, '/v1/releases', 'releases', { line: options.line });
    const rows = releases.map(one => [one.releaseId, one.line, one.image, one.version, one.securityCounter, one.status]);
    print(options, releases, table(['RELEASE', 'LINE', 'IMAGE', 'VERSION', 'COUNTER', 'STATUS'], rows));
  });
}

/** Refused here, before anything is uploaded. */
async function sbomIn(file: string): Promise<Uint8Array> {
  const bytes = readBytes(file, 'bill of materials');
  const { readSbom } = await import('../sbom/sbom.ts');
  await readSbom(bytes);
  return bytes;
}

async function attach(options: ServerOptions, id: string, materials: Uint8Array): Promise<void> {
  const path = `/v1/releases/${id}/sbom`;
  const answer = await withServer(options, server => server.bytes('PUT', path, materials, 'application/json'));
  const release = JSON.parse(new TextDecoder().decode(answer)) as Release;
  print(options, release, record(release));
}

const flags = (given: Readonly<Record<string, boolean | undefined>>): Record<string, string> =>
  Object.fromEntries(Object.entries(given).flatMap(([name, value]) => (value ? [[name, 'true']] : [])));

const exampleOf = (name: string): string => `\nExamples:\n  $ nusec release ${name} 148f3636cfa2c0dac2794f4ebae4200c`;

async function show(options: ServerOptions, method: string, path: string, body?: unknown): Promise<void> {
  const release = await ask<Release>(options, method, path, body);
  print(options, release, record(release));
}
