import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renewDevice } from '../../../gateway-device/programmer/repair.ts';
import { toHex } from '../../../src/bytes.ts';
import { device, deviceStream } from '../../../src/domain/device.ts';
import { stateOf } from '../../../src/services/base/context.ts';
import { requestCode } from '../../../src/spdm/constants.ts';
import { covers } from '../../support/covers.ts';
import { failing } from '../../support/faults.ts';
import { busyOnce, interpose } from '../link/interposer.ts';
import { endLine, startLineWithJob } from './line.ts';
import type { OemServer } from './oemServer.ts';
import { produce, startTarget, type TestProgrammer, type TestTarget } from './programmerFixture.ts';

/** A device on the wires of a workshop returns to service, and the answer of the server to its proof is lost. */

let server: OemServer;
let programmer: TestProgrammer;

beforeAll(async () => {
  ({ server, programmer } = await startLineWithJob({ count: 5 }));
});
afterAll(() => endLine({ server, programmer }));

/** A device whose return to service is ordered. */
async function inRepair(): Promise<TestTarget> {
  const target = await startTarget();
  expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
  const path = `/v1/devices/${toHex(target.uid)}/repair`;
  await server.plant.ask('olga', 'POST', path, { reason: 'dead display', programmer: programmer.uid });
  await server.plant.ask('olga', 'POST', `${path}/return`, {});
  return target;
}
const renew = ({ addresses }: TestTarget): Promise<string> => renewDevice(programmer.core, addresses.serial, () => undefined);
const stateAtServer = ({ uid }: TestTarget) => stateOf(server.ctx, device, deviceStream(toHex(uid)));

it('waits for a device that is busy when its session is set up', async () => {
  const target = await inRepair();
  const left = new Set<number>([requestCode.keyExchange]);
  const wire = await interpose(target.addresses.serial, busyOnce(left));
  expect(await renewDevice(programmer.core, wire.address, () => undefined)).toBe(toHex(target.uid));
  expect(left.size).toBe(0);
  expect(await stateAtServer(target)).toMatchObject({ status: 'IN_SERVICE', generation: 2 });
  await wire.close();
  await target.stop();
});

describe('after the answer to the proof was lost', () => {
  it('once, the same proof is delivered again: the device is in service and runs', async () => {
    covers('T33');
    const target = await inRepair();
    server.proxy.fail(failing('returned', 'unanswered', 1));
    expect(await renew(target)).toBe(toHex(target.uid));
    server.proxy.heal();
    expect(await stateAtServer(target)).toMatchObject({ status: 'IN_SERVICE', generation: 2 });
    expect(target.board.stage()).toBe('app');
    await target.stop();
  });

  it('again and again, the device does not stay in its bootloader', async () => {
    covers('T33');
    const target = await inRepair();
    server.proxy.fail(failing('returned', 'unanswered'));
    await expect(renew(target)).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE' });
    server.proxy.heal();
    expect(await stateAtServer(target)).toMatchObject({ status: 'IN_SERVICE', generation: 2 });
    expect(target.board.stage()).toBe('app');
    await expect(renew(target)).rejects.toMatchObject({ code: 'DEVICE_STATE' });
    expect(target.board.stage()).toBe('app');
    await target.stop();
  });

  it('before it reached the server, the step is taken again: the device has taken over its next generation', async () => {
    covers('T33');
    const target = await inRepair();
    server.proxy.fail(failing('returned', 'lost'));
    await expect(renew(target)).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE' });
    server.proxy.heal();
    expect(await stateAtServer(target)).toMatchObject({ status: 'RMA' });
    expect(await renew(target)).toBe(toHex(target.uid));
    expect(await stateAtServer(target)).toMatchObject({ status: 'IN_SERVICE', generation: 2 });
    expect(target.board.stage()).toBe('app');
    await target.stop();
  });
});
