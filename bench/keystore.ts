import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { openPkcs11Keystore } from '../src/keystore/pkcs11.ts';
import type { Keystore } from '../src/keystore/port.ts';
import { openSoftwareKeystore } from '../src/keystore/software.ts';
import { inTemporaryFolder, interleave, perSecond, type Report, type Unit } from './parts/measure.ts';
import { makeSoftHsm, softHsmMissing } from './parts/softHsm.ts';

/** Signing in a SoftHSM token beside the software keystore, both behind the port, with as many parallel callers as a busy server has. */

const rounds = 5;
const signatures = 4000;
const callers = 16;

export async function run(report: Report): Promise<void> {
  await inTemporaryFolder(async folder => {
    const [token, software] = await Promise.all([openToken(folder), openSoftware(folder)]);
    try {
      for (const keystore of [token, software]) await makeKeys(keystore);
      await figures(report, token, software);
    } finally {
      await Promise.all([token.close(), software.close()]);
    }
  });
}

async function figures(report: Report, token: Keystore, software: Keystore): Promise<void> {
  const message = new Uint8Array(800);
  const rate =
    (keystore: Keystore, work: (keystore: Keystore) => Promise<unknown>, count = signatures, atOnce = callers) =>
    async (): Promise<number> => {
      const startMs = performance.now();
      let left = count;
      const caller = async (): Promise<void> => {
        while (left-- > 0) await work(keystore);
      };
      await Promise.all(Array.from({ length: atOnce }, caller));
      return perSecond(count, startMs);
    };
  const compare = async (figure: string, unit: Unit, work: (keystore: Keystore) => Promise<unknown>, count?: number, atOnce?: number) => {
    const measured = await interleave(rounds, rate(token, work, count, atOnce), rate(software, work, count, atOnce));
    report({ figure, unit, boundWhat: 'software keystore', ...measured });
  };

  const wrapped = new Map<Keystore, Uint8Array>();
  for (const keystore of [token, software]) wrapped.set(keystore, (await keystore.generateWrapped('kek/boot/1', 'boot/a')).wrapped);
  await compare('ICA signs in SoftHSM', '1/s', keystore => keystore.sign('ica/1', message));
  await compare('ICA signs in SoftHSM, one caller', '1/s', keystore => keystore.sign('ica/1', message), 1000, 1);
  await compare('boot key unwraps and signs in SoftHSM', '1/s', keystore =>
    keystore.signWrapped('kek/boot/1', 'boot/a', wrapped.get(keystore) as Uint8Array, message),
  );
  await compare('boot key made and wrapped in SoftHSM', '1/s', keystore => keystore.generateWrapped('kek/boot/1', 'boot/b'), 500);
  await report({ figure: 'longest pause of the event loop', unit: 'ms', boundWhat: 'one tick', ...(await longestPause(token, message)) });
}

/** The token works in a process of its own, so the server continues meanwhile. */
async function longestPause(token: Keystore, message: Uint8Array): Promise<{ value: number; bound: number }> {
  let [longest, last, running] = [0, performance.now(), true];
  const watch = (): void => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
    if (running) setImmediate(watch);
  };
  watch();
  for (let round = 0; round < signatures / callers; round += 1)
    await Promise.all(Array.from({ length: callers }, () => token.sign('ica/1', message)));
  running = false;
  return { value: longest, bound: 1 };
}

async function makeKeys(keystore: Keystore): Promise<void> {
  await keystore.generate('ica/1', 'P-256');
  await keystore.generate('kek/boot/1', 'AES-256');
}

function openSoftware(folder: string): Promise<Keystore> {
  return openSoftwareKeystore({ file: join(folder, 'keyset'), unlock: { keyFile: join(folder, 'key') }, create: true });
}

function openToken(folder: string): Promise<Keystore> {
  const token = makeSoftHsm(folder);
  if (token === undefined) throw new Error(softHsmMissing);
  return openPkcs11Keystore({ ...token, lock: join(folder, 'token') });
}
