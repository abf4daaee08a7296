import { sha256 } from '../../src/digest.ts';
import type { Running } from './processes.ts';
import type { EventRecord, World } from './world.ts';

/** The life of devices, step by step: manufacture, deployment, maintenance, decommission (R99). Each step says which event proves it. */

export type Unit = { readonly uid: string; readonly mcu: Running };

/** What earlier steps leave for later ones. */
export type Life = {
  readonly world: World;
  readonly programmerUid: string;
  programmer?: Running;
  gateway?: Running;
  line: string;
  releases: Record<string, string>;
  jobId: string;
  packageFile: string;
  units: Unit[];
};

export type Proof = { readonly event: EventRecord; readonly note?: string };
export type Step = {
  readonly stage: 'manufacture' | 'deployment' | 'maintenance' | 'decommission';
  readonly name: string;
  run(life: Life): Promise<Proof>;
};

const unitUids = ['a1', 'a2', 'a3'].map(tag => `4e7553454300000000000000${tag}`.padEnd(32, '0'));
const gatewayId = 'gateway-1';
const applicationBytes = 96 * 1024;
/** A device that was cut off waits up to a minute before it connects again. */
const renewalPatienceMs = 90_000;

export const newLife = (world: World): Life => ({
  world,
  programmerUid: '4e7553454300000000000000b0000000',
  line: 'thermostat',
  releases: {},
  jobId: '',
  packageFile: '',
  units: [],
});

/** Firmware that differs by version and does not compress to nothing. */
function payload(name: string, bytes: number): Uint8Array {
  const blocks = Math.ceil(bytes / 32);
  return new Uint8Array(Buffer.concat(Array.from({ length: blocks }, (_, i) => sha256(`${name} ${i}`))).subarray(0, bytes));
}

const serial = (unit: Running) => `127.0.0.1:${unit.ready.serialPort}`;
const debug = (unit: Running) => `127.0.0.1:${unit.ready.debugPort}`;
const unit = (life: Life, index: number): Unit => {
  const found = life.units[index];
  if (found === undefined) throw new Error(`there is no unit ${index}`);
  return found;
};
const of = (type: string, stream: string) => (event: EventRecord) => event.type === type && event.stream === stream;

/** Runs a command and expects it to hold. */
async function must(life: Life, ...args: readonly string[]) {
  const finished = await life.world.nusec(...args);
  if (finished.status !== 0) throw new Error(`nusec ${args.slice(0, 2).join(' ')}: ${JSON.stringify(finished.error)}`);
  return finished;
}

/** Uploads by alice, approves by bob, publishes. */
async function publish(
  life: Life,
  name: string,
  image: 'bl2' | 'app',
  version: string,
  counter: number,
  bytes: number,
): Promise<EventRecord> {
  const { alice, bob } = life.world;
  const query = new URLSearchParams({ line: life.line, image, version, counter: String(counter) });
  const uploaded = await alice.bytes('POST', `/v1/releases?${query}`, payload(`${name} ${version}`, bytes));
  const { releaseId } = JSON.parse(new TextDecoder().decode(uploaded)) as { releaseId: string };
  await bob.json('POST', `/v1/releases/${releaseId}/approve`, {});
  await alice.json('POST', `/v1/releases/${releaseId}/publish`, {});
  life.releases[name] = releaseId;
  return life.world.event(of('ReleasePublished', `release-${releaseId}`), `${name} published`);
}

async function rollOut(life: Life, releaseId: string, aims: object): Promise<string> {
  const { alice, bob } = life.world;
  const { rolloutId } = await alice.json<{ rolloutId: string }>('POST', '/v1/rollouts', { releaseId, ...aims });
  await bob.json('POST', `/v1/rollouts/${rolloutId}/approve`, {});
  await alice.json('POST', `/v1/rollouts/${rolloutId}/start`, {});
  return rolloutId;
}

async function produce(life: Life, index: number) {
  const uid = unitUids[index] ?? '';
  const mcu = await life.world.start(
    `mcu ${index + 1}`,
    'mcu',
    'run',
    '--data',
    `${life.world.dir}/mcu${index + 1}`,
    '--uid',
    uid,
    '--mqtt',
    life.world.mqtt,
    '--json',
  );
  life.units.push({ uid, mcu });
  const { programmer } = life;
  if (programmer === undefined) throw new Error('there is no programmer');
  return life.world.nusec('produce', '--programmer', serial(programmer), '--target-serial', serial(mcu), '--target-debug', debug(mcu));
}

async function produceOne(life: Life, index: number): Promise<Proof> {
  const made = await produce(life, index);
  if (made.status !== 0) throw new Error(`produce: ${JSON.stringify(made.error)}`);
  const { uid } = unit(life, index);
  const event = await life.world.event(of('ProvisioningCompleted', `device-${uid}`), `unit ${index + 1} provisioned`);
  return { event, note: uid };
}

/** Until a package is in the programmer. */
export const preparation: readonly Step[] = [
  {
    stage: 'manufacture',
    name: 'a product line gets its issuing CA',
    async run(life) {
      await life.world.alice.json('POST', '/v1/lines', { line: life.line });
      return { event: await life.world.event(of('LineDefined', `line-${life.line}`), 'line defined') };
    },
  },
  {
    stage: 'manufacture',
    name: 'bootloader and application are uploaded, approved by a second person and published',
    async run(life) {
      await publish(life, 'bl2', 'bl2', '1.0.0', 1, 24 * 1024);
      const event = await publish(life, 'app', 'app', '1.0.0', 2, applicationBytes);
      return { event };
    },
  },
  {
    stage: 'manufacture',
    name: 'a blank programmer is given its identity, firmware and lock, agrees on its key and ships',
    async run(life) {
      life.programmer = await life.world.start(
        'programmer',
        'programmer',
        'run',
        '--data',
        `${life.world.dir}/programmer`,
        '--uid',
        life.programmerUid,
        '--json',
      );
      await must(
        life,
        'programmer',
        'prepare',
        '--uid',
        life.programmerUid,
        '--serial',
        serial(life.programmer),
        '--debug',
        debug(life.programmer),
        '--to',
        'Example CM',
      );
      return { event: await life.world.event(of('ProgrammerShipped', `programmer-${life.programmerUid}`), 'programmer shipped') };
    },
  },
  {
    stage: 'manufacture',
    name: 'a job for two units is released by a second person and exported as an encrypted package',
    async run(life) {
      const { alice, bob } = life.world;
      const { jobId } = await alice.json<{ jobId: string }>('POST', '/v1/jobs', { line: life.line, plannedCount: 2 });
      life.jobId = jobId;
      for (const name of ['bl2', 'app']) await alice.json('POST', `/v1/jobs/${jobId}/firmware`, { releaseId: life.releases[name] });
      await bob.json('POST', `/v1/jobs/${jobId}/release`, {});
      await alice.json('POST', `/v1/jobs/${jobId}/allotments`, { programmer: life.programmerUid, count: 2 });
      const bytes = await alice.bytes(
        'POST',
        `/v1/jobs/${jobId}/allotments/${life.programmerUid}/export`,
        new TextEncoder().encode('{}'),
        'application/json',
      );
      life.packageFile = life.world.file('thermostat.njp', bytes);
      const event = await life.world.event(of('PackageExported', `allotment-${jobId}-${life.programmerUid}`), 'package exported');
      return { event, note: `${bytes.length} bytes` };
    },
  },
  {
    stage: 'manufacture',
    name: 'the manufacturer imports the package into the programmer',
    async run(life) {
      if (life.programmer === undefined) throw new Error('there is no programmer');
      await must(life, 'package', 'import', life.packageFile, '--programmer', serial(life.programmer));
      return { event: await life.world.event(of('PackageImported', `allotment-${life.jobId}-${life.programmerUid}`), 'package imported') };
    },
  },
];

export const steps: readonly Step[] = [
  ...preparation,
  { stage: 'manufacture', name: 'the first MCU is produced', run: life => produceOne(life, 0) },
  { stage: 'manufacture', name: 'the second MCU is produced', run: life => produceOne(life, 1) },
  {
    stage: 'manufacture',
    name: 'the third MCU is refused: the count is used up',
    async run(life) {
      const refused = await produce(life, 2);
      if (refused.status === 0) throw new Error('a third unit was produced from a package for two');
      if (refused.error.error !== 'COUNT_EXHAUSTED') throw new Error(`refused for another reason: ${JSON.stringify(refused.error)}`);
      const event = await life.world.event(of('AllotmentExhausted', `allotment-${life.jobId}-${life.programmerUid}`), 'count used up');
      return { event, note: 'COUNT_EXHAUSTED' };
    },
  },
  {
    stage: 'deployment',
    name: 'both devices connect by MQTT over TLS and are in service',
    async run(life) {
      const events = await Promise.all(
        [0, 1].map(index => life.world.event(of('DevicePutInService', `device-${unit(life, index).uid}`), 'in service')),
      );
      return { event: events[1] as EventRecord };
    },
  },
  {
    stage: 'deployment',
    name: 'both get an operational certificate over MQTT, for keys of their own, and go on with it',
    async run(life) {
      const renewed = await Promise.all(
        [0, 1].map(index => unit(life, index).mcu.until(line => line.event === 'renewed', 'operational certificate', renewalPatienceMs)),
      );
      const event = await life.world.event(of('OperationalCertificateIssued', `device-${unit(life, 1).uid}`), 'LDevID issued');
      return { event, note: `LDevID ${String(renewed[1]?.serial).slice(0, 16)}` };
    },
  },
  {
    stage: 'deployment',
    name: 'a gateway attests the first device over the serial link; the cloud verifies the evidence',
    async run(life) {
      const { uid, mcu } = unit(life, 0);
      await must(life, 'gateway', 'register', '--id', gatewayId);
      await must(life, 'gateway', 'attach', '--id', gatewayId, '--device', uid);
      life.gateway = await life.world.start(
        'gateway',
        'gateway',
        'run',
        '--data',
        `${life.world.dir}/gateway`,
        '--id',
        gatewayId,
        '--mqtt',
        life.world.mqtt,
        '--device',
        `${uid}=${serial(mcu)}`,
        '--json',
      );
      const result = await life.world.alice.json<{ result: string; via: string; evidenceSha256: string }>(
        'POST',
        `/v1/devices/${uid}/attest`,
        { via: 'gateway' },
      );
      if (result.result !== 'passed' || !result.via.startsWith('gateway')) throw new Error(`attestation: ${JSON.stringify(result)}`);
      return {
        event: await life.world.event(of('AttestationPassed', `device-${uid}`), 'attested'),
        note: `evidence ${result.evidenceSha256.slice(0, 16)} via ${result.via}`,
      };
    },
  },
  {
    stage: 'deployment',
    name: 'the cloud attests the second device over MQTT',
    async run(life) {
      const { uid } = unit(life, 1);
      const result = await life.world.alice.json<{ result: string; via: string; evidenceSha256: string }>(
        'POST',
        `/v1/devices/${uid}/attest`,
        {},
      );
      if (result.result !== 'passed' || result.via !== 'mqtt') throw new Error(`attestation: ${JSON.stringify(result)}`);
      return {
        event: await life.world.event(of('AttestationPassed', `device-${uid}`), 'attested'),
        note: `evidence ${result.evidenceSha256.slice(0, 16)} via mqtt`,
      };
    },
  },
  {
    stage: 'maintenance',
    name: 'another product line gets its issuing CA; both devices follow the trust bundle',
    async run(life) {
      const { alice } = life.world;
      await alice.json('POST', '/v1/lines', { line: 'radiator' });
      const { trustBundle } = await alice.json<{ trustBundle: { version: number } }>('GET', '/v1/authority');
      const isNew = (index: number) => (event: EventRecord) =>
        of('TrustBundleFollowed', `device-${unit(life, index).uid}`)(event) && Number(event.data.version) >= trustBundle.version;
      const followed = await Promise.all([0, 1].map(index => life.world.event(isNew(index), 'trust bundle followed')));
      return { event: followed[1] as EventRecord, note: `version ${trustBundle.version}` };
    },
  },
  {
    stage: 'maintenance',
    name: 'an upgrade is installed on both and confirmed by attestation',
    async run(life) {
      await publish(life, 'app2', 'app', '2.0.0', 3, applicationBytes);
      const uids = [0, 1].map(index => unit(life, index).uid);
      await rollOut(life, life.releases.app2 ?? '', { devices: uids });
      const upgraded = await Promise.all(uids.map(uid => life.world.event(of('FirmwareUpgraded', `device-${uid}`), `${uid} upgraded`)));
      return { event: upgraded[1] as EventRecord, note: `2.0.0 on ${upgraded.length} devices` };
    },
  },
  {
    stage: 'maintenance',
    name: 'an older image is refused',
    async run(life) {
      const { uid } = unit(life, 1);
      await publish(life, 'old', 'app', '1.5.0', 1, applicationBytes);
      // A plan that names the device is refused already; one for whatever runs a version is judged device by device.
      await rollOut(life, life.releases.old ?? '', { selector: { versions: ['2.0.0'] } });
      const event = await life.world.event(of('RollbackRefused', `device-${uid}`), 'rollback refused');
      return { event, note: `security counter ${event.data.securityCounter} refused by the ${event.data.hop}` };
    },
  },
  {
    stage: 'decommission',
    name: 'the first device is revoked while it is connected, drops and stays out',
    async run(life) {
      const { uid, mcu } = unit(life, 0);
      const before = mcu.lines.length;
      const began = performance.now();
      await life.world.alice.json('POST', `/v1/devices/${uid}/revoke`, { reason: 'keyCompromise' });
      const isDrop = (line: Readonly<Record<string, unknown>>) => line.event === 'disconnected' && mcu.lines.indexOf(line) >= before;
      await mcu.until(isDrop, 'disconnect', 5000);
      const ms = Math.round(performance.now() - began);
      return { event: await life.world.event(of('CertificateRevoked', `device-${uid}`), 'revoked'), note: `off after ${ms} ms` };
    },
  },
  {
    stage: 'decommission',
    name: 'the second device is wiped by a signed order and decommissioned',
    async run(life) {
      const { uid } = unit(life, 1);
      await life.world.alice.json('POST', `/v1/devices/${uid}/decommission`, { reason: 'end of life' });
      const event = await life.world.event(of('DeviceDecommissioned', `device-${uid}`), 'decommissioned');
      if (event.data.wipeReceiptSha256 === undefined) throw new Error('decommissioned without a receipt of the device');
      return { event, note: `wipe receipt ${String(event.data.wipeReceiptSha256).slice(0, 16)}` };
    },
  },
];
