import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { NusecError } from '../../../src/errors.ts';
import { openPeerLinks } from '../../../src/services/processes/peerLinks.ts';
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
  const peers = createPeers<Answers>(['echo', 'refuse', 'never']);
  const links = await openPeerLinks(dataDir, seat, maxProcessSlots, peers.addLink);
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
    one.tell('device-a', true);
    const two = await arrive(2);
    two.tell('device-b', true);
    await expect.poll(() => two.holding('device-a') !== undefined && one.holding('device-b') !== undefined).toBe(true);
    expect(one.holding('device-a')).toBeUndefined();
    const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i & 0xff);
    expect(await two.holding('device-a')?.echo(bytes)).toEqual(bytes);
    await expect(one.holding('device-b')?.refuse()).rejects.toMatchObject({ code: 'ORDER_REFUSED', message: 'no' });
    one.tell('device-a', false);
    await expect.poll(() => two.holding('device-a')).toBeUndefined();
  });

  it('are told when a machine connects to another of them', async () => {
    const [one, two] = [await arrive(1), await arrive(2)];
    const taken: string[] = [];
    one.onTaken(clientId => taken.push(clientId));
    one.tell('device-b', true);
    await expect.poll(() => two.holding('device-b')).toBeDefined();
    two.tell('device-a', true);
    await expect.poll(() => taken).toEqual(['device-a']);
  });

  it('take an unanswered question as lost when the one that was asked ends', async () => {
    const [one, two] = [await arrive(1), await arrive(2)];
    two.tell('device-a', true);
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
    const stranger = createConnection(join(folder, '1.sock'));
    const ended = new Promise(resolve => stranger.once('close', resolve));
    stranger.write(Buffer.from('ffffffff', 'hex'));
    await ended;
    const babbler = createConnection(join(folder, '1.sock'));
    const cut = new Promise(resolve => babbler.once('close', resolve));
    babbler.write(Buffer.from('00000003abcdef', 'hex'));
    await cut;
  });

  it('have no links when the path is too long for a socket', async () => {
    expect(await openPeerLinks(join(dataDir, 'x'.repeat(100)), 1, maxProcessSlots, () => {})).toBeUndefined();
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
