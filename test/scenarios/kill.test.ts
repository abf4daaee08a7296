import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { type Life, newLife, type Step, steps } from '../../scripts/demo/steps.ts';
import { createWorld, type EventRecord, type World } from '../../scripts/demo/world.ts';
import { NusecError } from '../../src/errors.ts';
import { verifyStore } from '../../src/eventstore/verify.ts';
import { covers } from '../support/covers.ts';
import { limitOfProcesses } from '../support/limits.ts';

/** The server is killed by SIGKILL at random moments of the demo and started again: no acknowledged event is lost, and the life of the devices
 *  goes on to its end. Whoever asks, asks again, as the documentation tells people and machines to. */
/** A device that was cut off several times in a row waits up to a minute before it connects again. */
const patienceMs = 90_000;
const pauseMs = 150;
/** What a person meets while the server is down or its devices are still coming back, and answers by asking again. */
const passing = new Set(['LINK_TIMEOUT', 'SERVER_UNREACHABLE', 'DEVICE_UNREACHABLE', 'STORE_CLOSED', 'PROJECTION_BEHIND']);

let life: Life;
let world: World;

const begin = async (processes: number): Promise<void> => {
  world = await createWorld({ patienceMs, processes });
  life = newLife({ ...world, alice: patient(world.alice), bob: patient(world.bob), nusec: patientCommand });
};
afterEach(() => world?.close());

async function again<T>(work: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof NusecError && passing.has(error.code)) || Date.now() > deadline) throw error;
      await sleep(pauseMs);
    }
  }
}

const patient = (client: HttpClient): HttpClient => ({
  ...client,
  json: (...call) => again(() => client.json(...call)),
  bytes: (...call) => again(() => client.bytes(...call)),
});

const patientCommand: World['nusec'] = async (...args) => {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const finished = await world.nusec(...args);
    if (finished.status === 0 || !passing.has(String(finished.error.error)) || Date.now() > deadline) return finished;
    await sleep(pauseMs);
  }
};

/** How long a step takes when nothing is killed, roughly: the moment of the kill falls into it. */
const usualMs = (step: Step): number => (/produced|prepared|identity|upgrade|refused|gateway/.test(step.name) ? 1_500 : 200);

const acknowledged = (): Promise<readonly EventRecord[]> => again(() => world.events());

/** Kills the server some time from now; everything that was readable before must be there after, unchanged. */
async function killOnce(delayMs: number): Promise<void> {
  await sleep(delayMs);
  const before = await acknowledged();
  await world.restartServer('SIGKILL', Math.floor(Math.random() * world.servers().length));
  const after = await acknowledged();
  expect(after.slice(0, before.length).map(({ hash }) => hash)).toEqual(before.map(({ hash }) => hash));
}

/** What a kill may take away from a step although nothing acknowledged is lost: the receipt of a wipe (that is what its time-out is for),
 *  and the connection that a revocation would have cut. */
const takenByTheKill = /without a receipt|no disconnect within/;

async function finish(step: Step): Promise<EventRecord | undefined> {
  try {
    return (await step.run(life)).event;
  } catch (error) {
    if (error instanceof Error && takenByTheKill.test(error.message)) return undefined;
    throw error;
  }
}

/** The revoked device has not been let in again since (T23). */
async function expectOutForGood(all: readonly EventRecord[]): Promise<void> {
  const [revoked] = life.units;
  const event = all.find(({ type, stream }) => type === 'CertificateRevoked' && stream === `device-${revoked?.uid}`);
  expect(event).toBeDefined();
  const connects = revoked?.mcu.lines.filter(line => line.event === 'connected') ?? [];
  await sleep(500);
  expect(revoked?.mcu.lines.filter(line => line.event === 'connected')).toEqual(connects);
}

const runs = [
  { processes: 1, kills: 20 },
  { processes: 3, kills: steps.length },
];

it.each(runs)(
  'loses no acknowledged event when one of $processes is killed at $kills random moments of the demo (T33)',
  async run => {
    covers('T33');
    const { processes, kills } = run;
    await begin(processes);
    const extra = Array.from({ length: kills - steps.length }, () => Math.floor(Math.random() * steps.length));
    const proofs: EventRecord[] = [];
    for (const [index, step] of steps.entries()) {
      const moments = [index, ...extra].filter(place => place === index).map(() => Math.round(Math.random() * usualMs(step)));
      console.log(`${step.name}: killed after ${moments.join(' and ')} ms`);
      const work = finish(step);
      work.catch(() => undefined);
      for (const moment of moments) await killOnce(moment);
      const proof = await work;
      if (proof !== undefined) proofs.push(proof);
    }
    const all = await acknowledged();
    for (const proof of proofs) expect(all[proof.position - 1]?.hash, `${proof.type} in ${proof.stream}`).toBe(proof.hash);
    expect(all.filter(event => event.type === 'UnitCommitted')).toHaveLength(2);
    expect(new Set(all.filter(event => event.type === 'DeviceCertified').map(event => event.stream)).size).toBe(2);
    expect(all.filter(event => event.type === 'DeviceCertified')).toHaveLength(2);
    expect(all.filter(event => event.type === 'FirmwareUpgraded')).toHaveLength(2);
    expect(all.filter(event => event.type === 'DeviceDecommissioned')).toHaveLength(1);
    await expectOutForGood(all);
    await Promise.all(world.servers().map(server => server.stop('SIGKILL')));
    expect(verifyStore(`${world.dir}/server/events.db`)).toMatchObject({ ok: true });
  },
  limitOfProcesses(40),
);
