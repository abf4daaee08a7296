import { afterAll, beforeAll, expect, it } from 'vitest';
import { device, deviceStream } from '../../../src/domain/device.ts';
import type { EventStore } from '../../../src/eventstore/port.ts';
import { execute } from '../../../src/services/base/context.ts';
import { receiveHello } from '../../../src/services/field/deviceHello.ts';
import type { Unit } from '../../gateway/fieldKit.ts';
import { codeOf } from '../../pki/support.ts';
import { newUid } from '../parties.ts';
import { type FieldBench, openField } from './fieldBench.ts';

/** What a hello costs: thousands come together after a restart, and nearly all of them repeat what is known. What is new is judged as ever (T8, T12). */

let bench: FieldBench;
beforeAll(async () => {
  bench = await openField(2);
});
afterAll(() => bench.close());

/** The store of the bench, and how often what other processes have stored was looked for. */
function countedStore() {
  const counts = { looks: 0, commits: 0 };
  const store: EventStore = {
    ...bench.ctx.store,
    readStream(stream, from, asKnown) {
      if (!asKnown) counts.looks += 1;
      return bench.ctx.store.readStream(stream, from, asKnown);
    },
    append(...args) {
      counts.commits += 1;
      return bench.ctx.store.append(...args);
    },
  };
  return { counts, ctx: { ...bench.ctx, store } };
}

const helloOf = ({ firmware: { version, securityCounter, imageHash }, objId }: Unit) =>
  ({ version, securityCounter, imageHash, imageState: 'confirmed', objId }) as const;

it('a hello that repeats what is known looks at the log once and stores nothing', async () => {
  const unit = bench.fleet.units[0] as Unit;
  const { counts, ctx } = countedStore();
  const first = await receiveHello(ctx, bench.alarms, unit.uid, helloOf(unit), 'mqtt');
  expect([first.state.status, first.needsProof, counts.commits]).toEqual(['IN_SERVICE', true, 1]);
  Object.assign(counts, { looks: 0, commits: 0 });
  const again = await receiveHello(ctx, bench.alarms, unit.uid, helloOf(unit), 'mqtt');
  expect([again.state.status, counts]).toEqual(['IN_SERVICE', { looks: 1, commits: 0 }]);
});

it('a unit whose application starts before production has committed it is refused, and is no alarm', async () => {
  const { ctx, alarms } = bench;
  const uid = newUid();
  const unit = { uid, objId: newUid(), line: 'meter', jobId: newUid(), programmer: newUid(), grantId: newUid() };
  await execute(ctx, device, deviceStream(uid), { type: 'MintDevice', ...unit }, 'programmer:cc');
  const hello = { ...helloOf(bench.fleet.units[0] as Unit), objId: unit.objId };
  expect(await codeOf(() => receiveHello(ctx, alarms, uid, hello, 'mqtt'))).toBe('DEVICE_STATE');
  expect(await bench.codesOfAlarms()).not.toContain('OUT_OF_USE_SEEN');
});

it('what a hello says is judged one after the other: a lower version and another registration are two suspicions', async () => {
  const unit = bench.fleet.units[1] as Unit;
  const { counts, ctx } = countedStore();
  const lie = { ...helloOf(unit), version: '0.9.0', objId: 'ee'.repeat(16) };
  const { state } = await receiveHello(ctx, bench.alarms, unit.uid, lie, 'mqtt');
  expect([state.status, state.suspicions]).toEqual(['QUARANTINED', ['firmware-below-registry', 'other-registration']]);
  Object.assign(counts, { looks: 0, commits: 0 });
  expect((await receiveHello(ctx, bench.alarms, unit.uid, lie, 'mqtt')).state).toBe(state);
  expect(counts).toEqual({ looks: 1, commits: 0 });
});
