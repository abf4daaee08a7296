import { toBase64url } from '../../bytes.ts';
import { type Decider, fold } from '../../domain/decider.ts';
import { device, deviceStream } from '../../domain/device.ts';
import { attestationKeyOf, currentCertificate, type LivingDevice } from '../../domain/deviceState.ts';
import { line, lineStream, policyOf } from '../../domain/line.ts';
import { NusecError } from '../../errors.ts';
import { type AttestationProof, attestationProofFormat } from '../../evidence/attestationProof.ts';
import { authorityOf } from '../authority/authority.ts';
import { chainOf } from '../authority/issuingCa.ts';
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
  const { via, nonceHex, result, reason } = row;
  const state = await stateAt(ctx, device, deviceStream(uid), at);
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there was no device ${uid} at ${at}`);
  const references = await namedReferences(ctx, state);
  const token = row.token === undefined ? {} : { token: await tokenPolicyAt(ctx, state, row.token.instanceId, at) };
  const facts = { uid, line: row.line, at, via, nonceHex, result, ...(reason !== undefined && { reason }) };
  return { format: attestationProofFormat, ...facts, evidence: toBase64url(evidence), references, ...token };
}

/** As it was. */
async function stateAt<C, S, E>({ store }: Context, decider: Decider<C, S, E>, stream: string, at: string): Promise<S> {
  const before = (await store.readStream(stream)).filter(event => event.at <= at);
  return fold(decider, before as readonly unknown[] as readonly E[]);
}

/** What the line asked of tokens, and the certificates of the key where it is that of a certificate. */
async function tokenPolicyAt(ctx: Context, state: LivingDevice, instanceId: string, at: string) {
  const known = await stateAt(ctx, line, lineStream(state.line), at);
  const { caller, implementationId } = policyOf(known.status === 'NONE' ? {} : known);
  const certificate = attestationKeyOf(state) === undefined ? currentCertificate(state) : undefined;
  return {
    caller,
    instanceId,
    ...(implementationId !== undefined && { implementationId }),
    ...(certificate && { certificates: await certificatesFrom(ctx, certificate) }),
  };
}

/** DER, base64url, leaf first. */
async function certificatesFrom(ctx: Context, { icaId, certificateSha256 }: { icaId: string; certificateSha256: string }) {
  const { ica, root } = chainOf(await authorityOf(ctx), icaId);
  return [await ctx.blobs.get(certificateSha256), ica, root].map(toBase64url);
}
