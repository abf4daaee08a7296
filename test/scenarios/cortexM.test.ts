import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cortexSteps } from '../../scripts/demo/cortexM.ts';
import { type Life, newLife } from '../../scripts/demo/steps.ts';
import { createWorld } from '../../scripts/demo/world.ts';
import { skippedBecause } from '../firmware/cortexBoard.ts';
import { covers } from '../support/covers.ts';

/** `npm run demo -- --target qemu` as assertions: server, programmer and tool as processes, OpenOCD, and the DevAuth code in C on a Cortex-M33 in QEMU. */

describe.skipIf(skippedBecause !== undefined)('a Cortex-M33 in production', () => {
  let life: Life;
  let uid = '';
  beforeAll(async () => {
    life = newLife(await createWorld());
  });
  afterAll(() => life?.world.close());

  for (const step of cortexSteps) {
    it(step.name, async () => {
      const { event } = await step.run(life);
      uid = event.stream.replace('device-', '');
      expect(event.position).toBeGreaterThan(0);
    });
  }

  it('got its identity in the order of a unit, and is held where it would open a session (R73, R74, R79)', async () => {
    covers('R73', 'R74', 'R79');
    const events = await life.world.events();
    const types = events.filter(({ stream }) => stream === `device-${uid}`).map(({ type }) => type);
    const order = ['DeviceMinted', 'DeviceCertified', 'CertificateInstalled', 'BootKeyAssigned', 'BootloaderInstalled', 'BootKeyAssigned'];
    expect(types.filter(type => order.includes(type))).toEqual(order);
    expect(types).not.toContain('ProvisioningCompleted');
    expect(events.map(({ type }) => type)).toContain('UnitReserved');
    expect(events.map(({ type }) => type)).not.toContain('UnitVoided');
  });
});
