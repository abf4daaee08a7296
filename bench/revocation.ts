import { setTimeout as sleep } from 'node:timers/promises';
import { connectDevice, type Fleet, people, seedFleet, type Unit } from '../test/gateway/fieldKit.ts';
import { type ServerProcess, startServerProcesses } from '../test/support/server.ts';
import { measureBulkRevocation } from './parts/bulkRevocation.ts';
import { median, type Report } from './parts/measure.ts';

/** How soon a revocation ends a live MQTT connection, in the server process that gets the command and in another, compared with the answer to the command itself;
 *  and the revocation of a whole fleet. */

const rounds = 10;
const pollMs = 1;

export async function run(report: Report): Promise<void> {
  // One person revokes more than a few here.
  process.env.NUSEC_EFFECTS_PER_DAY = String(2 * rounds);
  await measureSingle(report);
  await measureBulkRevocation(report);
}

async function measureSingle(report: Report): Promise<void> {
  let fleet: Fleet | undefined;
  const group = await startServerProcesses(2, async ctx => {
    fleet = await seedFleet(ctx, 2 * rounds);
  });
  try {
    const [direct, other] = group.first as [ServerProcess, ServerProcess];
    const units = fleet?.units ?? [];
    for (const [name, home, own] of [
      ['the process that gets the command', direct, units.slice(0, rounds)],
      ['another process', other, units.slice(rounds)],
    ] as const) {
      const measured: { readonly answeredMs: number; readonly offMs: number }[] = [];
      for (const unit of own) measured.push(await revoke(direct, home, unit));
      report({
        figure: `revocation ends MQTT in ${name}`,
        value: median(measured.map(({ offMs }) => offMs)),
        unit: 'ms',
        bound: median(measured.map(({ answeredMs }) => answeredMs)),
        boundWhat: 'the command is answered',
      });
    }
  } finally {
    await group.close();
  }
}

/** Times from the command to its answer, and to the end of the connection. */
async function revoke(direct: ServerProcess, home: ServerProcess, unit: Unit) {
  const device = await connectDevice(home, unit);
  const http = people(direct);
  try {
    await http.json('GET', '/v1/devices?limit=1');
    const begin = performance.now();
    const answered = http.json('POST', `/v1/devices/${unit.uid}/revoke`, { reason: 'keyCompromise' }).then(() => performance.now() - begin);
    while (device.client.isConnected()) await sleep(pollMs);
    const offMs = performance.now() - begin;
    return { offMs, answeredMs: await answered };
  } finally {
    http.close();
    await device.close();
  }
}
