import { keyIdOf } from '../../cose/publicKey.ts';
import { NusecError } from '../../errors.ts';
import { parseCertificate } from '../../pki/parse.ts';
import type { Context } from '../base/context.ts';
import { gatewayOf } from './gateways.ts';

/** Who signs a gateway's verdicts, and which of them is the newest. */

/** The key in the gateway's newest certificate. @throws NusecError NOT_FOUND, CERTIFICATE_REVOKED (suspended, revoked or never certified) */
export async function gatewayKey(ctx: Context, gatewayId: string): Promise<{ readonly kid: Uint8Array; readonly spki: Uint8Array }> {
  const { status, certificates } = await gatewayOf(ctx, gatewayId);
  const newest = certificates.at(-1);
  if (status !== 'ACTIVE' || newest === undefined) throw new NusecError('CERTIFICATE_REVOKED', `gateway ${gatewayId} is ${status}`);
  const { spki } = parseCertificate(await ctx.blobs.get(newest.certificateSha256));
  return { kid: keyIdOf(spki), spki };
}

/** Sequences rise per gateway, also over its restarts; after a restart of the server the nonce alone keeps old verdicts out. */
export type VerdictSequences = { last(gatewayId: string): number; take(gatewayId: string, sequence: number): void };

export function createVerdictSequences(): VerdictSequences {
  const newest = new Map<string, number>();
  return {
    last: gatewayId => newest.get(gatewayId) ?? -1,
    take: (gatewayId, sequence) => void newest.set(gatewayId, sequence),
  };
}
