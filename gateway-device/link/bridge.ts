import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { concat, equalBytes, toHex } from '../../src/bytes.ts';
import type { KeyResolver } from '../../src/cose/sign1.ts';
import { judgeOffer } from '../../src/domain/offer.ts';
import { formatVersion } from '../../src/domain/version.ts';
import { isUnreachable, NusecError } from '../../src/errors.ts';
import { bodyBlockHashes, deliveryBlockHashes } from '../../src/ota/blocks.ts';
import { type OtaJob, verifyJob } from '../../src/ota/otaJob.ts';
import type { DevAuthResponse } from '../../src/production/devauth/commands.ts';
import { DevAuthError } from '../../src/production/devauth/error.ts';
import type { DevAuthHost } from '../../src/production/devauth/host.ts';
import { pieceBytesFor, sendFirmware } from '../../src/production/devauth/transfer.ts';
import { imageIds } from '../../src/production/fields.ts';
import { maxSecurityCounter } from '../../src/production/otpMap.ts';
import { upgradeProofNonce } from '../../src/production/upgradeProof.ts';
import type { CertSlot } from '../../src/spdm/certSlot.ts';
import { spdmVersions } from '../../src/spdm/constants.ts';
import { encodeEvidence, verifyEvidence } from '../../src/spdm/evidence.ts';
import { patience } from '../../src/spdm/requester/patience.ts';
import { runAttestation, runSessionSetup } from '../../src/spdm/requester/run.ts';
import type { BridgeServer, WiredStanding } from './bridgeServer.ts';
import { openDevAuth, openSealedDevAuth, spdmOver } from './devAuthClient.ts';
import type { MctpClient } from './mctpLink.ts';
import { attestationOffer, judgeOf, sessionOffer, type WiredIdentity } from './wiredIdentity.ts';

/** One device on a wire gets what is outstanding for it (R87, R96): its image inside a session of mutual authentication, or its order to wipe. Nothing is kept
 *  here: every step can be taken again, and the device and the server know how far they are. */

export type Messenger = {
  readonly server: BridgeServer;
  /** Our certificates for a device that trusts this root. */
  readonly slotUnder: (root: Uint8Array) => Promise<CertSlot>;
  /** Keys that sign jobs, of the trust bundle. */
  readonly jobKeys: () => Promise<KeyResolver>;
  /** Bodies by their SHA-256, hex: fetched once for all devices of a release. @throws NusecError IMAGE_REFUSED */
  readonly body: (sha256: string, fetch: () => Promise<Uint8Array>) => Promise<Uint8Array>;
  readonly report: (step: string) => void;
};

export type WireOutcome = { readonly uid: string; readonly outcome: 'nothing' | 'upgraded' | 'wiped'; readonly version?: string };

type Hello = DevAuthResponse<'hello'>;
type Wire = { readonly client: MctpClient; readonly host: DevAuthHost; readonly told: Hello; readonly uid: string };

/** @throws NusecError FORBIDDEN, DEVICE_STATE …: what the server refuses; DevAuthError: what the device refuses; CHAIN_REFUSED: another chip than the
 *    server means; ROLLBACK, DOWNGRADE …: what this machine refuses by itself (RULE-11); ATTESTATION_FAILED: the device does not prove the image */
export async function serveWire(messenger: Messenger, client: MctpClient): Promise<WireOutcome> {
  const host = openDevAuth(client);
  messenger.report('identify the device');
  const told = await hello(host);
  const uid = toHex(told.uid);
  const wire = { client, host, told, uid };
  const standing = await messenger.server.look(uid);
  if (standing.isOrdered) return wipe(messenger, wire, standing);
  if (standing.job === undefined) return { uid, outcome: 'nothing' };
  return upgrade(messenger, wire, standing, standing.job);
}

async function wipe(messenger: Messenger, wire: Wire, { identity }: WiredStanding): Promise<WireOutcome> {
  const { server, report } = messenger;
  report('session');
  const sealed = await openSession(messenger, wire, identity);
  const { nonce } = await hello(sealed);
  const order = await server.order(wire.uid, nonce);
  report('wipe the device');
  const { receipt } = await sealed.request('wipe', { order });
  await server.receipt(wire.uid, order, receipt);
  return { uid: wire.uid, outcome: 'wiped' };
}

async function upgrade(
  messenger: Messenger,
  wire: Wire,
  { identity }: WiredStanding,
  { signed, bodySha256, trailer }: NonNullable<WiredStanding['job']>,
): Promise<WireOutcome> {
  const { server, report } = messenger;
  const { uid } = wire;
  const { job } = await verifyJob(signed, await messenger.jobKeys());
  const otaJobId = toHex(job.otaJobId);
  const version = formatVersion(job.version);
  // After an interruption the device may run it already: then only the proof is missing.
  if (!runsIt(wire.told, job)) {
    await requireOffer(messenger, wire, job);
    report('fetch the image');
    const image = await imageOf(messenger, { uid, otaJobId, bodySha256, trailer }, job);
    report('session');
    const sealed = await openSession(messenger, wire, identity);
    await server.report(uid, otaJobId, { status: 'downloading' });
    report('write the image');
    await write(messenger, wire, sealed, { job, signed }, image);
    await server.report(uid, otaJobId, { status: 'written' });
    await wire.host.request('reset', { mode: 'normal' });
    await server.report(uid, otaJobId, { status: 'testing' });
  }
  report('prove the image');
  const nonce = upgradeProofNonce(job.otaJobId);
  const evidence = await runAttestation({ ...attestationOffer(identity), nonce, raw: true, wait: patience(sleep) }, spdmOver(wire.client));
  // What the device has not signed would be taken for a lie of this machine.
  await verifyEvidence(evidence, { nonce, uidHex: uid, versions: spdmVersions, ...judgeOf(identity) });
  const result = await server.prove(uid, otaJobId, encodeEvidence(evidence));
  if (result !== 'passed') throw new NusecError('ATTESTATION_FAILED', `${uid} does not prove ${version}: ${result}`);
  return { uid, outcome: 'upgraded', version };
}

const hello = (host: DevAuthHost): Promise<Hello> => host.request('hello', { version: 1, nonce: new Uint8Array(randomBytes(16)) });

const runsIt = ({ firmwareVersion, securityCounter }: Hello, job: OtaJob): boolean =>
  formatVersion(firmwareVersion) === formatVersion(job.version) && securityCounter === job.securityCounter;

/** This machine's own look (RULE-11): what the device says of itself against the signed job. The product is checked by the device, which knows its own. */
async function requireOffer({ server }: Messenger, { told, uid }: Wire, job: OtaJob): Promise<void> {
  if (!equalBytes(job.uid, told.uid)) throw new NusecError('WRONG_PRODUCT', 'the job is for another device');
  const product = { line: '', vendorUuid: '', classUuid: '' };
  const firmware = { version: formatVersion(told.firmwareVersion), securityCounter: told.securityCounter, imageHash: '' };
  const release = {
    ...product,
    status: 'PUBLISHED',
    version: formatVersion(job.version),
    securityCounter: job.securityCounter,
    imageHashes: [],
  };
  const permit = job.downgradeApprovers && { downgradePermit: { approvers: job.downgradeApprovers } };
  const rules = { rollbackFloor: 0, counterMaximum: maxSecurityCounter.application, counterJumpApproved: true, ...permit };
  const refusal = judgeOffer({ ...product, able: true, firmware }, release, rules);
  if (refusal === undefined) return;
  await server.report(uid, toHex(job.otaJobId), { status: 'refused', code: refusal });
  throw new NusecError(refusal, `version ${release.version} is not for a device that runs ${firmware.version}`);
}

type Parts = { readonly uid: string; readonly otaJobId: string; readonly bodySha256: string; readonly trailer: Uint8Array };

/** Body and trailer are what the signed job names, block by block. */
async function imageOf(messenger: Messenger, { uid, otaJobId, bodySha256, trailer }: Parts, job: OtaJob): Promise<Uint8Array> {
  const body = await messenger.body(bodySha256, () => messenger.server.body(uid, otaJobId));
  const hashes = deliveryBlockHashes({ body, trailer }, job.blockBytes, bodyBlockHashes(body, job.blockBytes));
  if (!equalBytes(hashes, job.blockHashes)) throw new NusecError('IMAGE_REFUSED', 'the image is not the one that the job names');
  return concat(body, trailer);
}

/** A refusal of the device is reported to the server, and the offer remains. */
async function write(
  messenger: Messenger,
  { told, uid }: Wire,
  sealed: DevAuthHost,
  { job, signed }: { readonly job: OtaJob; readonly signed: Uint8Array },
  bytes: Uint8Array,
): Promise<void> {
  const { version, securityCounter } = job;
  const permit = job.downgradeApprovers && { permit: signed };
  try {
    const transfer = { image: imageIds.bl3, version, securityCounter, bytes, ...permit };
    await sendFirmware(sealed, transfer, pieceBytesFor(told.maxBodyBytes), at => requireStanding(messenger, uid, job, at));
  } catch (error) {
    if (!(error instanceof DevAuthError)) throw error;
    const code = error.reason === 'rollback' ? 'ROLLBACK' : error.reason;
    await messenger.server.report(uid, toHex(job.otaJobId), { status: 'refused', code });
    throw error;
  }
}

/** A transfer takes minutes, and what it was begun for may have ended: then the device keeps what it runs. In the middle a server that does not answer
 *  is no reason to begin again later.
 *  @throws NusecError STATE when another thing stands for the device, or nothing */
async function requireStanding({ server, jobKeys }: Messenger, uid: string, job: OtaJob, at: 'middle' | 'end'): Promise<void> {
  const standing = await server.look(uid).catch(error => {
    if (at === 'end' || !isUnreachable(error)) throw error;
    return undefined;
  });
  if (standing === undefined) return;
  const now = standing.job && (await verifyJob(standing.job.signed, await jobKeys())).job;
  if (standing.isOrdered || now === undefined || !equalBytes(now.otaJobId, job.otaJobId))
    throw new NusecError('STATE', 'the upgrade was stopped while the image was written');
}

/** Mutual authentication with the very device that the server means (T9, T11). */
async function openSession({ slotUnder }: Messenger, { client, told, uid }: Wire, identity: WiredIdentity) {
  const { session } = await runSessionSetup(
    {
      nonce: new Uint8Array(randomBytes(32)),
      uidHex: uid,
      randomBytes: length => new Uint8Array(randomBytes(length)),
      wait: patience(sleep),
      ...sessionOffer(identity),
      ownSlots: [await slotUnder(identity.root)],
    },
    spdmOver(client),
  );
  return openSealedDevAuth(client, session, told.maxBodyBytes);
}
