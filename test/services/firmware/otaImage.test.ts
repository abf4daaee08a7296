import { expect, it, onTestFinished } from 'vitest';
import { toHex } from '../../../src/bytes.ts';
import { reader } from '../../../src/services/base/context.ts';
import { livingDevice } from '../../../src/services/base/livingDevice.ts';
import { createOtaImages } from '../../../src/services/firmware/otaImage.ts';
import { planRollout } from '../../../src/services/firmware/rolloutPlan.ts';
import { eventually } from '../../gateway/fieldKit.ts';
import { openField } from '../field/fieldBench.ts';

it('reads the firmware once for all devices that are offered it together: each copy of it would be memory (R90)', async () => {
  const { ctx, fleet, field, alarms, close } = await openField(5);
  onTestFinished(close);
  const { releaseId, bodySha256 } = fleet.next;
  const rolloutId = await planRollout(ctx, { releaseId }, 'operator:rita');
  await field.rollouts.command(rolloutId, { type: 'ApproveRollout', by: 'operator:rolf' }, 'operator:rolf');
  await field.rollouts.command(rolloutId, { type: 'StartRollout', by: 'operator:rita' }, 'operator:rita');
  const states = () => Promise.all(fleet.units.map(({ uid }) => livingDevice(ctx, uid)));
  await eventually(async () => (await states()).every(({ offer }) => offer !== undefined));
  const read: string[] = [];
  const get = (sha256: string) => {
    read.push(sha256);
    return ctx.blobs.get(sha256);
  };
  const images = createOtaImages({ ...ctx, blobs: { ...ctx.blobs, get } }, alarms);
  const prepare = async (): Promise<readonly string[]> => {
    const prepared = await Promise.all((await states()).map(state => state.offer && images.prepare(reader(ctx), state, state.offer)));
    return prepared.map(each => toHex(each?.job.uid ?? new Uint8Array()));
  };
  expect(await prepare()).toEqual(fleet.units.map(({ uid }) => uid));
  await prepare();
  expect(read).toEqual([bodySha256]);
});
