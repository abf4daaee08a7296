import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { styleText } from 'node:util';
import { Command, Option } from 'commander';
import { wholeNumber } from '../src/cli/options.ts';
import { verifyStore } from '../src/eventstore/verify.ts';
import { whyNoBoard } from './cortexM/firmware.ts';
import { cortexSteps } from './demo/cortexM.ts';
import { steps as lifeSteps, newLife } from './demo/steps.ts';
import { createWorld } from './demo/world.ts';

/** `npm run demo`: the whole life of devices, every part a process of its own on loopback. Exit status 0 only if every step held. */

type DemoOptions = {
  readonly keep?: true;
  readonly processes: number;
  readonly curve: 'P-256' | 'P-384';
  readonly target: 'virtual' | 'qemu';
};

const maxProcesses = 8;
const { keep, processes, curve, target } = new Command('npm run demo --')
  .description('The whole life of devices, every part a process of its own on loopback.')
  .option('--keep', 'leave the server running and print the address of the console')
  .option('--processes <n>', 'run the server as so many processes', wholeNumber(1, maxProcesses), 1)
  .addOption(new Option('--curve <name>', 'of the keys of root and issuing CAs').choices(['P-256', 'P-384']).default('P-256'))
  .addOption(
    new Option('--target <name>', 'qemu: the identity part of production on a Cortex-M33 (docs/cortex-m.md)')
      .choices(['virtual', 'qemu'])
      .default('virtual'),
  )
  .addHelpText('after', '\nExamples:\n  npm run demo\n  npm run demo -- --keep\n  npm run demo -- --processes 2 --curve P-384')
  .parse()
  .opts<DemoOptions>();

const steps = target === 'qemu' ? cortexSteps : lifeSteps;
if (target === 'qemu') prepareBoard();
const colour = (style: Parameters<typeof styleText>[0], text: string) =>
  process.stdout.isTTY && !process.env.NO_COLOR ? styleText(style, text) : text;
const began = performance.now();
const seconds = () => `${((performance.now() - began) / 1000).toFixed(1).padStart(5)} s`;
const say = (text: string) => process.stdout.write(`${text}\n`);

say(colour('bold', target === 'qemu' ? 'NuSEC: a Cortex-M33 gets its identity' : 'NuSEC: the life of three devices'));
const world = await createWorld({ processes, curve });
const life = newLife(world);
say(`${seconds()}  server at ${world.url}, MQTT at ${world.mqtt}`);
let stage = '';
try {
  for (const step of steps) {
    if (step.stage !== stage) say(`\n${colour('bold', step.stage)}`);
    stage = step.stage;
    const { event, note } = await step.run(life);
    say(`${seconds()}  ${colour('green', '✓')} ${step.name}`);
    say(`         ${colour('dim', `event ${event.position} ${event.type} in ${event.stream}${note === undefined ? '' : ` · ${note}`}`)}`);
  }
  await printTimelines();
  await checkLog();
  say(`\n${colour('green', 'Every step held')} in ${seconds().trim()}.`);
} catch (error) {
  say(`${seconds()}  ${colour('red', '✗')} ${error instanceof Error ? error.message : String(error)}`);
  for (const part of [...world.servers(), life.programmer, life.gateway, ...life.units.map(({ mcu }) => mcu)])
    if (part?.errors()) say(`--- ${part.name}\n${part.errors().trim()}`);
  process.exitCode = 1;
}
if (keep && process.exitCode === undefined) await leaveRunning();
else await world.close();

/** Installs what the board needs. */
function prepareBoard(): void {
  spawnSync(process.execPath, [fileURLToPath(new URL('setup.mjs', import.meta.url)), 'cortexM'], { stdio: 'inherit' });
  const reason = whyNoBoard();
  if (reason !== undefined) throw new Error(reason);
}

async function printTimelines(): Promise<void> {
  const events = await world.events();
  for (const [index, { uid }] of life.units.entries()) {
    const own = events.filter(event => event.stream === `device-${uid}`);
    say(`\n${colour('bold', `device ${index + 1}`)} ${uid}${own.length === 0 ? ': never minted' : ''}`);
    for (const { at, type, position, by } of own) say(`  ${at.slice(11, 23)}  ${type.padEnd(32)} ${colour('dim', `${position} by ${by}`)}`);
  }
}

async function checkLog(): Promise<void> {
  const verdict = verifyStore(`${world.dir}/server/events.db`);
  if (!verdict.ok) throw new Error(`the log is damaged at position ${verdict.position}`);
  say(`\n${verdict.events} events in ${verdict.streams} streams; every hash chain is whole.`);
}

async function leaveRunning(): Promise<void> {
  say(
    `\nThe server keeps running (process ${world
      .servers()
      .map(({ pid }) => pid)
      .join(', ')}). End it with Ctrl-C.`,
  );
  say(`Console: ${world.url}/console   sign in with the text of ${world.tokenFile}`);
  say(`Command line: export NUSEC_SERVER=${world.url} NUSEC_CA=${world.env.NUSEC_CA} NUSEC_TOKEN_FILE=${world.tokenFile}`);
  await new Promise<void>(resolve => process.once('SIGINT', resolve).once('SIGTERM', resolve));
  await world.close();
}
