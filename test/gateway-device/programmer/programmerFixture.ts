import { createPrivateKey, type KeyObject, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { bl2Stage } from '../../../gateway-device/chip/bl2Stage.ts';
import { type Board, type BoardEvent, createBoard, type StageFactory } from '../../../gateway-device/chip/board.ts';
import { type BoardPorts, type ServedBoard, serveBoard } from '../../../gateway-device/chip/boardPorts.ts';
import { type Chip, openChip, openChipFolder } from '../../../gateway-device/chip/chip.ts';
import { devauthStage } from '../../../gateway-device/chip/devauthStage.ts';
import type { FlashLayout, Power } from '../../../gateway-device/chip/flash.ts';
import { authKeySlot } from '../../../gateway-device/chip/keyStore.ts';
import { appStage } from '../../../gateway-device/device/appStage.ts';
import { createHttpClient } from '../../../gateway-device/link/httpClient.ts';
import { createProgrammerBoard } from '../../../gateway-device/programmer/board.ts';
import type { Core } from '../../../gateway-device/programmer/core.ts';
import type { NvmState } from '../../../gateway-device/programmer/nvm.ts';
import { importPackage } from '../../../gateway-device/programmer/packageImport.ts';
import type { Patience } from '../../../gateway-device/programmer/patience.ts';
import { produceUnit } from '../../../gateway-device/programmer/produce.ts';
import type { TargetAddresses } from '../../../gateway-device/programmer/target.ts';
import { zeroiseJob } from '../../../gateway-device/programmer/zeroise.ts';
import { toHex } from '../../../src/bytes.ts';
import { builtInFirmware, prepareProgrammer } from '../../../src/cli/prepareProgrammer.ts';
import { NusecError } from '../../../src/errors.ts';
import { memoryStorage, memoryVault } from '../chip/memory.ts';
import { type OemServer, temporary } from './oemServer.ts';

/** For work that is tried again later anyway. */
const impatient: Patience = { wait: async () => false };

/** Virtual boards on real sockets: a programmer prepared as the OEM does it, and targets as they come from the chip vendor. */

export const freshId = (): Uint8Array => new Uint8Array(randomBytes(16));

export type TestProgrammer = {
  readonly uid: string;
  readonly folder: string;
  readonly core: Core;
  readonly served: ServedBoard;
  readonly events: readonly BoardEvent[];
  readonly addresses: TargetAddresses;
  /** Powers it off and opens it again on the same, or an older, folder. */
  readonly stop: () => Promise<void>;
};

const folders: string[] = [];
export function removeFolders(): void {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
}

export function newFolder(): string {
  const folder = mkdtempSync(join(temporary, 'nusec-programmer-'));
  folders.push(folder);
  return folder;
}

export async function startProgrammer(folder: string, uid?: Uint8Array): Promise<TestProgrammer> {
  const chip = openChipFolder(folder, uid && { uid, productId: 0x4e4c_0003 });
  const events: BoardEvent[] = [];
  const { board, core } = createProgrammerBoard(chip, folder, event => void events.push(event));
  const served = await serveBoard(board, { serialPeers: 4 });
  const stop = async (): Promise<void> => {
    await served.close();
    chip.close();
  };
  const addresses = { serial: `127.0.0.1:${served.serialPort}`, debug: `127.0.0.1:${served.debugPort}` };
  return { uid: toHex(chip.uid), folder, core, served, events, addresses, stop };
}

export function officer({ url, rootPem, plant }: OemServer) {
  return createHttpClient({ baseUrl: url, ca: rootPem, token: plant.tokenOf('olga') });
}

/** The AUTH key where the virtual KeyStore keeps it. Only the proxy needs it, to be this programmer on its other side. */
export function authKeyIn(folder: string): KeyObject {
  const { keys } = JSON.parse(readFileSync(join(folder, 'keystore.json'), 'utf8')) as { readonly keys: Readonly<Record<number, string>> };
  return createPrivateKey({ key: Buffer.from(keys[authKeySlot] ?? '', 'base64url'), format: 'der', type: 'pkcs8' });
}

/** Blank → shipped. */
export async function preparedProgrammer(server: OemServer, lines: string[] = []): Promise<TestProgrammer> {
  const programmer = await startProgrammer(newFolder(), freshId());
  await prepare(server, programmer, lines);
  return programmer;
}

export async function prepare(server: OemServer, { uid, folder, addresses }: TestProgrammer, lines: string[] = []) {
  const http = officer(server);
  server.proxy.know(uid, () => authKeyIn(folder));
  try {
    const wish = { addresses, uid, name: 'line 1', firmware: builtInFirmware, firmwareVersion: '1.0.0', serverUrl: server.url };
    return await prepareProgrammer(http, wish, line => void lines.push(line));
  } finally {
    http.close();
  }
}

export type TestTarget = {
  readonly uid: Uint8Array;
  readonly chip: Chip;
  readonly board: Board;
  readonly addresses: TargetAddresses;
  readonly stop: () => Promise<void>;
};

export function newTargetStorage() {
  return { otp: memoryStorage(), flash: memoryStorage(), registers: memoryStorage(), keys: memoryVault() };
}

/** A target MCU. The same storage again is the same chip after a power cut. */
export async function startTarget(
  uid: Uint8Array = freshId(),
  storage = newTargetStorage(),
  options: {
    power?: Power;
    app?: StageFactory;
    changes?: Partial<Chip>;
    productId?: number;
    layout?: FlashLayout;
    ports?: BoardPorts;
  } = {},
): Promise<TestTarget> {
  const { productId = 7, power, layout, changes } = options;
  const chip = { ...openChip({ uid, productId }, storage, power, layout), ...changes };
  const board = createBoard({ chip, stages: { devauth: devauthStage, bl2: bl2Stage, app: options.app ?? appStage() } });
  const served = await serveBoard(board, options.ports);
  const addresses = { serial: `127.0.0.1:${served.serialPort}`, debug: `127.0.0.1:${served.debugPort}` };
  return { uid, chip, board, addresses, stop: () => served.close() };
}

export type Outcome = { readonly code: string; readonly steps: readonly string[]; readonly remaining?: number };

/** One PRODUCE. @returns `OK` or the code that ended it, and the steps that were done */
export async function produce(
  core: Core,
  addresses: TargetAddresses,
  onStep: (k: number, state: string) => void = () => undefined,
  patience: Patience = impatient,
): Promise<Outcome> {
  const steps: string[] = [];
  const report = (k: number, _: string, state: string, text = ''): void => {
    steps.push(`${k} ${state}${text && (state === 'failed' || state === 'waiting') ? ` ${text}` : ''}`);
    onStep(k, state);
  };
  try {
    const { remaining } = await produceUnit(core, addresses, { report, patience });
    return { code: 'OK', steps, remaining };
  } catch (error) {
    if (!(error instanceof NusecError)) throw error;
    return { code: error.code, steps };
  }
}

export async function importCode(core: Core, file: Uint8Array): Promise<string> {
  return importPackage(core, file).then(
    () => 'OK',
    (error: NusecError) => `${error.code}: ${error.message}`,
  );
}

/** A job that is the only one with units left on this programmer: earlier ones are ended. */
export async function onlyJob(server: OemServer, { core, uid }: TestProgrammer, wish: Parameters<OemServer['newJob']>[1] = {}) {
  for (const jobId of Object.keys(core.nvm.state().jobs)) await zeroiseJob(core, jobId);
  const job = await server.newJob(uid, wish);
  expect(await importCode(core, job.file)).toBe('OK');
  return job;
}

/** The same programmer with the server out of reach and a memory of its own: to try what it would do. */
export function offline(core: Core): Core {
  const unconnected = (given: NvmState): NvmState => {
    const { serverUrl: _, ...state } = given;
    return state;
  };
  let state = unconnected(core.nvm.state());
  const update: Core['nvm']['update'] = change => {
    state = unconnected(change(state));
    return state;
  };
  return { ...core, nvm: { state: () => state, update } };
}
