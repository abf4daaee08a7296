import { generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto';
import type { Unit } from '../test/gateway/fieldKit.ts';
import { build } from '../test/gateway/fieldKit.ts';
import { type FieldBench, openField } from '../test/services/field/fieldBench.ts';
import { interleave, type Report } from './parts/measure.ts';

/** The attestation service on a real store, log of attestations and keystore, with devices in the same process: each is an SPDM responder behind the
 *  channel, so that its work counts too. Beside the signatures in it: two that the device makes, two that the server verifies.
 *  `NUSEC_BENCH_DEVICES=500` makes the crowd smaller. */

const crowd = Number(process.env.NUSEC_BENCH_DEVICES ?? 2000);
const known = 200;
const rounds = 7;
const warmUps = 10;
const buildsAtOnce = 16;
const silentShare = 0.1;
const goalWaitMs = 5000;
const signaturesInRound = 400;
/** As in the product: a silent device is asked three times. */
const channelTimes = { attemptMs: 5000, attempts: 3, gatewayAttemptMs: 20_000 };

export async function run(report: Report): Promise<void> {
  const bench = await openField(known, undefined, channelTimes);
  try {
    for (const unit of bench.fleet.units) bench.plugIn(unit);
    const units = bench.fleet.units;
    for (let round = 0; round < warmUps; round += 1) await attestAll(bench, units);
    const rate = await interleave(rounds, () => attestationsOf(bench, units), bareSignatures);
    report({ figure: 'attestations again, processor time', unit: '1/s CPU', ...rate, boundWhat: '2 signatures + 2 verifications' });
    await reconnect(report, bench);
  } finally {
    await bench.close();
  }
}

const attestAll = (bench: FieldBench, units: readonly Unit[]) =>
  Promise.all(
    units.map(async ({ uid }) => {
      const { result } = await bench.field.attestation.attest(uid);
      if (result !== 'passed') throw new Error(`${uid} ${result}`);
    }),
  );

const cpuSeconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

async function attestationsOf(bench: FieldBench, units: readonly Unit[]): Promise<number> {
  // What the devices were asked is of no use here, and would have to be collected.
  for (const { requests } of bench.devices.values()) requests.length = 0;
  const before = cpuSeconds();
  await attestAll(bench, units);
  return units.length / (cpuSeconds() - before);
}

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

/** How many attestations a second of processor time would be, if they were signatures and nothing else. */
function bareSignatures(): number {
  const message = randomBytes(132);
  const before = cpuSeconds();
  for (let i = 0; i < signaturesInRound; i += 1) {
    const signature = sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    if (!verify('sha256', message, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature)) throw new Error('no signature');
  }
  return signaturesInRound / 2 / (cpuSeconds() - before);
}

/** Everybody at once, as after a cut: how long the last one of those that answer waits while others do not. */
async function reconnect(report: Report, bench: FieldBench): Promise<void> {
  const units: Unit[] = [];
  const builder = async (): Promise<void> => {
    while (units.length < crowd) {
      const at = units.push(undefined as never) - 1;
      units[at] = await build(bench.ctx, bench.fleet.bl2, bench.fleet.app);
    }
  };
  await Promise.all(Array.from({ length: buildsAtOnce }, builder));
  const silent = new Set(units.filter((_, at) => at % Math.round(1 / silentShare) === 0).map(({ uid }) => uid));
  for (const unit of units) {
    const device = bench.plugIn(unit);
    if (silent.has(unit.uid)) device.loses = () => true;
  }
  const begin = performance.now();
  const waits: number[] = [];
  const ends = units.map(async ({ uid }) => {
    const { result } = await bench.field.attestation.attest(uid).catch(() => ({ result: 'silent' }));
    if (!silent.has(uid) && result !== 'passed') throw new Error(`${uid} ${result}`);
    if (!silent.has(uid)) waits.push(performance.now() - begin);
  });
  await Promise.all(ends);
  report({
    figure: `${crowd} devices, ${silentShare * 100} % silent: longest wait`,
    value: Math.max(...waits),
    unit: 'ms',
    bound: goalWaitMs,
    boundWhat: 'goal',
  });
}
