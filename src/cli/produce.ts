import type { Command } from 'commander';
import { connectProgrammer } from '../../gateway-device/programmer/client.ts';
import { whileOpen } from '../closing.ts';
import { errorCodes, NusecError } from '../errors.ts';
import { portNumber, wholeNumber } from './options.ts';
import { progress, styled } from './output.ts';
import { adviceOn } from './produceAdvice.ts';
import { type RunEnd, showEntry } from './programmerRun.ts';
import { readStation, type Station, stationOf } from './station.ts';
import { produceOn, runStation } from './stationLine.ts';
import { openStationSocket, openWebhook } from './stationOutlets.ts';
import { createCounter, machineLine, openView, resultLine } from './stationView.ts';

type Options = {
  programmer?: string;
  targetSerial?: string;
  targetDebug?: string;
  targets?: string[];
  station?: string;
  job?: string;
  count?: number;
  listen?: number;
  webhook?: string;
  json?: boolean;
};

/** `nusec produce`: starts production on the programmer and shows how it goes (R70, R108). All checks and all keys are in the programmer. */
export function registerProduce(program: Command): void {
  program
    .command('produce')
    .description('produce units: the programmer provisions the targets on its wires')
    .option('--programmer <host:port>', 'serial link of the programmer (or the path of a UART)')
    .option('--target-serial <host:port>', 'serial link of the target, as the programmer reaches it')
    .option('--target-debug <address>', 'debug port of the target, as the programmer reaches it: host:port, or openocd:host:port')
    .option('--targets <serial,debug...>', 'up to 16 targets at the same time, instead of one')
    .option('--station <file>', 'all of this from a JSON file, for a line that nobody attends')
    .option('--job <id>', 'which job, when the chip could belong to several')
    .option('--count <n>', 'units in all; after each one the next chip is waited for (default: 1)', wholeNumber(1, 0xffff_ffff))
    .option('--listen <port>', 'JSON lines for a handler or MES on this TCP port of loopback', portNumber)
    .option('--webhook <url>', 'post the result of each unit there')
    .option('--json', 'print JSON lines instead of text')
    .addHelpText(
      'after',
      `
Exit status 0: everything that was asked for is committed. Otherwise 1 and a stable code, such as COUNT_EXHAUSTED or UID_NOT_LISTED. A server that
is away or in trouble, and a job that is suspended, are waited for. A unit that is not finished is kept: put its chip back and run the same command,
or go on with another chip; nusec package status lists it.

With --count, --targets or --station each target goes on to its next chip by itself: one that was not there before, or was taken off in between.
A chip that fails does not stop the others; its line has a bin: pass, hold (it comes back), retry (nothing was burned), scrap, reject.

A station file: {"programmer": "localhost:7101", "targets": [{"name": "left", "serial": "localhost:7001", "debug": "localhost:7002"}],
"job"?, "count"? (default: until the count is used up), "start"?: "chip" or "command", "listen"?, "webhook"?}. With "start": "command" a unit begins
when the handler writes {"start": "left"} to the socket.

Examples:
  $ nusec produce --programmer localhost:7101 --target-serial localhost:7001 --target-debug localhost:7002
  $ nusec produce --programmer /dev/ttyACM0 --target-serial /dev/ttyUSB0 --target-debug openocd:localhost:6666 --count 50 --json
  $ nusec produce --programmer localhost:7101 --targets localhost:7001,localhost:7002 localhost:7003,localhost:7004 --count 100
  $ nusec produce --station line-3.json --json`,
    )
    .action(produce);
}

async function produce(options: Options): Promise<void> {
  const { programmer, targetSerial: serial, targetDebug: debug, job, json } = options;
  const isOne = serial !== undefined && debug !== undefined && options.targets === undefined && options.station === undefined;
  if (isOne && programmer !== undefined && (options.count ?? 1) === 1) return produceOne(programmer, { serial, debug }, jobIdOf(job), json);
  const station = stationIn(options);
  const { built, failed, stoppedBy } = await attend(station, json);
  const isBuilt = station.count === undefined ? stoppedBy?.outcome === 'COUNT_EXHAUSTED' : built === station.count;
  if (stoppedBy && !isBuilt) throw new NusecError(codeOf(stoppedBy), adviceOn(stoppedBy));
  if (failed > 0 && !isBuilt) throw new NusecError('STATE', `${failed} units were not built; the lines above say why`);
}

/** @throws NusecError BAD_REQUEST */
function stationIn({ programmer, targets, station, targetSerial, targetDebug, job, count, listen, webhook }: Options): Station {
  const more = {
    ...(job !== undefined && { job: jobIdOf(job) }),
    ...(count !== undefined && { count }),
    ...(listen !== undefined && { listen }),
    ...(webhook !== undefined && { webhook }),
  };
  if (station !== undefined) return { ...readStation(station), ...more };
  const wires = targets ?? (targetSerial && targetDebug ? [`${targetSerial},${targetDebug}`] : []);
  if (programmer === undefined || wires.length === 0)
    throw new NusecError('BAD_REQUEST', 'give --programmer with --target-serial and --target-debug or with --targets, or --station FILE');
  return stationOf(programmer, wires, { count: 1, ...more });
}

async function produceOne(
  programmer: string,
  wires: { serial: string; debug: string },
  job: string | undefined,
  json?: boolean,
): Promise<void> {
  const client = await connectProgrammer(programmer);
  try {
    finish(await produceOn(client, wires, job, entry => showEntry(entry, json)), json);
  } finally {
    await client.close();
  }
}

/** @throws NusecError with the code that ended the run */
function finish(end: RunEnd, json: boolean | undefined): void {
  const { outcome, remaining: left = 0, values = {} } = end;
  const labels = Object.entries(values).map(([name, value]) => `${name} ${value}\n`);
  if (outcome !== 'OK') throw new NusecError(codeOf(end), adviceOn(end));
  process.stdout.write(
    json
      ? `${JSON.stringify({ outcome, remaining: left, ...(labels.length > 0 && { values }) })}\n`
      : `${styled('green', 'committed')}, ${left} ${left === 1 ? 'unit' : 'units'} left\n${labels.join('')}`,
  );
}

const attend = (station: Station, json: boolean | undefined) =>
  whileOpen(async own => {
    const socket = station.listen === undefined ? undefined : own('station socket', await openStationSocket(station.listen));
    const onLost = (reason: string): void => progress(`the webhook did not take a result: ${reason}`);
    const webhook = station.webhook === undefined ? undefined : own('webhook', openWebhook(station.webhook, onLost));
    if (station.start === 'command' && !socket) throw new NusecError('BAD_REQUEST', 'start by command needs a socket: give "listen"');
    if (socket) progress(`JSON lines on 127.0.0.1:${socket.port}`);
    const view = openView(station, json);
    const counter = createCounter();
    const stop = new AbortController();
    const end = (): void => stop.abort();
    process.once('SIGINT', end).once('SIGTERM', end);
    try {
      return await runStation(station, {
        signal: stop.signal,
        started: station.start === 'command' ? socket?.started : undefined,
        tell: event => {
          view.show(event);
          const line = machineLine(event, counter);
          socket?.send(line);
          if (event.type === 'result') webhook?.send(resultLine(event, counter.rates()));
        },
      });
    } finally {
      process.removeListener('SIGINT', end).removeListener('SIGTERM', end);
      view.close();
    }
  });

const codeOf = ({ outcome }: RunEnd) => errorCodes.find(known => known === outcome) ?? 'INTERNAL';

function jobIdOf(text: string | undefined): string | undefined {
  if (text !== undefined && !/^[0-9a-f]{32}$/.test(text)) throw new NusecError('BAD_REQUEST', 'a job id is 32 lower-case hex digits');
  return text;
}
