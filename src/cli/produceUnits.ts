import { connectProgrammer } from '../../gateway-device/programmer/client.ts';
import { whileOpen } from '../closing.ts';
import { counted } from '../counted.ts';
import { errorCodes, NusecError } from '../errors.ts';
import { progress, styled } from './output.ts';
import { adviceOn } from './produceAdvice.ts';
import { type RunEnd, showEntry } from './programmerRun.ts';
import { readStation, type Station, stationOf } from './station.ts';
import { produceOn, runStation } from './stationLine.ts';
import { openStationSocket, openWebhook } from './stationOutlets.ts';
import { createCounter, machineLine, openView, resultLine } from './stationView.ts';

/** Has a programmer build units, and shows how it goes. */

export type ProduceOptions = {
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

export async function produce(options: ProduceOptions): Promise<void> {
  const { programmer, targetSerial: serial, targetDebug: debug, job, json } = options;
  const isOne = serial !== undefined && debug !== undefined && options.targets === undefined && options.station === undefined;
  if (isOne && programmer !== undefined && (options.count ?? 1) === 1) return produceOne(programmer, { serial, debug }, jobIdOf(job), json);
  const station = stationIn(options);
  const { built, failed, stoppedBy } = await attend(station, json);
  const isBuilt = station.count === undefined ? stoppedBy?.outcome === 'COUNT_EXHAUSTED' : built === station.count;
  if (stoppedBy && !isBuilt) throw new NusecError(codeOf(stoppedBy), adviceOn(stoppedBy));
  if (failed > 0 && !isBuilt) throw new NusecError('STATE', `${counted(failed, 'unit')} not built: the lines above say why`);
}

/** @throws NusecError BAD_REQUEST */
function stationIn({ programmer, targets, station, targetSerial, targetDebug, job, count, listen, webhook }: ProduceOptions): Station {
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
