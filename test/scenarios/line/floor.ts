import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { BoardPorts } from '../../../gateway-device/chip/boardPorts.ts';
import { connectProgrammer, type ProgrammerClient, sendPackage } from '../../../gateway-device/programmer/client.ts';
import type { TargetAddresses } from '../../../gateway-device/programmer/target.ts';
import { reservePorts } from '../../../scripts/demo/ports.ts';
import type { Running } from '../../../scripts/demo/processes.ts';
import { createWorld, type World } from '../../../scripts/demo/world.ts';
import { fromHex, toHex } from '../../../src/bytes.ts';
import { opening } from '../../../src/closing.ts';
import { NusecError } from '../../../src/errors.ts';
import { freshId, newTargetStorage, startTarget } from '../../gateway-device/programmer/programmerFixture.ts';
import { files, folderVariable, type Plan } from './holder.ts';

/** A production line of processes: the server, a programmer with one socket for chips, and what happens at which moment (holder.ts). */

const line = 'meter';
const pollMs = 15;
const pollLimitMs = 60_000;
const usualApplicationBytes = 8 * 1024;
const closeLimitMs = 60_000;

export type Run = {
  /** `OK` or the code that ended it; `GONE` when the programmer went away. */
  readonly outcome: string;
  readonly bin?: string | undefined;
  /** `step state text`. */
  readonly entries: readonly string[];
};

export type Floor = Awaited<ReturnType<typeof openFloor>>;

/** A chip whose memory outlives its power. */
export type Chip = {
  readonly uid: string;
  /** Puts it into the socket. @returns what takes it out */
  readonly insert: () => Promise<() => Promise<void>>;
  /** 0 while it is no process of its own. */
  readonly pid: () => number;
};

/** In this process. */
export function chipHere({ socket }: Floor): Chip {
  const [uid, storage] = [freshId(), newTargetStorage()];
  const insert = async () => {
    const target = await startTarget(uid, storage, { ports: socket });
    return () => target.stop();
  };
  return { uid: toHex(uid), insert, pid: () => 0 };
}

/** In a process of its own, which can be killed. */
export function chipProcess({ world, startChip }: Floor): Chip {
  const uid = toHex(freshId());
  let pid = 0;
  const insert = async () => {
    const running = await startChip(join(world.dir, `chip-${uid}`), uid);
    pid = running.pid;
    return () => running.stop();
  };
  return { uid, insert, pid: () => pid };
}

type See = (k: number, state: string) => void;

type FloorWish = {
  /** Of the job that the programmer imports. */
  readonly count: number;
  readonly applicationBytes?: number;
  /** Instead of the programmer's own serial port. @returns the port of a wire to it */
  readonly toolWire?: (port: number) => Promise<number>;
  /** Of the server. */
  readonly dataFolder?: string;
};

/** A production line that is ready to build. */
export const openFloor = ({ count, applicationBytes = usualApplicationBytes, toolWire, dataFolder }: FloorWish) =>
  opening(async own => {
    const folder = mkdtempSync(join(tmpdir(), 'nusec-line-'));
    own('folder', { close: () => rmSync(folder, { recursive: true, force: true }) });
    const holder = fileURLToPath(new URL('holder.ts', import.meta.url));
    const environment = { NODE_OPTIONS: `--import=${holder}`, [folderVariable]: folder };
    const world = own('world', await createWorld({ environment, ...(dataFolder !== undefined && { dataFolder }) }));
    const [serialPort = 0, debugPort = 0, ...sockets] = own('ports', await reservePorts(4)).ports;
    const programmer = await startProgrammer(world, { serialPort, debugPort });
    const jobId = await releasedJob(world, programmer.uid, count, applicationBytes);
    const tool = toolWire === undefined ? serialPort : await toolWire(serialPort);
    const use = <T>(work: (client: ProgrammerClient) => Promise<T>): Promise<T> => withClient(`127.0.0.1:${tool}`, work);
    const file = await exported(world, jobId, programmer.uid);
    await use(client => sendPackage(client, file));
    return { world, jobId, programmer, use, ...moments(folder), ...socketOf(world, sockets, use) };
  }, closeLimitMs);

/** Prepared by the OEM. It can be killed and started again on the same folder and ports. */
async function startProgrammer(world: World, { serialPort, debugPort }: Required<Pick<BoardPorts, 'serialPort' | 'debugPort'>>) {
  const uid = toHex(freshId());
  const start = (): Promise<Running> =>
    world.start(
      ...(['programmer', 'programmer', 'run', '--data', join(world.dir, 'programmer'), '--uid', uid] as const),
      ...['--serial-port', String(serialPort), '--debug-port', String(debugPort), '--json'],
    );
  let running = await start();
  await prepare(world, uid, `127.0.0.1:${serialPort}`, `127.0.0.1:${debugPort}`);
  return {
    uid,
    pid: () => running.pid,
    async restart() {
      await running.stop('SIGKILL');
      running = await start();
    },
    /** From now on. @returns when a run says that it waits */
    async waiting(): Promise<'waiting'> {
      const { lines } = running;
      const before = lines.length;
      await until(() => lines.slice(before).some(({ event }) => event === 'waiting'));
      return 'waiting';
    },
  };
}

/** What is asked of the processes (holder.ts). */
const moments = (folder: string) => ({
  /** What the programmer does at which moment. */
  plan: (plan: Plan) => writeFileSync(join(folder, files.plan), JSON.stringify(plan)),
  /** The moment that was planned is there: the programmer stands still until it is released. */
  held: () => until(() => existsSync(join(folder, files.held))),
  release: () => rmSync(join(folder, files.held)),
  /** A server ends instead of its answer to this call; a target instead of its next answer. */
  arm: (role: 'server' | 'mcu', call = '') => writeFileSync(join(folder, files[role]), call),
});

type Use = <T>(work: (client: ProgrammerClient) => Promise<T>) => Promise<T>;

/** The socket for chips, with wires of its own. */
function socketOf(world: World, [serialPort = 0, debugPort = 0]: readonly number[], use: Use) {
  const produceOn = (wires: TargetAddresses, see: See = () => undefined): Promise<Run> =>
    use(client => produceOnce(client, wires, see)).catch(gone);
  return {
    socket: { serialPort, debugPort },
    startChip: (data: string, chip: string) =>
      world.start(
        ...(['mcu', 'mcu', 'run', '--data', data, '--uid', chip] as const),
        ...['--serial-port', String(serialPort), '--debug-port', String(debugPort), '--json'],
      ),
    /** As `nusec produce`. @param wire to the serial port of the socket */
    produce: (wire = serialPort): Promise<Run> => produceOn({ serial: `127.0.0.1:${wire}`, debug: `127.0.0.1:${debugPort}` }),
    /** The same with a chip that is elsewhere. */
    produceOn,
  };
}

export async function until(isSo: () => boolean): Promise<void> {
  for (const deadline = Date.now() + pollLimitMs; !isSo(); ) {
    if (Date.now() > deadline) throw new Error('it has not come true');
    await sleep(pollMs);
  }
}

async function withClient<T>(serial: string, work: (client: ProgrammerClient) => Promise<T>): Promise<T> {
  const client = await connectProgrammer(serial);
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

/** A tool whose programmer went away. */
function gone(error: unknown): Run {
  if (error instanceof NusecError && error.code === 'LINK_FAILED') return { outcome: 'GONE', entries: [] };
  throw error;
}

/** As `nusec produce`: while the programmer is busy with the same wires it is asked again. */
async function produceOnce(client: ProgrammerClient, wires: TargetAddresses, see: See): Promise<Run> {
  const { runId } = await unlessBusy(() => client.request('produce', { serialAddress: wires.serial, debugAddress: wires.debug }));
  const entries: string[] = [];
  for (;;) {
    const seen = await client.request('progress', { since: entries.length, runId }).catch(unlessHeld);
    if (seen === undefined) continue;
    entries.push(...seen.entries.map(({ k, state, text }) => `${k} ${state} ${text}`.trim()));
    for (const { k, state } of seen.entries) see(k, state);
    if (seen.done) return { outcome: seen.outcome ?? '', bin: seen.bin, entries };
    await sleep(pollMs);
  }
}

/** A programmer that stands still answers later. */
function unlessHeld(error: unknown): undefined {
  if (!(error instanceof NusecError) || error.code !== 'LINK_TIMEOUT') throw error;
}

async function unlessBusy<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Error && 'reason' in error && error.reason === 'busy')) throw error;
      await sleep(pollMs);
    }
  }
}

async function prepare(world: World, uid: string, serial: string, debug: string): Promise<void> {
  await world.alice.json('POST', '/v1/lines', { line });
  const made = await world.nusec('programmer', 'prepare', '--uid', uid, '--serial', serial, '--debug', debug, '--to', 'Example CM');
  if (made.status !== 0) throw new Error(`programmer prepare: ${JSON.stringify(made.error)}`);
}

async function published(world: World, image: 'bl2' | 'app', bytes: number): Promise<string> {
  const query = new URLSearchParams({ line, image, version: '1.0.0', counter: '1' });
  const answer = await world.alice.bytes('POST', `/v1/releases?${query}`, new Uint8Array(randomBytes(bytes)));
  const { releaseId } = JSON.parse(new TextDecoder().decode(answer)) as { releaseId: string };
  await world.bob.json('POST', `/v1/releases/${releaseId}/approve`, {});
  await world.alice.json('POST', `/v1/releases/${releaseId}/publish`, {});
  return releaseId;
}

async function releasedJob(world: World, programmer: string, count: number, bytes: number): Promise<string> {
  const { alice, bob } = world;
  const { jobId } = await alice.json<{ jobId: string }>('POST', '/v1/jobs', { line, plannedCount: count, scrapAllowance: 5 });
  for (const image of ['bl2', 'app'] as const) {
    await alice.json('POST', `/v1/jobs/${jobId}/firmware`, { releaseId: await published(world, image, bytes) });
  }
  await bob.json('POST', `/v1/jobs/${jobId}/release`, {});
  await alice.json('POST', `/v1/jobs/${jobId}/allotments`, { programmer, count, scrapAllowance: 5 });
  return jobId;
}

const exported = ({ alice }: World, jobId: string, programmer: string): Promise<Uint8Array> =>
  alice.bytes('POST', `/v1/jobs/${jobId}/allotments/${programmer}/export`, new TextEncoder().encode('{}'), 'application/json');

type UnitRow = { readonly uid: string; readonly status: string };
type Share = {
  readonly quota: number;
  readonly reserved: number;
  readonly committed: number;
  readonly voided: number;
  readonly scrapped: number;
  readonly remaining: number;
};

/** What server and programmer say of the job now. */
export async function books({ world, jobId, use }: Floor) {
  const units: UnitRow[] = [];
  for (let cursor: string | undefined = ''; cursor !== undefined; ) {
    const query: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const page = await world.alice.json<{ units: readonly UnitRow[]; next?: string }>('GET', `/v1/jobs/${jobId}/units?limit=500${query}`);
    units.push(...page.units);
    cursor = page.next;
  }
  const { board } = await world.alice.json<{ board: readonly Share[] }>('GET', `/v1/jobs/${jobId}`);
  const { jobs, unitUids = [] } = await use(client => client.request('status', {}));
  return { units, share: board[0] as Share, left: jobs[0]?.remaining, underWay: unitUids.map(toHex) };
}

type Closed = { readonly verdict: string; readonly discrepancies: readonly object[] };

/** The end of the job: the rest is erased at the programmer, and when the server has its receipt, it compares everything. */
export async function closed({ world, jobId, use }: Floor): Promise<Closed> {
  await use(client => client.request('zeroise', { jobId: fromHex(jobId) }));
  for (;;) {
    try {
      return await world.alice.json<Closed>('POST', `/v1/jobs/${jobId}/close`, {});
    } catch (error) {
      if (!(error instanceof NusecError) || error.code !== 'STATE') throw error;
      await sleep(pollMs);
    }
  }
}
