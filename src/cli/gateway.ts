import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { Agent, AgentOptions } from '../../gateway-device/agent/agent.ts';
import { defaultBackoff, reconnectDelayMs } from '../../gateway-device/link/backoff.ts';
import { isUnreachable, NusecError } from '../errors.ts';
import { ask, listAll, rootCertificate, type ServerOptions, subcommandsOf, withServer } from './client.ts';
import { act, type Confirmed, withConfirmation } from './confirm.ts';
import { print, progress, record, table } from './output.ts';
import { showPresence, showRefusals } from './presence.ts';
import { hostPort, runUntilStopped } from './process.ts';

type Gateway = { readonly id: string; readonly name: string; readonly status: string; readonly devices: readonly string[] };
type Register = ServerOptions & { id: string; name?: string; data?: string };
type Attach = ServerOptions & { id: string; device: readonly string[] };
type Because = { reason: string };
type Run = ServerOptions & { data: string; id: string; mqtt: string; mqttName?: string; device?: readonly string[] };

const uid = '00112233445566778899aabbccddeeff';

/** `nusec gateway`: the boxes that attest devices over their serial line, and the agent that runs on them. */
export function registerGateway(program: Command): void {
  const gateway = program.command('gateway').description('gateways: register, attach devices, suspend, revoke, run the agent');
  const command = subcommandsOf(gateway);
  command('register', 'make a gateway known to the server', 'register --id hall-7', 'register --id hall-7 --data /var/lib/nusec-gateway')
    .requiredOption('--id <id>', 'letters, digits, _ and -')
    .option('--name <text>', 'for people')
    .option('--data <dir>', 'on the gateway itself: also make its key and have it certified')
    .action(register);
  command('attach', 'let a gateway speak for devices', `attach --id hall-7 --device ${uid}`)
    .requiredOption('--id <id>', 'the gateway')
    .requiredOption('--device <uid...>', 'the devices')
    .action(async (options: Attach) => eachDevice(options, uid => ['POST', `/v1/gateways/${options.id}/devices`, { uid }]));
  command('detach', 'end that', `detach --id hall-7 --device ${uid}`)
    .requiredOption('--id <id>', 'the gateway')
    .requiredOption('--device <uid...>', 'the devices')
    .action(async (options: Attach) => eachDevice(options, uid => ['DELETE', `/v1/gateways/${options.id}/devices/${uid}`]));
  command('list', 'all gateways', 'list --json').action(async (options: ServerOptions) => {
    const gateways = await listAll<Gateway>(options, '/v1/gateways', 'gateways');
    const rows = gateways.map(({ id, name, status, devices }) => [id, name, status, devices.length]);
    print(options, gateways, table(['GATEWAY', 'NAME', 'STATUS', 'DEVICES'], rows));
  });
  command('suspend <id>', 'put its certificate on hold; its connection ends immediately', 'suspend hall-7 --reason "looked at it"')
    .requiredOption('--reason <text>', 'why; goes into the record')
    .action(async (id: string, { reason, ...options }: ServerOptions & Because) => move(options, id, 'suspend', { reason }));
  command('resume <id>', 'end the hold of a suspended gateway', 'resume hall-7').action(async (id: string, options: ServerOptions) =>
    move(options, id, 'resume', {}),
  );
  withConfirmation(command('revoke <id>', 'revoke it for good; its connection ends immediately', 'revoke hall-7 --reason "stolen" --yes'))
    .requiredOption('--reason <text>', 'why; goes into the record')
    .action(async (id: string, { reason, ...options }: Confirmed & Because) =>
      act<Gateway>(
        options,
        { what: `The gateway ${id} is revoked for good.`, name: id, method: 'POST', path: `/v1/gateways/${id}/revoke`, body: { reason } },
        answer => print(options, answer, record(answer)),
      ),
    );
  command('presence <id>', 'when a gateway connected and left over MQTT, and why it was refused', 'presence hall-7').action(
    async (id: string, options: ServerOptions) => showPresence(options, `/v1/gateways/${id}/presence`),
  );
  command(
    'refusals',
    'connections over MQTT that were refused, of devices, gateways and strangers',
    'refusals',
    'refusals --reason REVOKED --limit 20',
    'refusals --address 192.0.2.7 --json',
  )
    .option('--reason <word>', 'only these: AUTH_ERROR, REVOKED, THROTTLED, FORBIDDEN …')
    .option('--address <address>', 'only from there')
    .option('--limit <count>', 'how many')
    .action(showRefusals);
  command(
    'run',
    'run the agent on a gateway until SIGTERM or SIGINT',
    `run --data /var/lib/nusec-gateway --id hall-7 --mqtt nusec.example.com:8883 --device ${uid}=/dev/ttyUSB0`,
    `run --data ./gateway --id hall-7 --mqtt localhost:8883 --device ${uid}=localhost:7001 --json`,
  )
    .requiredOption('--data <dir>', 'folder of its key and certificate; a gateway without one enrols itself with your token')
    .requiredOption('--id <id>', 'as registered')
    .requiredOption('--mqtt <host:port>', 'the MQTT port of the server')
    .option('--mqtt-name <name>', 'name in the certificate of the server; the host when not given')
    .option('--device <uid=address...>', 'a device and its wire: host:port or a serial device')
    .action(run);
}

async function register({ id, name, data, ...options }: Register): Promise<void> {
  const answer = await ask<Gateway>(options, 'POST', '/v1/gateways', { id, name });
  if (data !== undefined) await enrolHere(options, data, id);
  print(options, answer, record(answer));
}

const enrolHere = (options: ServerOptions, data: string, id: string): Promise<void> =>
  withServer(options, async server =>
    (await import('../../gateway-device/agent/identity.ts')).enrol(data, id, rootCertificate(options), server),
  );

async function move(options: ServerOptions, id: string, step: 'suspend' | 'resume', body: object): Promise<void> {
  const answer = await ask<Gateway>(options, 'POST', `/v1/gateways/${id}/${step}`, body);
  print(options, answer, record(answer));
}

async function eachDevice(options: Attach, request: (uid: string) => readonly [string, string, unknown?]): Promise<void> {
  let answer: unknown;
  for (const device of options.device) answer = await ask(options, ...request(device));
  print(options, answer, record(answer as Record<string, unknown>));
}

async function run({ data, id, mqtt, mqttName, device = [], ...options }: Run): Promise<void> {
  const { host, port } = hostPort(mqtt);
  const devices = new Map(device.map(splitDevice));
  const tell: AgentOptions['tell'] = event => (options.json ? print(options, event, '') : progress(record(event)));
  const open = async (): Promise<Agent> => {
    if (!(await import('../../gateway-device/agent/identity.ts')).isEnrolled(data)) await enrolHere(options, data, id);
    const where = { server: options.server, mqtt: { host, port }, servername: mqttName ?? host };
    const { startAgent } = await import('../../gateway-device/agent/agent.ts');
    return startAgent({ dataDir: data, gatewayId: id, ...where, devices, tell });
  };
  const connect = async (): Promise<Agent> => {
    const agent = await whenReachable(tell, open);
    await agent.connected();
    return agent;
  };
  const text = record({ gateway: id, mqtt, devices: device.length });
  await runUntilStopped(connect, () => print(options, { ready: true, gateway: id }, text));
}

/** A gateway starts when its building has power, whatever the server does: it waits for it. */
async function whenReachable<T>(tell: AgentOptions['tell'], work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!isUnreachable(error)) throw error;
      tell({ event: 'unreachable', text: error.message });
      await sleep(reconnectDelayMs(attempt, Math.random(), defaultBackoff));
    }
  }
}

function splitDevice(text: string): [string, string] {
  const match = /^([0-9a-f]{32})=(.+)$/.exec(text);
  if (match === null) throw new NusecError('BAD_REQUEST', `${text} is not UID=address`);
  return [match[1] ?? '', match[2] ?? ''];
}
