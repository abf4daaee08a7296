import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { scalarOf, signDigest } from '../src/keystore/signDigest.ts';
import { attachTrailer, buildImage, deviceTrailer, encryptBody } from '../src/ota/build.ts';
import { wrapKey } from '../src/ota/ecies.ts';
import { reader } from '../src/services/base/context.ts';
import { livingDevice } from '../src/services/base/livingDevice.ts';
import { createOtaImages } from '../src/services/firmware/otaImage.ts';
import { planRollout } from '../src/services/firmware/rolloutPlan.ts';
import { openField } from '../test/services/field/fieldBench.ts';
import { interleave, type Report } from './parts/measure.ts';

/** Images for devices, on one core: 512 KiB from scratch beside a bare hash and signature, a shared body with a trailer for each device beside the same
 *  signature, and what the server does for one offer beside two signatures (trailer and job). Times are CPU times of the process, as they are in a
 *  server that has run for a while: everything has been compiled before. */

const payloadBytes = 512 * 1024;
const rounds = 9;
const perRound = 40;
/** Of what takes a tenth of a millisecond: less would be below the steps of the clock of the CPU. */
const manyPerRound = 400;
const devices = 40;
/** Until V8 has compiled it for good, in threads whose CPU time counts too. */
const warmUpRounds = 40;

const payload = new Uint8Array(randomBytes(payloadBytes));
const version = { major: 1, minor: 0, revision: 0, build: 0 };
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
const device = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const devicePoint = new Uint8Array(device.publicKey.export({ type: 'spki', format: 'der' })).slice(-65);
const digest = randomBytes(32);
const scalar = scalarOf(privateKey);

/** Rates of both, warm. */
async function beside(
  work: () => unknown,
  bound: () => unknown,
  count = perRound,
): Promise<{ readonly value: number; readonly bound: number }> {
  await perCpuSecond(warmUpRounds * count, work);
  await perCpuSecond(warmUpRounds * count, bound);
  return interleave(
    rounds,
    () => perCpuSecond(count, work),
    () => perCpuSecond(count, bound),
  );
}

/** Runs `work` so often, and gives how often a second of CPU would do it. */
async function perCpuSecond(count: number, work: () => unknown): Promise<number> {
  const before = process.cpuUsage();
  for (let i = 0; i < count; i += 1) await work();
  const { user, system } = process.cpuUsage(before);
  return count / ((user + system) / 1e6);
}

const signSmall = (): unknown => sign('sha256', digest, privateKey);
const hashAndSign = (): unknown => {
  createHash('sha256').update(payload).digest();
  return signSmall();
};

function fromScratch(): Uint8Array {
  const { body, imageHash } = buildImage({ payload, version, securityCounter: 1 });
  const signature = signDigest(scalar, imageHash);
  return attachTrailer(body, deviceTrailer({ imageHash, publicKey: spki, keyForm: 'whole', signature }));
}

export async function run(report: Report): Promise<void> {
  const shared = buildImage({ payload, version, securityCounter: 1, encryptionBits: 256 });
  const cek = new Uint8Array(randomBytes(32));
  encryptBody(shared, cek);
  const trailer = (): unknown => {
    const signature = signDigest(scalar, shared.imageHash);
    return deviceTrailer({ imageHash: shared.imageHash, publicKey: spki, keyForm: 'whole', signature });
  };
  const wrapped = (): unknown => wrapKey(cek, devicePoint, new Uint8Array(randomBytes(32)));

  const scratch = await beside(fromScratch, hashAndSign);
  report({ figure: '512 KiB image from scratch', unit: 'images/s', boundWhat: 'SHA-256 of it and one signature', ...scratch });
  const trailers = await beside(trailer, signSmall, manyPerRound);
  report({ figure: 'shared body, trailer of one device', unit: 'trailers/s', boundWhat: 'one signature', ...trailers });
  const keys = await beside(wrapped, signSmall, manyPerRound);
  report({ figure: 'content key for one device (ECIES-P256)', unit: 'keys/s', boundWhat: 'one signature', ...keys });
  await perOffer(report);
}

/** What the server does for one offer: the signed job with its trailer, for devices whose release it has in memory. */
async function perOffer(report: Report): Promise<void> {
  const bench = await openField(devices);
  try {
    const { ctx, fleet, alarms, field } = bench;
    const rolloutId = await planRollout(ctx, { releaseId: fleet.next.releaseId }, 'operator:rita');
    await field.rollouts.command(rolloutId, { type: 'ApproveRollout', by: 'operator:rolf' }, 'operator:rolf');
    await field.rollouts.command(rolloutId, { type: 'StartRollout', by: 'operator:rita' }, 'operator:rita');
    const states = async () => Promise.all(fleet.units.map(({ uid }) => livingDevice(ctx, uid)));
    while ((await states()).some(({ offer }) => offer === undefined)) await new Promise(resolve => setTimeout(resolve, 50));
    const offered = await states();
    const images = createOtaImages(ctx, alarms);
    let next = 0;
    const prepare = async (): Promise<unknown> => {
      const state = offered[next++ % offered.length];
      return state?.offer && images.prepare(reader(ctx), state, state.offer);
    };
    const twoSignatures = (): unknown => [signSmall(), signSmall()];
    const result = await beside(prepare, twoSignatures, manyPerRound);
    report({ figure: 'server: job and trailer of one offer', unit: 'offers/s', boundWhat: 'two signatures', ...result });
  } finally {
    await bench.close();
  }
}
