import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { type Running, start } from '../../scripts/demo/processes.ts';
import type { UploadedRelease } from '../../src/domain/release.ts';
import { toPem } from '../../src/pki/pem.ts';
import { eventually, type Fleet, people, publish, seedFleet, show, type Unit } from '../gateway/fieldKit.ts';
import { covers } from '../support/covers.ts';
import { type HeldLink, heldLink } from '../support/heldLink.ts';
import { exchange } from '../support/http.ts';
import { limitOfProcesses } from '../support/limits.ts';
import { type LosingLink, losingLink } from '../support/losingLink.ts';
import { type ServerProcess, startServerProcesses } from '../support/server.ts';
import { makeMcuFolder } from './mcuFolders.ts';

/** A device that fetches its image by HTTPS in ranges, with server and device as processes of their own: any message of that dialogue is lost, and the
 *  upgrade is stopped in the middle of a range. */

type View = { rolloutId: string; status: string; counts: Record<string, number> };
type Deed = 'abort' | 'deadline' | 'withdraw' | 'quarantine';

const folder = mkdtempSync(join(tmpdir(), 'nusec-ranges-'));
/** Four ranges of 64 blocks. */
const [imageBytes, blockBytes] = [240_000, 1024];
/** In the second range, behind the handshake. */
const heldAfterBytes = 100_000;
const maxMessages = 30;
const deeds: readonly Deed[] = ['abort', 'deadline', 'withdraw', 'quarantine'];

let group: Awaited<ReturnType<typeof startServerProcesses>>;
let server: ServerProcess;
let other: ServerProcess;
let unit: Unit;
let mcu: Running;
let alice: HttpClient;
let bob: HttpClient;
const releases: UploadedRelease[] = [];
let used = 0;
const nextRelease = (): UploadedRelease => releases[used++] as UploadedRelease;

beforeAll(async () => {
  group = await startServerProcesses(2, async ctx => {
    const fleet: Fleet = await seedFleet(ctx, 0, { blockBytes });
    unit = await makeMcuFolder(ctx, fleet, join(folder, 'mcu'));
    for (let minor = 2; minor < maxMessages + 20; minor += 1)
      releases.push(await publish(ctx, 'app', `1.${minor}.0`, 3, undefined, imageBytes));
  });
  [server, other] = group.first as [ServerProcess, ServerProcess];
  alice = people(server);
  bob = people(server, server.bob);
}, limitOfProcesses(3));
afterAll(async () => {
  await mcu?.stop();
  for (const http of [alice, bob]) http?.close();
  await group?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function startMcu(httpsPort: number): Promise<void> {
  await mcu?.stop('SIGKILL');
  const wires = ['--mqtt', `127.0.0.1:${server.mqttPort}`, '--mqtt-name', 'localhost', '--https', `https://localhost:${httpsPort}`];
  mcu = await start('mcu', ['mcu', 'run', '--data', join(folder, 'mcu'), ...wires, '--json'], process.env);
}
async function roll({ releaseId }: UploadedRelease, plan: object = {}): Promise<string> {
  const { rolloutId } = await alice.json<View>('POST', '/v1/rollouts', { releaseId, devices: [unit.uid], ...plan });
  await bob.json('POST', `/v1/rollouts/${rolloutId}/approve`, {});
  await alice.json('POST', `/v1/rollouts/${rolloutId}/start`, {});
  return rolloutId;
}
const view = (id: string): Promise<View> => alice.json<View>('GET', `/v1/rollouts/${id}`);
const said = (event: string): boolean => mcu.lines.some(line => line.event === event);
const upgradedTo = async (version: string): Promise<void> => {
  await expect.poll(async () => (await show(alice, unit.uid)).version, { timeout: limitOfProcesses(1) }).toBe(version);
};
type DeviceEvent = { type: string; data: { reason?: string; rolloutId?: string; offerId?: string } };
const eventsOf = async (): Promise<DeviceEvent[]> =>
  (await alice.json<{ events: DeviceEvent[] }>('GET', `/v1/devices/${unit.uid}/events`)).events;
/** What the server answers when the device asks for more of the image. */
const moreOf = async (id: string): Promise<unknown> => {
  const offer = (await eventsOf()).find(({ type, data }) => type === 'FirmwareOffered' && data.rolloutId === id);
  const cert = toPem('CERTIFICATE', unit.certificate) + toPem('CERTIFICATE', unit.ica);
  const tls = { ca: server.rootPem, cert, key: unit.key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string };
  const answer = await exchange(`${server.url}/v1/ota/${offer?.data.offerId}`, { ...tls, headers: { Range: 'bytes=0-9' } });
  return answer.status === 206 ? 'served' : answer.json.code;
};
const cancelledFor = async (): Promise<unknown> => (await eventsOf()).findLast(({ type }) => type === 'UpgradeCancelled')?.data.reason;

it('comes from any process, not only from the one that has the MQTT connection and with it the block key (R88, T33)', {
  timeout: limitOfProcesses(2),
}, async () => {
  covers('R88', 'T33');
  await startMcu(other.httpsPort);
  const release = nextRelease();
  const id = await roll(release);
  await expect.poll(async () => (await view(id)).status, { timeout: limitOfProcesses(1) }).toBe('COMPLETED');
  await upgradedTo(release.version);
  expect(said('unreachable')).toBe(false);
  expect(Number(mcu.lines.find(({ event }) => event === 'fetched')?.blocks)).toBeGreaterThanOrEqual(release.size / blockBytes);
});

it('breaks off there when the upgrade is stopped, too (I18, T33)', { timeout: limitOfProcesses(3) }, async () => {
  covers('I18', 'T33');
  const link = await heldLink(other.httpsPort);
  await startMcu(link.port);
  const held = link.hold(heldAfterBytes);
  const id = await roll(nextRelease());
  await held;
  await alice.json('POST', `/v1/rollouts/${id}/abort`, { reason: 'bad' });
  await eventually(async () => (await view(id)).counts.cancelled === 1);
  link.release();
  await eventually(() => said('cancelled'));
  expect([said('fetched'), said('installed')]).toEqual([false, false]);
  await link.close();
});

describe('an image that is fetched in ranges', () => {
  let link: LosingLink;
  beforeAll(async () => {
    link = await losingLink(server.httpsPort);
    await startMcu(link.port);
  }, limitOfProcesses(1));
  afterAll(() => link.close());

  it('arrives though any one message is lost, whether question or answer (R88, T33)', {
    timeout: limitOfProcesses(maxMessages),
  }, async () => {
    covers('R88', 'T33');
    let lost = 0;
    for (; lost < maxMessages; lost += 1) {
      const release = nextRelease();
      const hasCome = link.lose(lost);
      const id = await roll(release);
      await expect.poll(async () => (await view(id)).status, { timeout: limitOfProcesses(1) }).toBe('COMPLETED');
      await upgradedTo(release.version);
      if (!hasCome()) break;
    }
    // A handshake, and four questions with their answers.
    expect(lost).toBeGreaterThanOrEqual(10);
    expect(lost).toBeLessThan(maxMessages);
  });
});

describe('an upgrade that is stopped in the middle of a range', () => {
  const stop: Record<Deed, (id: string, release: UploadedRelease) => Promise<unknown>> = {
    abort: id => alice.json('POST', `/v1/rollouts/${id}/abort`, { reason: 'bad' }),
    deadline: async () => undefined,
    withdraw: (_, { releaseId }) => alice.json('POST', `/v1/releases/${releaseId}/withdraw`, { reason: 'bad' }),
    quarantine: () => alice.json('POST', `/v1/devices/${unit.uid}/quarantine`, { reason: 'odd noise' }),
  };
  const reasons: Record<Deed, string> = {
    abort: 'rollout-aborted',
    deadline: 'rollout-halted',
    withdraw: 'release-withdrawn',
    quarantine: 'quarantined',
  };
  const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1000).toISOString();

  /** Half of the image is there, and nothing more comes. */
  const halfway = async (link: HeldLink, release: UploadedRelease, plan: object = {}): Promise<string> => {
    await startMcu(link.port);
    const held = link.hold(heldAfterBytes);
    const id = await roll(release, plan);
    await held;
    await eventually(async () => (await show(alice, unit.uid)).status === 'UPGRADING');
    return id;
  };
  const takesTheNext = async (): Promise<void> => {
    const release = nextRelease();
    const id = await roll(release);
    await expect.poll(async () => (await view(id)).status, { timeout: limitOfProcesses(1) }).toBe('COMPLETED');
    await upgradedTo(release.version);
  };

  it.each(deeds.flatMap(deed => [true, false].map(flows => [deed, flows] as const)))(
    'by %s ends there, whether the rest flows again (%s) or never comes; the device takes part in the next one (I18, T33)',
    async (deed, flows) => {
      covers('I18', 'T33');
      const link = await heldLink(server.httpsPort);
      const { version: before } = await show(alice, unit.uid);
      const release = nextRelease();
      const id = await halfway(link, release, deed === 'deadline' ? { deadline: inSeconds(12) } : {});
      expect(await moreOf(id)).toBe('served');
      await stop[deed](id, release);
      await expect.poll(cancelledFor).toBe(reasons[deed]);
      await eventually(async () => (await view(id)).counts.cancelled === 1);
      expect(await moreOf(id)).toBe('STATE');
      if (flows) link.release();
      await eventually(() => said('cancelled'));
      expect(said('installed')).toBe(false);
      expect((await show(alice, unit.uid)).version).toBe(before);
      link.release();
      if (deed === 'quarantine') await alice.json('POST', `/v1/devices/${unit.uid}/release`, { reason: 'odd noise' });
      await takesTheNext();
      await link.close();
    },
    limitOfProcesses(4),
  );

  it('by the end of the device goes on when it is there again; what was aborted meanwhile it forgets', {
    timeout: limitOfProcesses(4),
  }, async () => {
    covers('T33');
    const link = await heldLink(server.httpsPort);
    const release = nextRelease();
    const id = await halfway(link, release);
    link.release();
    await startMcu(link.port);
    await expect.poll(async () => (await view(id)).status, { timeout: limitOfProcesses(1) }).toBe('COMPLETED');
    await upgradedTo(release.version);

    const aborted = await halfway(link, nextRelease());
    await mcu.stop('SIGKILL');
    await stop.abort(aborted, release);
    await eventually(async () => (await view(aborted)).counts.cancelled === 1);
    link.release();
    await startMcu(link.port);
    await takesTheNext();
    expect((await view(aborted)).counts).toEqual({ cancelled: 1 });
    await link.close();
  });
});
