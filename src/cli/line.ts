import type { Command } from 'commander';
import { toBase64url } from '../bytes.ts';
import {
  type AttestationPolicy,
  evidenceKinds,
  maxEveryHours,
  maxPerMinute,
  spdmCapabilityNames,
  spdmSignatureNames,
  spdmVersionNames,
  tokenCallers,
} from '../domain/attestationPolicy.ts';
import { ask, type Look, listOnce, lookOf, type ServerOptions, withLook, withServerOptions } from './client.ts';
import { keyBits, oneOf, wholeNumber } from './options.ts';
import { print, record, table } from './output.ts';

type Line = {
  readonly line: string;
  readonly vendorUuid: string;
  readonly classUuid: string;
  readonly counterMaximum: number;
  readonly rollbackFloor: number;
  readonly attestation: AttestationPolicy;
  readonly proposed?: { readonly contentSha256: string };
};

type Counters = {
  readonly counterMaximum: number;
  readonly rollbackFloor: number;
  readonly used: number;
  readonly left: number;
  readonly devices: readonly { readonly counter: number; readonly count: number }[];
};

type Attestation = ServerOptions & {
  leastVersion?: string;
  signatures?: string[];
  require?: string[];
  publicKey?: boolean;
  evidence?: string;
  caller?: string;
  implementationId?: string;
  everyHours?: number;
  perMinute?: number;
};

type Create = ServerOptions & {
  counterMaximum?: number;
  rollbackFloor?: number;
  slotBytes?: number;
  bootloaderBytes?: number;
  counterStep?: number;
  blockBytes?: number;
};

type Encryption = ServerOptions & { lineKey?: string; bits: 128 | 256; only?: boolean; uidBound?: boolean };

const counter = wholeNumber(0, 255);
const bytes = wholeNumber(4096, 16 * 1024 * 1024);
const block = wholeNumber(256, 64 * 1024);

/** With what waits for another person. */
const show = (line: Line): string =>
  line.proposed === undefined
    ? record(line)
    : `${record(line)}\n\nanother release manager approves it: nusec line approve ${line.line} --content ${line.proposed.contentSha256}`;

/** `nusec line`: product lines. */
export function registerLine(program: Command): void {
  const line = program.command('line').description('product lines: their firmware identity, counter budget and device CA');
  withServerOptions(
    line
      .command('create')
      .description('define a product line and its device-issuing CA')
      .argument('<line>', 'name: a–z, 0–9, . and -')
      .option('--counter-maximum <n>', 'highest security counter its chips can hold (at most 255)', counter)
      .option('--rollback-floor <n>', 'lowest security counter that may still be installed', counter)
      .option('--slot-bytes <n>', 'size of a slot of the application; 1 MiB when not given', bytes)
      .option('--bootloader-bytes <n>', 'size of the slot of the bootloader; 128 KiB when not given', bytes)
      .option('--counter-step <n>', 'largest step of the counter without a second word; 16 when not given', counter)
      .option('--block-bytes <n>', 'what its devices can hold of an upgrade before they check it; 16384 when not given', block)
      .addHelpText(
        'after',
        '\nExamples:\n  $ nusec line create meter\n  $ nusec line create meter --counter-maximum 60 --rollback-floor 3 --json',
      ),
  ).action(async (name: string, options: Create) => {
    const { counterMaximum, rollbackFloor, slotBytes, bootloaderBytes, counterStep, blockBytes } = options;
    const layout = { appSlotBytes: slotBytes, bl2SlotBytes: bootloaderBytes, counterStep, blockBytes };
    const hasLayout = Object.values(layout).some(value => value !== undefined);
    const wish = { line: name, counterMaximum, rollbackFloor, ...(hasLayout && { layout }) };
    const created = await ask<Line>(options, 'POST', '/v1/lines', wish);
    print(options, created, show(created));
  });
  withServerOptions(
    line
      .command('floor')
      .description(
        'raise the lowest security counter that the line accepts; it never falls again. Above what is published two people do it',
      )
      .argument('<line>', 'product line')
      .argument('<counter>', 'the new floor', counter)
      .addHelpText('after', '\nExamples:\n  $ nusec line floor meter 4'),
  ).action(async (name: string, floor: number, options: ServerOptions) => {
    const changed = await ask<Line>(options, 'POST', `/v1/lines/${name}/floor`, { floor });
    print(options, changed, show(changed));
  });
  withLook(
    withServerOptions(
      line
        .command('approve')
        .description('approve the lasting change of a line that another release manager has proposed')
        .argument('<line>', 'product line')
        .addHelpText('after', '\nWhat is proposed: nusec line show.\n\nExamples:\n  $ nusec line approve meter'),
    ),
  ).action(async (name: string, options: ServerOptions & Look) => {
    const changed = await ask<Line>(options, 'POST', `/v1/lines/${name}/approve`, lookOf(options));
    print(options, changed, show(changed));
  });
  withServerOptions(
    line
      .command('encryption')
      .description('encrypt the application images of the line; it is decided once')
      .argument('<line>', 'product line')
      .option(
        '--line-key <pub.pem>',
        'one key for all devices, which their bootloader is built with; default: a key of each device, made in the chip',
      )
      .option('--bits <n>', 'AES key: 128, as every encrypting MCUboot knows it, or 256', keyBits, 128)
      .option('--only', 'no device of the line gets a plain image any more; this is never taken back')
      .option('--uid-bound', 'the image of a device names its UID, and no other one accepts it; needs --only')
      .addHelpText(
        'after',
        `
Releases that were uploaded before get their encrypted variant when the same firmware is uploaded again.

Examples:
  $ nusec line encryption meter --only
  $ nusec line encryption meter --only --uid-bound --bits 256
  $ nusec line encryption meter --line-key line.pub.pem`,
      ),
  ).action(async (name: string, { lineKey, bits, only = false, uidBound = false, ...options }: Encryption) => {
    const { encryptionPointOf } = await import('./imageKeys.ts');
    const key = lineKey === undefined ? {} : { publicKey: toBase64url(encryptionPointOf(lineKey)) };
    const scheme = lineKey === undefined ? 'device' : 'line';
    const changed = await ask<Line>(options, 'POST', `/v1/lines/${name}/encryption`, { scheme, bits, only, uidBound, ...key });
    print(options, changed, show(changed));
  });
  withServerOptions(
    line
      .command('support')
      .description('say how long the line gets security updates')
      .argument('<line>', 'product line')
      .requiredOption('--until <date>', 'last day, such as 2031-12-31')
      .addHelpText('after', '\nExamples:\n  $ nusec line support meter --until 2031-12-31'),
  ).action(async (name: string, { until, ...options }: ServerOptions & { until: string }) => {
    const changed = await ask<Line>(options, 'POST', `/v1/lines/${name}/support`, { until });
    print(options, changed, record(changed));
  });
  withServerOptions(
    line
      .command('attestation')
      .description('say what its devices have to speak when they are attested; what is left out stays as it is')
      .argument('<line>', 'product line')
      .option('--evidence <kind>', `what devices prove themselves with: ${evidenceKinds.join(', ')} (RFC 9783)`, oneOf(evidenceKinds))
      .option('--caller <side>', `which side of a device asks for tokens: ${tokenCallers.join(', ')}`, oneOf(tokenCallers))
      .option('--implementation-id <hex>', 'of the tokens of every device, 64 hex digits; any: ANY')
      .option('--least-version <v>', `no version of SPDM before it: ${spdmVersionNames.join(', ')}`, oneOf(spdmVersionNames))
      .option('--signatures <names...>', `signature algorithms of devices: ${spdmSignatureNames.join(', ')}`)
      .option('--require <names...>', `capabilities that every device must have: ${spdmCapabilityNames.join(', ')}; none: NONE`)
      .option('--every-hours <n>', 'each connected device proves itself so often; 0: no schedule', wholeNumber(0, maxEveryHours))
      .option('--per-minute <n>', 'devices that the schedule asks in a minute; 600 when not set', wholeNumber(0, maxPerMinute))
      .option('--public-key', 'a device without certificates may be known by its public key')
      .option('--no-public-key', 'every device shows a certificate')
      .addHelpText(
        'after',
        '\nExamples:\n  $ nusec line attestation meter --least-version 1.3 --signatures P-384\n  $ nusec line attestation meter --require CHUNK --public-key --json\n  $ nusec line attestation meter --every-hours 24 --per-minute 200\n  $ nusec line attestation meter --evidence psa-token --caller secure',
      ),
  ).action(async (name: string, { leastVersion, signatures, require, publicKey, everyHours, perMinute, ...rest }: Attestation) => {
    const { evidence, caller, implementationId, ...options } = rest;
    const requires = require?.filter(capability => capability !== 'NONE');
    const changed = await ask<Line>(options, 'POST', `/v1/lines/${name}/attestation`, {
      evidence,
      caller,
      implementationId: implementationId === 'ANY' ? '' : implementationId,
      leastVersion,
      signatures,
      requires,
      publicKey,
      everyHours,
      perMinute,
    });
    print(options, changed, record(changed.attestation));
  });
  withServerOptions(
    line
      .command('counters')
      .description('what of the counter budget is used and left, and where the devices are')
      .argument('<line>', 'product line')
      .addHelpText('after', '\nExamples:\n  $ nusec line counters meter'),
  ).action(async (name: string, options: ServerOptions) => {
    const counters = await ask<Counters>(options, 'GET', `/v1/lines/${name}/counters`);
    const { devices, ...budget } = counters;
    const rows = devices.map(one => [one.counter, one.count]);
    print(options, counters, `${record(budget)}\n\n${table(['COUNTER', 'DEVICES'], rows)}`);
  });
  withServerOptions(
    line
      .command('show')
      .description('one product line')
      .argument('<line>', 'product line')
      .addHelpText('after', '\nExamples:\n  $ nusec line show meter'),
  ).action(async (name: string, options: ServerOptions) => {
    const found = await ask<Line>(options, 'GET', `/v1/lines/${name}`);
    print(options, found, show(found));
  });
  withServerOptions(
    line
      .command('list')
      .description('all product lines')
      .addHelpText('after', '\nExamples:\n  $ nusec line list\n  $ nusec line list --json'),
  ).action(async (options: ServerOptions) => {
    const lines = await listOnce<Line>(options, '/v1/lines', 'lines');
    const rows = lines.map(one => [one.line, one.rollbackFloor, one.counterMaximum, one.vendorUuid, one.classUuid]);
    print(options, lines, table(['LINE', 'FLOOR', 'MAXIMUM', 'VENDOR', 'CLASS'], rows));
  });
}
