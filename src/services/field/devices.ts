import { createPublicKey, type KeyObject } from 'node:crypto';
import { toBase64url } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { DeviceEvent } from '../../domain/deviceEvents.ts';
import type { Scope } from '../../domain/roles.ts';
import { curveOf, importKey } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { type StreamVerdict, verifyStream } from '../../eventstore/hashchain.ts';
import type { RecordedEvent } from '../../eventstore/port.ts';
import { streamOf } from '../../eventstore/recorded.ts';
import { type DevicePage, deviceQueries } from '../../projections/deviceQueries.ts';
import { type DeviceRow, deviceRowOf } from '../../projections/devices.ts';
import { pqcSignatureAlgorithms } from '../../spdm/suite.ts';
import { authorityOf } from '../authority/authority.ts';
import type { AttestationLog } from '../base/attestationLog.ts';
import { type Context, execute } from '../base/context.ts';
import { reservingKey } from '../identity/issuance.ts';

/** The fleet as people ask for it: lists, one device, its history, its quarantine. */

/** @param behind only those in use that do not have the newest trust bundle */
export async function listDevices(ctx: Context, { behind, ...page }: Omit<DevicePage, 'trustBelow'> & { readonly behind?: boolean }) {
  const projections = ['devices', ...(page.scope === undefined ? [] : ['jobs']), ...(page.gatewayId === undefined ? [] : ['gateways'])];
  await ctx.reads.waitFor(await ctx.store.head(), { projections });
  const trustBelow = behind === true ? { trustBelow: (await authorityOf(ctx)).trustBundle.version } : {};
  return deviceQueries(ctx.reads.db).page({ ...page, ...trustBelow });
}

/** How many devices are in each state, within a scope; of all also by line and version. */
export async function countDevices(ctx: Context, scope: Scope | undefined) {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: scope === undefined ? ['devices'] : ['devices', 'jobs'] });
  const queries = deviceQueries(ctx.reads.db);
  return scope === undefined ? queries.counts() : queries.countsIn(scope);
}

/** How many devices in use do not have the newest trust bundle. */
export async function countDevicesBehind(ctx: Context): Promise<number> {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['devices'] });
  return deviceQueries(ctx.reads.db).countBehind((await authorityOf(ctx)).trustBundle.version);
}

/** One device from its own events: what was just decided is in it, however far the read models are. @throws NusecError NOT_FOUND */
export async function deviceRow(ctx: Context, uid: string): Promise<DeviceRow> {
  const row = deviceRowOf(await streamOf<DeviceEvent>(ctx.store, deviceStream(uid)));
  if (row === undefined) throw new NusecError('NOT_FOUND', `there is no device ${uid}`);
  return row;
}

/** Everything that happened to a device, oldest first. @throws NusecError NOT_FOUND */
export async function deviceTimeline(ctx: Context, uid: string): Promise<readonly RecordedEvent[]> {
  const events = await ctx.store.readStream(deviceStream(uid));
  if (events.length === 0) throw new NusecError('NOT_FOUND', `there is no device ${uid}`);
  return events;
}

/** Whether the history of a device is what its hash chain is over. That is what is stored: people are pseudonyms there. */
export const deviceChain = async (ctx: Context, uid: string): Promise<StreamVerdict> =>
  verifyStream(await ctx.storedLog.readStream(deviceStream(uid)));

/** Evidence of this device, as encodeEvidence writes it, or the verdict of the gateway that brought it. Only what one of its events or attestations
 *  names is given out. @throws NusecError NOT_FOUND */
export async function deviceEvidence(ctx: Context, attestations: AttestationLog, uid: string, sha256: string): Promise<Uint8Array> {
  const events = await deviceTimeline(ctx, uid);
  if (events.some(({ data }) => data.evidenceSha256 === sha256 || data.verdictSha256 === sha256)) return ctx.blobs.get(sha256);
  const kept = attestations.kept(uid, sha256);
  if (kept === undefined) throw new NusecError('NOT_FOUND', 'no event and no attestation of this device names this evidence');
  return kept;
}

export async function quarantineDevice(ctx: Context, uid: string, reason: string, by: Actor): Promise<DeviceRow> {
  await execute(ctx, device, deviceStream(uid), { type: 'QuarantineDevice', reason, by }, by);
  return deviceRow(ctx, uid);
}

export async function releaseDevice(ctx: Context, uid: string, reason: string, by: Actor): Promise<DeviceRow> {
  await execute(ctx, device, deviceStream(uid), { type: 'ReleaseDevice', reason, by }, by);
  return deviceRow(ctx, uid);
}

/** A key that the device proves itself with where it has no certificate. It is this device's alone (I4).
 *  @param publicKey SubjectPublicKeyInfo, DER
 *  @param instanceId of its PSA attestation tokens, 33 bytes, hex; SHA-256 of the key, as TF-M makes it, when not given
 *  @throws NusecError NOT_FOUND, KEY_REFUSED (of no kind that signs attestations), WEAK_OR_CLONED_KEY (another's), DEVICE_STATE */
export async function enrolAttestationKey(
  ctx: Context,
  uid: string,
  publicKey: Uint8Array,
  instanceId: string | undefined,
  by: Actor,
): Promise<DeviceRow> {
  await deviceRow(ctx, uid);
  requireSigningKey(publicKey);
  const publicKeySha256 = sha256Hex(publicKey);
  const key = { publicKey: toBase64url(publicKey), publicKeySha256, ...(instanceId !== undefined && { instanceId }) };
  const enrol = { type: 'EnrolAttestationKey', ...key, by } as const;
  await reservingKey(ctx, publicKeySha256, { kind: 'device', uid }, by, together =>
    execute(together, device, deviceStream(uid), enrol, by),
  );
  return deviceRow(ctx, uid);
}

const pqcKeyTypes: readonly string[] = pqcSignatureAlgorithms.map(({ mlDsa }) => mlDsa);

function requireSigningKey(publicKey: Uint8Array): void {
  if (curveOf(publicKey) !== undefined) return void importKey(publicKey);
  let key: KeyObject | undefined;
  try {
    const read = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
    if (read.export({ format: 'der', type: 'spki' }).equals(publicKey)) key = read;
  } catch {
    key = undefined;
  }
  const isP521 = key?.asymmetricKeyDetails?.namedCurve === 'secp521r1';
  if (!isP521 && !pqcKeyTypes.includes(key?.asymmetricKeyType ?? ''))
    throw new NusecError('KEY_REFUSED', 'not a P-256, P-384, P-521 or ML-DSA key that is known here');
}

/** @throws NusecError NOT_FOUND, BAD_REQUEST (too many) */
export async function tagDevice(
  ctx: Context,
  uid: string,
  add: readonly string[],
  remove: readonly string[],
  by: Actor,
): Promise<DeviceRow> {
  await deviceRow(ctx, uid);
  await execute(ctx, device, deviceStream(uid), { type: 'TagDevice', add, remove, by }, by);
  return deviceRow(ctx, uid);
}
