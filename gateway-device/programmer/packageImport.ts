import { equalBytes, fromBase64url, fromHex, toBase64url, toHex } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { NusecError } from '../../src/errors.ts';
import { otpMapVersion } from '../../src/production/otpMap.ts';
import { loosensRules, openPackage, type PackagePayload } from '../../src/production/package.ts';
import { signPackageAck } from '../../src/production/packageAck.ts';
import { type Core, withServer } from './core.ts';
import { oemKeys, type ProgrammerIdentity, readIdentity, updateBundle } from './identity.ts';
import { acknowledged, appendRecord, newLedger } from './ledgerBook.ts';
import { type JobState, jobOf, type NvmState, remainingUnits, withJob } from './nvm.ts';
import type { ServerApi } from './serverApi.ts';

/** PACKAGE_IMPORT (R57–R64): the package is opened and judged in here, count and job are stored in one piece with the ledger record of the
 *  import, and the server gets a signed acknowledgement, later when it cannot be reached now. */

export type Imported = { readonly packageId: Uint8Array; readonly jobId: Uint8Array; readonly remaining: number };

/** @throws NusecError STATE while a unit of its job is under way; PACKAGE_REFUSED with one constant text, whatever else is the reason: replayed, for
 *    another programmer, forged, damaged, expired */
export async function importPackage(core: Core, file: Uint8Array): Promise<Imported> {
  try {
    return await importGenuine(core, file);
  } catch (error) {
    if (!(error instanceof NusecError) || error instanceof UnitUnderWay) throw error;
    // The reason stays inside: what comes by e-mail learns nothing here (R62).
    throw new NusecError('PACKAGE_REFUSED', 'the package is refused');
  }
}

/** Of a package that is genuine, so it may be said. */
class UnitUnderWay extends NusecError {}

async function importGenuine(core: Core, file: Uint8Array): Promise<Imported> {
  const identity = readIdentity(core.chip);
  await refreshBundle(core, identity);
  const payload = await openPackageFile(core, identity, file);
  checkRules(payload, identity);
  await requireNewest(core, payload);
  const before = core.nvm.state().jobs[toHex(payload.jobId)];
  if (before && before.open > 0) throw new UnitUnderWay('STATE', 'a unit of this job is under way');
  const job = await stateAfter(core, identity, payload, file, before);
  core.nvm.update(state => ({ ...withJob(state, job), serverUrl: payload.server.baseUrl }));
  await deliverAcknowledgement(core, job.jobId).catch(laterWhenUnreachable);
  const remaining = remainingUnits(jobOf(core.nvm.state(), job.jobId));
  core.tell({ event: 'package-imported', jobId: job.jobId, sequence: job.sequence, remaining });
  return { packageId: payload.packageId, jobId: payload.jobId, remaining };
}

/** A package may be signed by a key that is newer than our bundle. Offline the bundle at hand decides. */
async function refreshBundle(core: Core, identity: ProgrammerIdentity): Promise<void> {
  if (!core.nvm.state().serverUrl) return;
  await withServer(core, async server => updateBundle(core.chip, identity, await server.trustBundle())).catch(laterWhenUnreachable);
}

function laterWhenUnreachable(error: unknown): void {
  if (!(error instanceof NusecError)) throw error;
}

/** Opens a package, new or stored. @param lastSequence of the job; absent for a stored one @throws NusecError PACKAGE_REFUSED, PACKAGE_REPLAYED */
async function openPackageFile(core: Core, identity: ProgrammerIdentity, file: Uint8Array, isStored = false): Promise<PackagePayload> {
  return openPackage(file, {
    contentOpenOf: core.keks.contentOpenOf,
    progUid: identity.uid,
    packageKeys: await oemKeys(core.chip, identity, 'package'),
    lastSequence: jobId => (isStored ? undefined : core.nvm.state().jobs[toHex(jobId)]?.sequence),
  });
}

/** The package of a job as it was imported, opened again. */
export const packageOf = (core: Core, identity: ProgrammerIdentity, job: JobState): Promise<PackagePayload> =>
  openPackageFile(core, identity, fromBase64url(job.packageFile), true);

/** Asks the server whether the package was replaced. Without a server the sequence decides, and the first reservation.
 *  @throws NusecError PACKAGE_REPLAYED */
async function requireNewest(core: Core, { jobId, packageId }: PackagePayload): Promise<void> {
  if (!core.nvm.state().serverUrl) return;
  const ask = (server: ServerApi): Promise<boolean> => server.isSuperseded(toHex(jobId), toHex(packageId));
  const isReplaced = await withServer(core, ask).catch(error => {
    laterWhenUnreachable(error);
    return false;
  });
  if (isReplaced) throw new NusecError('PACKAGE_REPLAYED', 'a newer package has taken the place of this one');
}

function checkRules({ policy, uids, server, otpMapVersion: map }: PackagePayload, identity: ProgrammerIdentity): void {
  if (loosensRules(policy)) throw new NusecError('PACKAGE_REFUSED', 'the package asks for less than the rules');
  if (policy.requireUidList && uids === null) throw new NusecError('PACKAGE_REFUSED', 'a UID list is required');
  if (!equalBytes(server.tlsRootKeySha256, sha256(identity.rootSpki))) throw new NusecError('PACKAGE_REFUSED', 'another root');
  if (map !== otpMapVersion) throw new NusecError('PACKAGE_REFUSED', 'another OTP map');
}

async function stateAfter(
  core: Core,
  identity: ProgrammerIdentity,
  payload: PackagePayload,
  file: Uint8Array,
  before: JobState | undefined,
): Promise<JobState> {
  const { packageId, jobId, sequence, count, scrapAllowance } = payload;
  const epoch = new DataView(file.buffer, file.byteOffset).getUint32(20);
  const counted = {
    // The server counts what is still to be built, so a new package starts a new count.
    committed: 0,
    scrapped: 0,
    open: 0,
    count,
    scrapAllowance,
    images: before?.images ?? [],
    zeroised: false as const,
  };
  const base = { ...counted, jobId: toHex(jobId), packageId: toHex(packageId), sequence, epoch, packageFile: toBase64url(file) };
  const draft: JobState = {
    ...base,
    ledger: before?.ledger ?? newLedger,
    acknowledgement: '',
    acknowledgementSent: false,
    importNumber: 0,
    ...(before?.newestNumber !== undefined && { newestNumber: before.newestNumber }),
  };
  const remaining = remainingUnits(draft);
  const entry = { type: 'import', jobId, packageId, remaining } as const;
  const ledger = await appendRecord(draft.ledger, entry, identity.signer, core.uptimeSeconds());
  const ledgerHead = fromHex(ledger.headSha256);
  const ack = { progUid: identity.uid, jobId, packageId, sequence, epoch, packageSha256: sha256(file), remaining, ledgerHead };
  return {
    ...draft,
    ledger,
    importNumber: ledger.nextNumber - 1,
    acknowledgement: toBase64url(await signPackageAck(ack, identity.signer)),
  };
}

/** Sends the acknowledgement with the ledger up to the import that it quotes. The server knows which units were built between the export of the
 *  package and its import: they are not counted again.
 *  @throws NusecError SERVER_UNREACHABLE, and what the server refuses */
export async function deliverAcknowledgement(core: Core, jobId: string, via?: ServerApi): Promise<void> {
  const { packageId, acknowledgement, importNumber } = jobOf(core.nvm.state(), jobId);
  const records = recordsUpTo(core, jobId, importNumber);
  const send = async (server: ServerApi): Promise<number> => {
    await server.checkIn();
    return server.imported(packageId, acknowledgement, records);
  };
  const left = await (via ? send(via) : withServer(core, send));
  // An answer that comes a second time comes after units were reserved.
  storeAcknowledged(core, jobId, records, job =>
    job.acknowledgementSent ? job : { ...job, acknowledgementSent: true, count: Math.min(job.count, left) },
  );
}

/** The server has these records: they go to the archive, then out of the memory. @param also what changes with it, in one piece */
export function storeAcknowledged(
  core: Core,
  jobId: string,
  records: readonly string[],
  also: (job: JobState) => JobState = job => job,
  andState: (state: NvmState) => NvmState = state => state,
): void {
  core.archive.add(jobId, records);
  core.nvm.update(state => andState(withJob(state, also(acknowledged(jobOf(state, jobId), records)))));
}

/** The records that the server lacks, up to this one: a request ends with the record of what it asks for. One that the server has already goes
 *  alone, for a request that is repeated. */
export function recordsUpTo(core: Core, jobId: string, number: number): readonly string[] {
  const { nextNumber, pending } = jobOf(core.nvm.state(), jobId).ledger;
  const firstPending = nextNumber - pending.length;
  if (number >= firstPending) return pending.slice(0, number - firstPending + 1);
  return core.archive
    .read(jobId)
    .slice(number - 1, number)
    .map(toBase64url);
}
