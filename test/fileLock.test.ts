import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startAgent } from '../gateway-device/agent/agent.ts';
import { startMcu } from '../gateway-device/device/mcu.ts';
import { startNulink } from '../gateway-device/programmer/nulink.ts';
import { holdFolder } from '../src/fileLock.ts';

/** The folder of a machine: one process at a time, so that no count, number or signature is given twice. */

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nusec-folder-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const identity = { uid: new Uint8Array(16).fill(1), productId: 7 };
const agent = { gatewayId: 'hall-7', server: 'https://localhost:1', mqtt: { host: '127.0.0.1', port: 1 }, servername: 'localhost' };
const tell = (): void => {};

it.each([
  ['a virtual microcontroller', () => startMcu({ folder, identity, newIdentity: () => identity, tell })],
  ['a programmer', () => startNulink({ folder, identity, ports: {}, tell })],
  ['a gateway agent', () => startAgent({ ...agent, dataDir: folder, devices: new Map(), tell })],
])('is refused to %s while somebody else works in it', async (_, start) => {
  const held = holdFolder(folder);
  await expect(start()).rejects.toMatchObject({ code: 'FOLDER_IN_USE', message: expect.stringContaining(folder) });
  held.close();
});

it('is free again after the end, and after a start that failed', async () => {
  const options = { folder, identity, newIdentity: () => identity, tell };
  await (await startMcu(options)).close();
  await expect(startMcu({ ...options, identity: { uid: new Uint8Array(16), productId: 7 } })).rejects.toThrow();
  await (await startMcu(options)).close();
});
