import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { expect, it, onTestFinished, vi } from 'vitest';
import { limitOfProcesses } from '../support/limits.ts';
import { type ServerProcess, startServerProcesses } from '../support/server.ts';
import { connectDevice, eventually, type FieldDevice, type Fleet, people, seedFleet, typesOf, type Unit } from './fieldKit.ts';

/** A server that is killed while its devices come back all together. */

const devices = 24;
const killedAfter = 6;

it(
  'kill -9 in a storm: every hello that was acknowledged is in the log, and every device comes back',
  async () => {
    const compiled = join(process.env.XDG_STATE_HOME as string, 'storm');
    vi.stubEnv('NODE_COMPILE_CACHE', compiled);
    onTestFinished(() => void vi.unstubAllEnvs());
    let fleet: Fleet | undefined;
    const group = await startServerProcesses(1, async ctx => {
      fleet = await seedFleet(ctx, devices);
    });
    onTestFinished(group.close);
    const units = fleet?.units ?? [];
    const open: FieldDevice[] = [];
    onTestFinished(async () => void (await Promise.all(open.map(device => device.close()))));
    const [first] = group.first;
    if (first === undefined) throw new Error('no server');
    const acknowledged = new Set<string>();
    const come = async (server: typeof first, unit: Unit): Promise<void> => {
      const device = await connectDevice(server, unit);
      open.push(device);
      await device.hello();
      acknowledged.add(unit.uid);
    };
    for (const unit of units) void come(first, unit).catch(() => undefined);
    await eventually(() => acknowledged.size >= killedAfter);
    await first.kill();
    // It starts again at once: what was compiled is kept although nobody ended it in order.
    expect(readdirSync(compiled, { recursive: true }).length).toBeGreaterThan(500);
    const before = [...acknowledged];

    const second = await group.startOne();
    const http = people(second);
    onTestFinished(() => http.close());
    for (const uid of before) expect(await typesOf(http, uid)).toContain('DevicePutInService');
    acknowledged.clear();
    await Promise.all(units.map(unit => come(second, unit)));
    expect(acknowledged.size).toBe(devices);
    expect(await ticketsOf(second)).toBe(1);
  },
  limitOfProcesses(4),
);

/** Session tickets that a handshake brings: a second one would cost each connection 16 KiB (src/cli/startOptions.ts). */
async function ticketsOf({ mqttPort, rootPem }: ServerProcess): Promise<number> {
  const socket = connect({ host: '127.0.0.1', port: mqttPort, servername: 'localhost', ca: rootPem });
  let tickets = 0;
  // All come together; then a word that is no MQTT ends the connection.
  socket.resume().on('session', () => {
    tickets += 1;
    setImmediate(() => socket.write('no MQTT'));
  });
  await once(socket, 'close');
  return tickets;
}
