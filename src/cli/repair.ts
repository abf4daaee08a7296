import type { Command } from 'commander';
import { ask, type Look, lookOf, type ServerOptions, subcommandsOf, withLook } from './client.ts';
import { print, record } from './output.ts';
import { runOnWires, type Wires, withWires } from './programmerRun.ts';

const example = '00112233445566778899aabbccddeeff';
const programmerExample = '4e4c3300000000000000000000000001';

type Reason = ServerOptions & { reason: string };

/** `nusec repair`: a device is taken out of use, unlocked once by two people, and returned to service as a new generation. */
export function registerRepair(program: Command): void {
  const repair = program.command('repair').description('devices in repair: take, unlock with two people, return to service');
  const command = subcommandsOf(repair);
  command(
    'take <uid>',
    'take a device for repair; its connection ends immediately',
    `take ${example} --reason "dead display" --by ${programmerExample}`,
  )
    .requiredOption('--reason <text>', 'why')
    .requiredOption('--by <uid>', 'the programmer that will have it on its wires')
    .action((uid: string, { reason, by: programmer, ...options }: Reason & { by: string }) =>
      decide(options, uid, '', { reason, programmer }),
    );
  command('unlock <uid>', 'ask for the one debug unlock of this repair', `unlock ${example} --reason "does not boot"`)
    .requiredOption('--reason <text>', 'why')
    .action((uid: string, { reason, ...options }: Reason) => decide(options, uid, '/unlock', { reason }));
  withLook(command('approve <uid>', 'approve the debug unlock that another person asked for', `approve ${example}`)).action(
    (uid: string, options: ServerOptions & Look) => decide(options, uid, '/unlock/approve', lookOf(options)),
  );
  command('return <uid>', 'let the programmer give it its next generation', `return ${example}`).action(
    (uid: string, options: ServerOptions) => decide(options, uid, '/return', {}),
  );
  registerWorkshop(repair, 'unlock', 'open', 'open the debug port of the device on the wires until it starts again');
  registerWorkshop(repair, 'renew', 'renew', 'give the device on the wires its next generation: it is in service again');
  command('show <uid>', 'how far its repair is', `show ${example}`).action(async (uid: string, options: ServerOptions) => {
    const answer = await ask<Record<string, unknown>>(options, 'GET', `/v1/devices/${uid}/repair`);
    print(options, answer, record(answer));
  });
}

/** What the workshop starts on the programmer: all checks and all secrets are in there. */
function registerWorkshop(repair: Command, name: 'unlock' | 'renew', usage: string, description: string): void {
  const example = `repair ${usage}`;
  withWires(repair.command(usage).description(description), example).action((wires: Wires) => runOnWires(name, wires));
}

async function decide(options: ServerOptions, uid: string, step: string, body: object): Promise<void> {
  const answer = await ask<Record<string, unknown>>(options, 'POST', `/v1/devices/${uid}/repair${step}`, body);
  print(options, answer, record(answer));
}
