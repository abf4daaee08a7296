import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { NusecError } from '../../../src/errors.ts';
import type { ServerSign, ServerSigns } from '../../../src/eventstore/port.ts';
import { type OpenedContext, openContext } from '../../../src/services/dataFolder/open.ts';
import { requireServerCertificate } from '../../../src/services/identity/serverTrust.ts';
import { openFolderLinks } from '../../../src/services/processes/folderLinks.ts';
import type { PeerLink } from '../../../src/services/processes/peerLink.ts';
import { createPeers, type Peers } from '../../../src/services/processes/peers.ts';
import { maxProcessSlots } from '../../../src/services/processes/processSlots.ts';
import { openServerLinks } from '../../../src/services/processes/serverLinks.ts';
import { type Revocations, startRevocations } from '../../../src/services/revocation/revocations.ts';
import { makeProject, testSettings } from '../../support/server.ts';
import { newTlsIdentity } from '../../support/tlsIdentity.ts';

/** Which process has which machine, and what it is asked about it, is the same over every kind of link: between parts of one process, over sockets of a
 *  folder, and over TLS between machines. */

type Answers = { echo(bytes: Uint8Array): Promise<Uint8Array>; refuse(): Promise<void>; never(): Promise<void> };
type Process = Peers<Answers> & { leave(): unknown };
/** Two processes that are linked. */
type Pair = readonly [Process, Process];

let project: Awaited<ReturnType<typeof makeProject>>;
let opened: OpenedContext;
let revocations: Revocations;
beforeAll(async () => {
  project = await makeProject();
  opened = await openContext(testSettings(project.dataDir), { https: 0, crl: 0 });
  revocations = await startRevocations(opened.ctx);
});
afterAll(async () => {
  await revocations.close();
  await opened.close();
  project.remove();
});

function peersOf(id: string): Peers<Answers> {
  const peers = createPeers<Answers>(['echo', 'refuse', 'never'], id);
  peers.serve({
    echo: async bytes => bytes,
    refuse: () => Promise.reject(new NusecError('ORDER_REFUSED', 'no')),
    never: () => new Promise(() => {}),
  });
  return peers;
}

/** What one side sends the other hears, one turn later. */
function inOneProcess(): Pair {
  type End = PeerLink & { hear(value: unknown): void; end(): void };
  const end = (other: () => End): End => {
    const [heard, ended]: [((value: unknown) => void)[], (() => void)[]] = [[], []];
    return {
      send: value => queueMicrotask(() => other().hear(value)),
      onValue: listener => void heard.push(listener),
      onEnd: listener => void ended.push(listener),
      hear: value => heard.forEach(listener => void listener(value)),
      end: () => ended.forEach(listener => void listener()),
    };
  };
  const near: End = end(() => far);
  const far: End = end(() => near);
  const leave = (): void => {
    near.end();
    far.end();
  };
  const [one, two] = [peersOf('a'), peersOf('b')];
  one.addLink(near);
  two.addLink(far);
  return [
    { ...one, leave },
    { ...two, leave },
  ];
}

async function inOneFolder(): Promise<Pair> {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-directory-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const arrive = async (slot: number): Promise<Process> => {
    const peers = peersOf(`process-${slot}`);
    const links = await openFolderLinks(folder, slot, maxProcessSlots, peers.addLink);
    onTestFinished(() => links?.close());
    return { ...peers, leave: () => links?.close() };
  };
  return [await arrive(1), await arrive(2)];
}

async function onTwoMachines(): Promise<Pair> {
  const all: ServerSign[] = [];
  const servers: ServerSigns = { read: async () => all, give: async sign => void all.push(sign) };
  const arrive = async (id: string): Promise<Process> => {
    const peers = peersOf(id);
    const links = await openServerLinks({
      servers,
      id,
      place: { host: '127.0.0.1', port: 0 },
      identity: await newTlsIdentity(opened.ctx, ['localhost']),
      requireServer: leaf => requireServerCertificate(opened.ctx, revocations, leaf),
      linked: peers.linked,
      onLink: peers.addLink,
      onTrouble: () => undefined,
    });
    onTestFinished(links.close);
    return { ...peers, leave: links.close };
  };
  return [await arrive('a'), await arrive('b')];
}

describe.each([
  ['in one process', inOneProcess],
  ['over sockets of a folder', inOneFolder],
  ['over TLS between machines', onTwoMachines],
])('processes %s', (_name, meet) => {
  it('know where a machine is, reach it there, and get refusals with their codes', async () => {
    const [one, two] = await meet();
    one.connected('device', 1);
    await expect.poll(() => two.holding('device')).toBeDefined();
    expect(one.holding('device')).toBeUndefined();
    const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i & 0xff);
    expect(await two.holding('device')?.echo(bytes)).toEqual(bytes);
    await expect(two.holding('device')?.refuse()).rejects.toMatchObject({ code: 'ORDER_REFUSED', message: 'no' });
    one.gone('device');
    await expect.poll(() => two.holding('device')).toBeUndefined();
  });

  it('agree on the one of two connections that stays', async () => {
    const [one, two] = await meet();
    one.connected('ready', 1);
    await expect.poll(() => two.holding('ready')).toBeDefined();
    const places: string[] = [];
    for (const peers of [one, two]) peers.onConnected((_clientId, place) => places.push(place));
    one.connected('device', 5);
    two.connected('device', 5);
    await expect.poll(() => places.toSorted()).toEqual(['kept', 'taken']);
  });

  it('tell each other what needs no answer', async () => {
    const [one, two] = await meet();
    one.connected('ready', 1);
    await expect.poll(() => two.holding('ready')).toBeDefined();
    const heard: unknown[] = [];
    two.onNotice('topic', value => heard.push(value));
    one.notify('topic', { count: 1 });
    await expect.poll(() => heard).toEqual([{ count: 1 }]);
  });

  it('take what the other has not answered as lost, and its machines as gone, when it ends', async () => {
    const [one, two] = await meet();
    two.connected('device', 1);
    await expect.poll(() => one.holding('device')).toBeDefined();
    const asked = one.holding('device')?.never();
    await Promise.all([expect(asked).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE' }), two.leave()]);
    expect(one.holding('device')).toBeUndefined();
  });
});
