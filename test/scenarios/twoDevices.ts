import { vi } from 'vitest';
import { newLife, steps } from '../../scripts/demo/steps.ts';
import { createWorld } from '../../scripts/demo/world.ts';

/** A project with two devices that were produced and came into service, and whose programs do not run any more. */
export async function openWorldOfTwoDevices() {
  const world = await createWorld({ patienceMs: 120_000 });
  try {
    const life = newLife(world);
    const last = steps.findIndex(({ name }) => name === 'the second MCU is produced');
    for (const step of steps.slice(0, last + 1)) await step.run(life);
    for (const { uid, mcu } of life.units) {
      // Stopped before, a device would become one of the field at some moment later.
      const statusOf = async () => (await world.alice.json<{ status: string }>('GET', `/v1/devices/${uid}`)).status;
      await vi.waitUntil(async () => (await statusOf()) === 'IN_SERVICE', { timeout: 30_000, interval: 50 });
      await mcu.stop();
    }
    return { world, life };
  } catch (error) {
    await world.close();
    throw error;
  }
}
