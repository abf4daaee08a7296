import { expect, it, onTestFinished } from 'vitest';
import type { LivingDevice } from '../../../src/domain/deviceState.ts';
import { NusecError } from '../../../src/errors.ts';
import type { Context } from '../../../src/services/base/context.ts';
import type { Attestation } from '../../../src/services/field/attestation.ts';
import type { Hello } from '../../../src/services/field/deviceHello.ts';
import { type CareParts, startDeliveryCare } from '../../../src/services/firmware/deliveryCare.ts';

/** What stands for a device after its hello, with devices that never answer. */

const hello: Hello = { version: '1.0.0', securityCounter: 1, imageHash: '00', imageState: 'confirmed', objId: '00' };
const devices = 1_500;
const mostAtOnce = 1_000;

it('looks no further after the hello of a device for which nothing is outstanding', async () => {
  const looks: string[] = [];
  const parts = {
    ctx: { followers: { follow: () => ({ close: () => undefined }) }, store: { seen: () => 0 }, log: { info: () => undefined } },
    channel: { isConnected: () => true },
    decommissions: { resume: async (uid: string) => looks.push(uid) > 0 },
  } as unknown as CareParts;
  const care = startDeliveryCare(parts);
  onTestFinished(() => void care.close());
  const settled = { uid: 'settled', decommissionOrderSha256: undefined, offer: undefined } as unknown as LivingDevice;
  await care.greet('settled', hello, false, settled);
  await care.greet('ordered', hello, false, { ...settled, decommissionOrderSha256: '00' } as LivingDevice);
  await care.greet('offered', hello, false, { ...settled, offer: {} } as LivingDevice);
  expect(looks).toEqual(['ordered', 'offered']);
});

it('asks a bounded number of silent devices for their proof at the same time, and all of them in the end', async () => {
  const asked = new Map<string, PromiseWithResolvers<never>>();
  const attest: Attestation['attest'] = uid => {
    const answer = Promise.withResolvers<never>();
    asked.set(uid, answer);
    return answer.promise;
  };
  const ctx = { followers: { follow: () => ({ close: () => undefined }) }, store: { seen: () => 0 }, log: { info: () => undefined } };
  const parts = {
    ctx: ctx as unknown as Context,
    channel: { isConnected: () => true },
    attestation: { attest } as Attestation,
    decommissions: { resume: async () => false },
  } as unknown as CareParts;
  const care = startDeliveryCare(parts, { firstPauseMs: 3_600_000, maxPauseMs: 3_600_000, silenceMs: 1, lookEveryMs: 10 });
  onTestFinished(() => void care.close());
  const greetings = Array.from({ length: devices }, (_, i) =>
    care.greet(`device-${i}`, hello, true).catch((error: NusecError) => error.code),
  );
  await expect.poll(() => asked.size).toBe(mostAtOnce);
  const giveUp = (): void => {
    for (const { reject } of asked.values()) reject(new NusecError('DEVICE_UNREACHABLE', 'silent'));
  };
  giveUp();
  await expect.poll(() => asked.size).toBe(devices);
  giveUp();
  expect(new Set(await Promise.all(greetings))).toEqual(new Set(['DEVICE_UNREACHABLE']));
});
