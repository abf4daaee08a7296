import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { NusecError } from '../../../src/errors.ts';
import { openFolderLinks } from '../../../src/services/processes/folderLinks.ts';
import { createPeers } from '../../../src/services/processes/peers.ts';
import { maxProcessSlots, takeProcessSlot } from '../../../src/services/processes/processSlots.ts';

/** Server processes at one data folder, here as parts of one process: slots and the sockets between them. */

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'nusec-peers-'));
});
afterEach(() => rmSync(dataDir, { recursive: true }));

type Answers = { echo(bytes: Uint8Array): Promise<Uint8Array>; refuse(): Promise<void>; never(): Promise<void> };

async function arrive(seat: number) {
  const peers = createPeers<Answers>(['echo', 'refuse', 'never'], `process-${seat}`);
  const links = await openFolderLinks(dataDir, seat, maxProcessSlots, peers.addLink);
  if (links === undefined) throw new Error('no links');
  onTestFinished(() => links.close());
  peers.serve({
    echo: async bytes => bytes,
    refuse: () => Promise.reject(new NusecError('ORDER_REFUSED', 'no')),
    never: () => new Promise(() => {}),
  });
  return { ...peers, close: links.close };
}

describe('processes at one data folder', () => {
  it('know which of them has a machine connected, whoever came first, and ask it', async () => {
    const one = await arrive(1);
    one.connected('device-a', 1);
    const two = await arrive(2);
    two.connected('device-b', 1);
    await expect.poll(() => two.holding('device-a') !== undefined && one.holding('device-b') !== undefined).toBe(true);
    expect(one.holding('device-a')).toBeUndefined();
    const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i & 0xff);
    expect(await two.holding('device-a')?.echo(bytes)).toEqual(bytes);
    await expect(one.holding('device-b')?.refuse()).rejects.toMatchObject({ code: 'ORDER_REFUSED', message: 'no' });
    one.gone('device-a');
    await expect.poll(() => two.holding('device-a')).toBeUndefined();
  });

  it('are told what was announced before they came, the newest of it, and what was only notified not', async () => {
    const one = await arrive(1);
    one.announce('checkpoint', 'older');
    one.announce('checkpoint', 'newest');
    one.notify('passing', 'gone');
    const two = createPeers<Answers>(['echo', 'refuse', 'never'], 'process-2');
    const heard: unknown[] = [];
    for (const topic of ['checkpoint', 'passing']) two.onNotice(topic, value => heard.push(value));
    const links = await openFolderLinks(dataDir, 2, maxProcessSlots, two.addLink);
    onTestFinished(() => links?.close());
    await expect.poll(() => heard).toEqual(['newest']);
    one.announce('checkpoint', 'next');
    await expect.poll(() => heard).toEqual(['newest', 'next']);
  });

  it('are told when a machine connects to another of them, and which connection is the later one', async () => {
    const three = [await arrive(1), await arrive(2), await arrive(3)] as const;
    const [one, two, other] = three;
    one.connected('ready', 1);
    await expect.poll(() => [two.holding('ready'), other.holding('ready')].every(Boolean)).toBe(true);
    const seen = three.map(peers => {
      const places: string[] = [];
      peers.onConnected((clientId, place) => places.push(`${clientId} ${place}`));
      return places;
    });
    one.connected('device-b', 1);
    await expect.poll(() => [two.holding('device-b'), other.holding('device-b')].every(Boolean)).toBe(true);
    // The clock of this process is behind: it still comes after the one it knows of.
    two.connected('device-b', 0);
    await expect.poll(() => seen).toEqual([['device-b taken'], ['device-b new'], ['device-b new', 'device-b moved']]);
    expect(await other.holding('device-b')?.echo(new Uint8Array(1))).toEqual(new Uint8Array(1));
  });

  it.each([
    ['at the same time', 5, 5],
    ['the second a little earlier', 5, 4],
    ['the first a little earlier', 4, 5],
  ])('agree on the one of two connections that stays: %s', async (_name, atOne, atTwo) => {
    const [one, two] = [await arrive(1), await arrive(2)];
    one.connected('ready', 1);
    await expect.poll(() => two.holding('ready')).toBeDefined();
    const places: Record<string, string> = {};
    one.onConnected((_clientId, place) => Object.assign(places, { one: place }));
    two.onConnected((_clientId, place) => Object.assign(places, { two: place }));
    // Neither has heard of the other yet.
    one.connected('device', atOne);
    two.connected('device', atTwo);
    await expect.poll(() => Object.keys(places)).toHaveLength(2);
    expect(Object.values(places).toSorted()).toEqual(['kept', 'taken']);
  });

  it('agree also when their link comes after both connections', async () => {
    const one = await arrive(1);
    one.connected('device', 7);
    const peers = createPeers<Answers>(['echo', 'refuse', 'never'], 'process-2');
    peers.connected('device', 7);
    const places: string[] = [];
    one.onConnected((_clientId, place) => places.push(`one ${place}`));
    peers.onConnected((_clientId, place) => places.push(`two ${place}`));
    const links = await openFolderLinks(dataDir, 2, maxProcessSlots, peers.addLink);
    onTestFinished(() => links?.close());
    await expect.poll(() => places).toEqual(['one taken']);
  });

  it('take an unanswered question as lost when the one that was asked ends', async () => {
    const [one, two] = [await arrive(1), await arrive(2)];
    two.connected('device-a', 1);
    await expect.poll(() => one.holding('device-a')).toBeDefined();
    const asked = one.holding('device-a')?.never();
    two.close();
    await expect(asked).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE' });
    expect(one.holding('device-a')).toBeUndefined();
  });

  it('let nobody but their owner in, take the place of a killed one, and cut who sends what is no frame', async () => {
    await arrive(1);
    const folder = join(dataDir, 'peers');
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    writeFileSync(join(folder, '2.sock'), 'left behind');
    chmodSync(join(folder, '2.sock'), 0o600);
    await arrive(2);
    expect(readdirSync(folder).toSorted()).toEqual(['1.sock', '2.sock']);
    const stranger = createConnection(join(folder, '1.sock')).resume();
    const ended = new Promise(resolve => stranger.once('close', resolve));
    stranger.write(Buffer.from('ffffffff', 'hex'));
    await ended;
    const babbler = createConnection(join(folder, '1.sock')).resume();
    const cut = new Promise(resolve => babbler.once('close', resolve));
    babbler.write(Buffer.from('00000003abcdef', 'hex'));
    await cut;
  });

  it('have no links when the path is too long for a socket', async () => {
    expect(await openFolderLinks(join(dataDir, 'x'.repeat(100)), 1, maxProcessSlots, () => {})).toBeUndefined();
  });
});

describe('seats', () => {
  it('are given to as many processes as may share a folder, each with read models of its own', () => {
    const seats = Array.from({ length: maxProcessSlots }, () => takeProcessSlot(dataDir));
    expect(new Set(seats.map(({ viewsFile }) => viewsFile)).size).toBe(maxProcessSlots);
    expect(() => takeProcessSlot(dataDir)).toThrow(expect.objectContaining({ code: 'TOO_MANY_SERVERS' }));
    seats[4]?.close();
    expect(takeProcessSlot(dataDir)).toMatchObject({ number: 5 });
    for (const seat of seats) seat.close();
  });
});
