import { toBase64url } from '../../bytes.ts';
import { fold } from '../../domain/decider.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { DeviceEvent } from '../../domain/deviceEvents.ts';
import { NusecError } from '../../errors.ts';
import { type AttestationProof, attestationProofFormat } from '../../evidence/attestationProof.ts';
import type { AttestationLog } from '../base/attestationLog.ts';
import type { Context } from '../base/context.ts';
import { namedReferences } from './referenceValues.ts';

/** One attestation of the log as a file for others (docs/attestation.md): with what the registry knew of the device at that time.
 *  @param id of the row @throws NusecError NOT_FOUND: no such row, or the device has signed nothing in it */
export async function attestationProof(ctx: Context, attestations: AttestationLog, uid: string, id: number): Promise<AttestationProof> {
  const [row] = attestations.page(uid, { beforeId: id + 1, limit: 1 });
  if (row?.id !== id) throw new NusecError('NOT_FOUND', `there is no attestation ${id} of ${uid}`);
  const evidence = row.evidenceSha256 === undefined ? undefined : attestations.kept(uid, row.evidenceSha256);
  if (evidence === undefined) throw new NusecError('NOT_FOUND', `nothing that ${uid} has signed came with attestation ${id}`);
  const at = new Date(row.atMs).toISOString();
  const { line, via, nonceHex, result, reason } = row;
  const before = (await ctx.store.readStream(deviceStream(uid))).filter(
    event => event.at <= at,
  ) as readonly unknown[] as readonly DeviceEvent[];
  const state = fold(device, before);
  const references = state.status === 'NONE' ? [] : await namedReferences(ctx, state);
  const why = reason === undefined ? {} : { reason };
  return { format: attestationProofFormat, uid, line, at, via, nonceHex, result, ...why, evidence: toBase64url(evidence), references };
}
