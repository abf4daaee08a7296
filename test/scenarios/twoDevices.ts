import { vi } from 'vitest';
import { newLife, steps } from '../../scripts/demo/steps.ts';
import { createWorld } from '../../scripts/demo/world.ts';

export type WorldWish = {
  /** The port at which machines are told to reach the API, and what is told the real one before the first of them is there. */
  readonly api?: { readonly port: number; readonly open: (serverPort: number) => void };
};

/** A project with two devices that were produced and came into service, and whose programs do not run any more. */
export async function openWorldOfTwoDevices({ api }: WorldWish = {}) {
  const world = await createWorld({ patienceMs: 120_000, ...(api && { environment: { NUSEC_PUBLIC_HTTPS_PORT: String(api.port) } }) });
  try {
    api?.open(Number(new URL(world.url).port));
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
