import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { startAgent } from '../gateway-device/agent/agent.ts';
import { enrol } from '../gateway-device/agent/identity.ts';
import { startMcu } from '../gateway-device/device/mcu.ts';
import { startNulink } from '../gateway-device/programmer/nulink.ts';
import type { Own } from '../src/closing.ts';
import { holdAlone, lockFile } from '../src/fileLock.ts';
import { startServer } from '../src/main.ts';
import { people } from './gateway/fieldKit.ts';
import { makeProject, startTestServer, testSettings } from './support/server.ts';

/** Every start, with a failure after each thing that it opens: nothing stays open, and the same start works afterwards. */

class Injected extends Error {}

/** `failAfter`: the name of the thing after which the start fails. */
const fault = vi.hoisted(() => ({ failAfter: '', opened: [] as string[], open: new Set<string>() }));

vi.mock('../src/closing.ts', async importOriginal => {
  const real = await importOriginal<typeof import('../src/closing.ts')>();
  const faulty =
    (own: Own): Own =>
    (name, opened) => {
      const close = async (): Promise<void> => {
        await opened.close();
        fault.open.delete(name);
      };
      own(name, { close });
      fault.opened.push(name);
      fault.open.add(name);
      if (name === fault.failAfter) throw new Injected(name);
      return opened;
    };
  const opening: typeof real.opening = (open, limitMs) => real.opening(own => open(faulty(own)), limitMs);
  return { ...real, opening };
});

type Start = () => Promise<{ close(): Promise<void> }>;

/** Sockets, pipes and child processes of this process. */
const handles = (): readonly string[] => process.getActiveResourcesInfo().filter(name => /Server|Socket|Pipe|Process/.test(name));

/** What there is more of than before. */
function added(before: readonly string[]): readonly string[] {
  const left = [...before];
  return handles().filter(name => {
    const at = left.indexOf(name);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

async function namesOpenedBy(start: Start): Promise<readonly string[]> {
  fault.failAfter = '';
  fault.opened = [];
  await (await start()).close();
  return [...fault.opened];
}

/** @param afterEach looks at what a start that failed has left  @returns the names of the things that were opened */
async function failAfterEach(start: Start, afterEach: () => void = () => {}): Promise<readonly string[]> {
  const [open, before] = [[...fault.open], handles()];
  const names = await namesOpenedBy(start);
  expect(new Set(names).size, 'each name once').toBe(names.length);
  for (const name of names) {
    fault.failAfter = name;
    const outcome = await start().catch((error: unknown) => error);
    // What only the leading process does is tried again later: the server runs without it meanwhile.
    if (outcome instanceof Error) expect(outcome, name).toBeInstanceOf(Injected);
    else await (outcome as { close(): Promise<void> }).close();
    expect([...fault.open], `open after ${name}`).toEqual(open);
    await expect.poll(() => added(before), { message: `left after ${name}` }).toEqual([]);
    afterEach();
  }
  expect(await namesOpenedBy(start)).toEqual(names);
  return names;
}

const folders: string[] = [];
function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-starts-'));
  folders.push(folder);
  return folder;
}
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

describe('a start that fails after any thing it opened leaves nothing open', () => {
  it('of a server: no lock is held', async () => {
    const { dataDir, remove } = await makeProject();
    onTestFinished(remove);
    const expectUnlocked = (): void => {
      lockFile(join(dataDir, 'keyset.bin'), 'alone').release();
      for (const name of ['views.db', 'leader']) {
        const lock = holdAlone(join(dataDir, name));
        expect(lock, name).toBeDefined();
        lock?.release();
      }
    };
    const names = await failAfterEach(() => startServer(testSettings(dataDir)), expectUnlocked);
    const some = ['keystore', 'custody', 'event store', 'process slot', 'read models', 'HTTPS server', 'CRL server', 'MQTT port'];
    expect(names).toEqual(expect.arrayContaining([...some, 'revocation mark', 'leadership']));
  });

  it.each([
    ['virtual microcontroller', startMcu],
    ['programmer', startNulink],
  ] as const)('of a %s', async (_, start) => {
    const folder = newFolder();
    const identity = { uid: new Uint8Array(16).fill(1), productId: 7 };
    const names = await failAfterEach(() => start({ folder, identity, newIdentity: () => identity, ports: {}, tell: () => {} }));
    expect(names).toEqual(['folder', 'chip', 'board', 'serial port', 'debug port', 'ports']);
  });

  it('of a gateway agent', async () => {
    const server = await startTestServer();
    onTestFinished(server.close);
    const http = people(server);
    await http.json('POST', '/v1/gateways', { id: 'hall-7' });
    const dataDir = newFolder();
    await enrol(dataDir, 'hall-7', server.rootPem, http);
    http.close();
    await expect.poll(() => handles().includes('TCPSocketWrap')).toBe(false);
    const agent = { dataDir, gatewayId: 'hall-7', server: server.url, servername: 'localhost', devices: new Map(), tell: () => {} };
    const mqtt = { host: '127.0.0.1', port: server.mqttPort };
    const names = await failAfterEach(() => startAgent({ ...agent, mqtt }));
    expect(names).toEqual(['folder', 'MQTT connection', 'relay', 'trust refresh', 'renewal']);
  });
});
