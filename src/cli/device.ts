import type { Command } from 'commander';
import { toBase64url } from '../bytes.ts';
import { revocationReasons } from '../domain/deviceEvents.ts';
import { deviceStatuses } from '../domain/deviceStatus.ts';
import { NusecError } from '../errors.ts';
import { fromPem } from '../pki/pem.ts';
import { ask, listAll, readText, type ServerOptions, subcommandsOf } from './client.ts';
import { type Confirmed, act as confirmAndAct, withConfirmation } from './confirm.ts';
import { showAttestations } from './deviceAttestations.ts';
import { registerCheck } from './deviceCheck.ts';
import { oneOf, wholeNumber } from './options.ts';
import { print, record, table } from './output.ts';
import { showPresence } from './presence.ts';

type Device = {
  readonly uid: string;
  readonly line: string;
  readonly status: string;
  readonly version: string | null;
  readonly attestation: string | null;
  readonly connected: boolean;
};
type Reason = ServerOptions & { reason: string };
type List = ServerOptions & {
  release?: string;
  imageHash?: string;
  version?: string;
  tag?: string;
  gateway?: string;
  line?: string;
  status?: string;
  behind?: boolean;
  withoutEncryptionKey?: boolean;
};

/** Of one answer. */
const maxAttestations = 500;
const example = '00112233445566778899aabbccddeeff';

/** `nusec device`: the fleet. */
export function registerDevice(program: Command): void {
  const device = program.command('device').description('devices: look, attest, quarantine, suspend, revoke, decommission');
  const command = subcommandsOf(device);
  command(
    'list',
    'all devices',
    'list --line meter',
    'list --status QUARANTINED --json',
    'list --line meter --without-encryption-key',
    'list --gateway hall-7',
    'list --release 148f3636cfa2c0dac2794f4ebae4200c',
  )
    .option('--line <line>', 'only this product line')
    .option('--status <status>', `only in this state: ${deviceStatuses.join(', ')}`, oneOf(deviceStatuses))
    .option('--release <id>', 'only those that run this release, by what they last proved')
    .option('--image-hash <hex>', 'the same for an image hash')
    .option('--version <version>', 'the same for a version')
    .option('--tag <tag>', 'only those with this tag')
    .option('--gateway <id>', 'only those that are attached to this gateway')
    .option('--behind', 'only those in use without the newest trust bundle')
    .option('--without-encryption-key', 'only those in use that no encrypted image can be made for')
    .action(list);
  command('show <uid>', 'one device', `show ${example}`)
    .option('--events', 'everything that happened to it')
    .action(async (uid: string, { events, ...options }: ServerOptions & { events?: boolean }) =>
      events ? showEvents(options, uid) : act(options, 'GET', uid),
    );
  command(
    'presence <uid>',
    'when it connected and left over MQTT, and why it was refused',
    `presence ${example}`,
    `presence ${example} --json`,
  ).action(async (uid: string, options: ServerOptions) => showPresence(options, `/v1/devices/${uid}/presence`));
  command(
    'attestations <uid>',
    'what it has proved, when and by which way, the newest first',
    `attestations ${example}`,
    `attestations ${example} --limit 3 --json`,
  )
    .option('--limit <n>', 'not more than so many', wholeNumber(1, maxAttestations), 20)
    .action(async (uid: string, options: ServerOptions & { limit: number }) => showAttestations(options, uid));
  command('attest <uid>', 'let a connected device prove what it runs', `attest ${example}`, `attest ${example} --via gateway --json`)
    .option('--via <way>', 'mqtt or gateway; its own connection first when not given')
    .action(async (uid: string, { via, ...options }: ServerOptions & { via?: string }) => {
      const result = await send(options, 'POST', `${uid}/attest`, { via }, 'long');
      if (result.result !== 'passed') process.exitCode = 1;
    });
  command(
    'attestation-key <uid> <file>',
    'enrol the key that a device proves itself with where it has no certificate',
    `attestation-key ${example} iak.pem`,
  )
    .option('--instance-id <hex>', 'of its PSA attestation tokens, 66 hex digits; 01 and SHA-256 of the key when not given')
    .action(async (uid: string, file: string, { instanceId, ...options }: ServerOptions & { instanceId?: string }) => {
      const [der] = fromPem('PUBLIC KEY', readText(file, 'public key'));
      if (der === undefined) throw new NusecError('KEY_REFUSED', `${file} has no PUBLIC KEY in PEM`);
      await act(options, 'PUT', `${uid}/attestation-key`, { publicKey: toBase64url(der), instanceId });
    });
  command(
    'tag <uid>',
    'add and remove words that rollouts and lists select by',
    `tag ${example} --add pilot berlin`,
    `tag ${example} --remove pilot`,
  )
    .option('--add <tag...>', 'words: a–z, 0–9, ., _ and -')
    .option('--remove <tag...>', 'words that it has no more')
    .action(async (uid: string, { add, remove, ...options }: ServerOptions & { add?: string[]; remove?: string[] }) =>
      act(options, 'POST', `${uid}/tags`, { add, remove }),
    );
  withConfirmation(
    command(
      'revoke <uid>',
      'end the identity of a device; its connection ends immediately',
      `revoke ${example} --reason keyCompromise`,
      `revoke ${example} --reason cessationOfOperation --yes --json`,
    ),
  )
    .requiredOption('--reason <reason>', `why: ${revocationReasons.join(', ')}`, oneOf(revocationReasons))
    .action(async (uid: string, { reason, ...options }: Confirmed & Reason) =>
      end(options, `The certificates of ${uid} are revoked (${reason}).`, uid, 'revoke', { reason }),
    );
  withConfirmation(
    command(
      'decommission <uid>',
      'order the device to wipe itself, revoke it and destroy its keys',
      `decommission ${example} --reason "end of life"`,
      `decommission ${example} --without-receipt --reason lost --yes`,
    ),
  )
    .requiredOption('--reason <text>', 'why; goes into the record')
    .option('--without-receipt', 'do not wait for a device that is gone')
    .action(async (uid: string, { reason, withoutReceipt, ...options }: Confirmed & Reason & { withoutReceipt?: boolean }) =>
      end(options, `${uid} is wiped and its keys are destroyed.`, uid, 'decommission', { reason, withoutReceipt }),
    );
  registerCheck(device);
  for (const [name, description] of [
    ['quarantine', 'hold a device back from upgrades'],
    ['release', 'release a device from quarantine'],
    ['suspend', 'put its certificates on hold; its connection ends immediately'],
  ] as const) {
    command(`${name} <uid>`, description, `${name} ${example} --reason "looked at it"`)
      .requiredOption('--reason <text>', 'why')
      .action(async (uid: string, { reason, ...options }: Reason) => act(options, 'POST', `${uid}/${name}`, { reason }));
  }
  command('resume <uid>', 'end the hold of a suspended device', `resume ${example}`).action(async (uid: string, options: ServerOptions) =>
    act(options, 'POST', `${uid}/resume`, {}),
  );
}

async function list({ behind, withoutEncryptionKey, ...given }: List): Promise<void> {
  const flags = { behind: behind ? 'true' : undefined, encryptionKey: withoutEncryptionKey ? 'missing' : undefined };
  const { line, status, release, imageHash, version, tag, gateway, ...options } = given;
  const filter = { line, status, release, imageHash, version, tag, gateway, ...flags };
  const devices = await listAll<Device>(options, '/v1/devices', 'devices', filter);
  const rows = devices.map(one => [one.uid, one.line, one.status, one.version, one.attestation, one.connected ? 'online' : 'offline']);
  print(options, devices, table(['UID', 'LINE', 'STATUS', 'VERSION', 'ATTESTED', 'MQTT'], rows));
}

/** What cannot be undone. */
const end = (options: Confirmed, what: string, uid: string, step: string, body: object): Promise<void> =>
  confirmAndAct<Record<string, unknown>>(options, { what, name: uid, method: 'POST', path: `/v1/devices/${uid}/${step}`, body }, answer =>
    print(options, answer, record(answer)),
  ).catch(withNextStep);

async function act(options: ServerOptions, method: string, path: string, body?: unknown): Promise<void> {
  await send(options, method, path, body);
}

async function send(
  options: ServerOptions,
  method: string,
  path: string,
  body?: unknown,
  waits?: 'long',
): Promise<Record<string, unknown>> {
  const answer = await ask<Record<string, unknown>>(options, method, `/v1/devices/${path}`, body, waits).catch(withNextStep);
  print(options, answer, record(answer));
  return answer;
}

/** A refusal for want of a second person, with the command that asks for one: the server names the effect in brackets. */
const withNextStep = (error: unknown) => {
  const effect = error instanceof NusecError && error.code === 'FOUR_EYES_REQUIRED' ? /\((\w+)\)/.exec(error.message)?.[1] : undefined;
  if (!(error instanceof NusecError) || effect === undefined) throw error;
  throw new NusecError(error.code, `${error.message}\n  nusec operator allowance propose --effect ${effect} --count 1 --note "…"`);
};

type TimelineEvent = { readonly at: string; readonly type: string; readonly by: string; readonly data: unknown };

async function showEvents(options: ServerOptions, uid: string): Promise<void> {
  const { events } = await ask<{ events: readonly TimelineEvent[] }>(options, 'GET', `/v1/devices/${uid}/events`);
  const rows = events.map(({ at, type, by }) => [at, type, by]);
  print(options, events, table(['AT', 'EVENT', 'BY'], rows));
}
