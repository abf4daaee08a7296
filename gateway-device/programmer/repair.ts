import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { concat, equalBytes, fromHex, toHex } from '../../src/bytes.ts';
import { rawToDer } from '../../src/ecdsa.ts';
import { isUnreachable, NusecError } from '../../src/errors.ts';
import { checkChain } from '../../src/pki/chain.ts';
import { assembleCsr, buildCertificationRequestInfo } from '../../src/pki/csr.ts';
import { DevAuthError } from '../../src/production/devauth/error.ts';
import type { DevAuthHost } from '../../src/production/devauth/host.ts';
import { pieceBytesFor, putObject } from '../../src/production/devauth/transfer.ts';
import { returnReceiptNonce, returnSessionNonce } from '../../src/production/returnProof.ts';
import { type Evidence, encodeEvidence } from '../../src/spdm/evidence.ts';
import { patience } from '../../src/spdm/requester/patience.ts';
import { runSessionSetup } from '../../src/spdm/requester/run.ts';
import { authKeySlot } from '../chip/keyStore.ts';
import { openByteLink } from '../link/byteLink.ts';
import { openDevAuth, openSealedDevAuth, spdmOver } from '../link/devAuthClient.ts';
import { recordedIn } from '../link/knownIssuers.ts';
import { createMctpClient, type MctpClient } from '../link/mctpLink.ts';
import { sessionOffer } from '../link/wiredIdentity.ts';
import { type Core, withServer } from './core.ts';
import { certSlotUnder, type ProgrammerIdentity, readBundle, readIdentity, updateBundle } from './identity.ts';
import type { Report } from './produce.ts';
import type { IdentityAnswer, ServerApi } from './serverApi.ts';
import { makeEncryptionKey } from './stepsIdentity.ts';
import { type Hello, hello } from './target.ts';

/** A device in repair on the serial link: its debug port is unlocked, or it gets its next generation. Nothing is kept here: every step can be
 *  taken again, and the device and the server know how far they are. */

type Repair = {
  readonly core: Core;
  readonly identity: ProgrammerIdentity;
  readonly server: ServerApi;
  readonly client: MctpClient;
  readonly host: DevAuthHost;
};

const minEntropyBits = 256;
/** How often a proof is sent before the person at the programmer gets an error. */
const maxDeliveries = 3;

/** Opens the debug port until the device starts again. The password goes from the server into the sealed session and nowhere else.
 *  @returns UID, hex @throws NusecError FORBIDDEN, DEVICE_STATE, FOUR_EYES_REQUIRED, PASSWORD_DISCLOSED …: what the server refuses;
 *    DevAuthError what the device refuses; CHAIN_REFUSED for another chip than the one the server knows */
export async function unlockDevice(core: Core, serial: string, report: Report): Promise<string> {
  return onDevice(core, serial, async repair => {
    const greeting = await step(report, 1, 'identify the device', () => hello(repair.host));
    const uid = toHex(greeting.uid);
    const { identity } = await step(report, 2, 'ask the server', () => repair.server.inRepair(uid));
    const { sealed } = await step(report, 3, 'session', () => openSession(repair, greeting, identity, new Uint8Array(randomBytes(32))));
    await step(report, 4, 'unlock the debug port', async () => {
      const { nonce } = await hello(sealed);
      await sealed.request('debugUnlock', await repair.server.unlock(uid, nonce));
    });
    return uid;
  });
}

/** Key, registration id and certificate of the next generation, and the proof of them; the device is in service again when this returns. However it
 *  ends, the device starts its application: it does not stay in its bootloader because an answer was lost.
 *  @returns UID, hex @throws as unlockDevice */
export async function renewDevice(core: Core, serial: string, report: Report): Promise<string> {
  return onDevice(core, serial, async repair => {
    const greeting = await step(report, 1, 'start the bootloader', () => startBootloader(repair.host));
    try {
      await renew(repair, greeting, report);
    } catch (error) {
      await startApplication(repair.host).catch(() => undefined);
      throw error;
    }
    await startApplication(repair.host);
    return toHex(greeting.uid);
  });
}

async function renew(repair: Repair, greeting: Hello, report: Report): Promise<void> {
  const known = await step(report, 2, 'ask the server', () => repair.server.inRepair(toHex(greeting.uid)));
  const objId = known.nextObjId;
  if (objId === undefined) throw new NusecError('DEVICE_STATE', 'the return to service was not ordered');
  const hasTakenOver = greeting.objId !== undefined && equalBytes(greeting.objId, fromHex(objId));
  const next = hasTakenOver
    ? known.next
    : await step(report, 3, 'new key and certificate', () => makeNext(repair, greeting, known.identity));
  if (next === undefined) throw new NusecError('DEVICE_STATE', 'the server knows no certificate of the next generation');
  await step(report, 4, 'prove the next generation', () => proveNext(repair, next, objId));
}

async function onDevice<T>(core: Core, serial: string, work: (repair: Repair) => Promise<T>): Promise<T> {
  const identity = readIdentity(core.chip);
  const client = createMctpClient(await openByteLink(serial));
  try {
    return await withServer(core, server => work({ core, identity, server, client, host: openDevAuth(client) }));
  } finally {
    await client.close();
  }
}

async function step<T>(report: Report, k: number, name: string, work: () => Promise<T>): Promise<T> {
  report(k, name, 'begin');
  try {
    const result = await work();
    report(k, name, 'done');
    return result;
  } catch (error) {
    if (error instanceof NusecError) report(k, name, 'failed', `${error.code}: ${error.message}`);
    throw error;
  }
}

const startApplication = (host: DevAuthHost) => host.request('reset', { mode: 'normal' });

async function startBootloader(host: DevAuthHost): Promise<Hello> {
  await host.request('reset', { mode: 'bootloader' });
  const greeting = await hello(host);
  if (greeting.stage !== 'bl2') throw new NusecError('DEVICE_STATE', `the device runs ${greeting.stage} instead of its bootloader`);
  return greeting;
}

/** A session with the very device that the server means (T9, T11). */
async function openSession(
  repair: Repair,
  greeting: Hello,
  shown: IdentityAnswer,
  nonce: Uint8Array,
): Promise<{ readonly sealed: DevAuthHost; readonly evidence: Evidence }> {
  const { core, identity, client } = repair;
  await requireKnownRoot(repair, shown.root);
  const { session, evidence } = await runSessionSetup(
    {
      nonce,
      uidHex: toHex(greeting.uid),
      randomBytes: length => new Uint8Array(randomBytes(length)),
      wait: patience(sleep),
      ...sessionOffer(shown),
      ownSlots: [await certSlotUnder(core.chip, identity, shown.root)],
    },
    spdmOver(client),
  );
  return { sealed: openSealedDevAuth(client, session, greeting.maxBodyBytes), evidence };
}

/** Ours, or after a rollover one that ours names in the trust bundle. */
async function requireKnownRoot({ core: { chip }, identity, server }: Repair, root: Uint8Array): Promise<void> {
  if (equalBytes(root, identity.root)) return;
  await updateBundle(chip, identity, await server.trustBundle());
  const { roots } = await readBundle(chip, identity);
  if (!roots.some(known => equalBytes(known, root))) throw new NusecError('CHAIN_REFUSED', 'the server names another root');
}

async function makeNext(repair: Repair, greeting: Hello, present: IdentityAnswer): Promise<IdentityAnswer> {
  const { server } = repair;
  const uid = toHex(greeting.uid);
  const { sealed } = await openSession(repair, greeting, present, new Uint8Array(randomBytes(32)));
  const { nonce } = await hello(sealed);
  const { order, objId } = await server.rekey(uid, nonce);
  const { publicKey } = await sealed.request('keygen', { keySlot: authKeySlot, algorithm: 'es256', minEntropyBits, order });
  await makeEncryptionKey(sealed);
  const point = concat(Uint8Array.of(0x04), publicKey);
  const cri = buildCertificationRequestInfo({ subject: { commonName: objId, serialNumber: uid }, publicKeyPoint: point });
  const { signature } = await sealed.request('signCri', { cri });
  const issued = await server.certifyNext(uid, assembleCsr(cri, rawToDer(signature)));
  await requireKnownRoot(repair, issued.root);
  const recorded = recordedIn(await readBundle(repair.core.chip, repair.identity));
  const leaf = checkChain([issued.certificate, issued.ica], { roots: [issued.root], now: undefined, purpose: 'device', uid, recorded });
  if (leaf.objId !== objId || !leaf.point || !equalBytes(leaf.point, point))
    throw new NusecError('CHAIN_REFUSED', 'the certificate is for another registration or key');
  const pieceBytes = pieceBytesFor(greeting.maxBodyBytes);
  for (const bundle of issued.bundles) await putObject(sealed, 'bundle', bundle, pieceBytes).catch(unlessOlder);
  await putObject(sealed, 'rootCertificate', issued.root, pieceBytes);
  await putObject(sealed, 'icaCertificate', issued.ica, pieceBytes);
  await putObject(sealed, 'objId', fromHex(objId), pieceBytes);
  // With this one the device takes over all of them.
  await putObject(sealed, 'deviceCertificate', issued.certificate, pieceBytes);
  return issued;
}

/** The device may have a newer trust bundle than the one that leads to the new root. */
function unlessOlder(error: unknown): void {
  if (!(error instanceof DevAuthError && error.reason === 'version')) throw error;
}

async function proveNext(repair: Repair, next: IdentityAnswer, objIdHex: string): Promise<void> {
  const objId = fromHex(objIdHex);
  const greeting = await startBootloader(repair.host);
  const { evidence } = await openSession(repair, greeting, next, returnSessionNonce(objId));
  const { receipt } = await repair.host.request('receipt', { nonce: returnReceiptNonce(objId) });
  await deliver(() => repair.server.returned(toHex(greeting.uid), objIdHex, receipt, encodeEvidence(evidence)));
}

/** The server takes the same proof again: an answer that was lost is asked for again. */
async function deliver(send: () => Promise<unknown>): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      return void (await send());
    } catch (error) {
      if (tries === maxDeliveries || !isUnreachable(error)) throw error;
    }
  }
}
