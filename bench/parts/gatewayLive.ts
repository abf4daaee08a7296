import { maxBlocksPerRequest } from '../../src/ota/blockPlan.ts';
import { blockCount, type OtaJob, verifyJob } from '../../src/ota/otaJob.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { signingKeysOf, verifyTrustBundle } from '../../src/production/trustBundle.ts';
import { people, type Unit } from '../../test/gateway/fieldKit.ts';
import type { ServerProcess } from '../../test/support/server.ts';
import { connectLean, type LeanDevice } from './leanDevice.ts';

/** Devices that work beside many that are only connected: some prove their state again and again, the others fetch firmware. */

export type Workers = {
  /** Lets all of them work for so long. @returns how much was done in a second */
  work(ms: number): Promise<{ readonly attestations: number; readonly blocks: number }>;
  close(): void;
};

type Worker = { readonly device: LeanDevice; readonly job: OtaJob };

/** @param release which the units are offered; every other one fetches it @throws when a device cannot do its work */
export async function bringWorkers(server: ServerProcess, units: readonly Unit[], releaseId: string): Promise<Workers> {
  const [alice, bob] = [people(server), people(server, server.bob)];
  const fetching = units.filter((_, i) => i % 2 === 0);
  const attested = units.filter((_, i) => i % 2 === 1);
  const quiet: LeanDevice[] = [];
  for (const unit of attested) quiet.push(await connectLean(server, unit));
  const devices: LeanDevice[] = [];
  for (const unit of fetching) devices.push(await connectLean(server, unit));
  const wish = { releaseId, devices: fetching.map(({ uid }) => uid) };
  const { rolloutId } = await alice.json<{ rolloutId: string }>('POST', '/v1/rollouts', wish);
  await bob.json('POST', `/v1/rollouts/${rolloutId}/approve`, {});
  await alice.json('POST', `/v1/rollouts/${rolloutId}/start`, {});
  const bundle = await verifyTrustBundle(await alice.bytes('GET', '/v1/trust-bundle'), parseCertificate((units[0] as Unit).root).spki);
  const jobOf = async (device: LeanDevice): Promise<Worker> => ({
    device,
    job: (await verifyJob(await device.job, signingKeysOf(bundle, 'otaJob'))).job,
  });
  const workers = await Promise.all(devices.map(jobOf));
  return {
    async work(ms) {
      const done = { attestations: 0, blocks: 0 };
      const endMs = performance.now() + ms;
      const attest = async ({ uid }: Unit): Promise<void> => {
        while (performance.now() < endMs) {
          const { result } = await alice.json<{ result: string }>('POST', `/v1/devices/${uid}/attest`, {});
          if (result !== 'passed') throw new Error(`${uid}: attestation ${result}`);
          done.attestations += 1;
        }
      };
      const fetch = async ({ device, job }: Worker): Promise<void> => {
        // The last block may be a short one, which a lean device does not count.
        const whole = blockCount(job) - 1;
        for (let first = 0; performance.now() < endMs; first = first + maxBlocksPerRequest < whole ? first + maxBlocksPerRequest : 0) {
          const count = Math.min(maxBlocksPerRequest, whole - first);
          await device.blocks(job, first, count);
          done.blocks += count;
        }
      };
      await Promise.all([...attested.map(attest), ...workers.map(fetch)]);
      return { attestations: (done.attestations * 1000) / ms, blocks: (done.blocks * 1000) / ms };
    },
    close() {
      for (const device of [...quiet, ...devices]) device.close();
      for (const http of [alice, bob]) http.close();
    },
  };
}
