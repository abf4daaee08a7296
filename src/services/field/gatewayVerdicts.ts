import { toHex } from '../../bytes.ts';
import { keyIdOf } from '../../cose/publicKey.ts';
import { NusecError } from '../../errors.ts';
import { parseCertificate } from '../../pki/parse.ts';
import type { Context } from '../base/context.ts';
import { gatewayOf } from './gateways.ts';

/** Who signs a gateway's verdicts, and which of them is the newest. */

export type GatewayKey = {
  readonly kid: Uint8Array;
  readonly spki: Uint8Array;
  /** The newest that the gateway said it has; 0 before. */
  readonly trustBundleVersion: number;
};

/** The key in the gateway's newest certificate. @throws NusecError NOT_FOUND, CERTIFICATE_REVOKED (suspended, revoked or never certified) */
export async function gatewayKey(ctx: Context, gatewayId: string): Promise<GatewayKey> {
  const { status, certificates, trustBundleVersion } = await gatewayOf(ctx, gatewayId);
  const newest = certificates.at(-1);
  if (status !== 'ACTIVE' || newest === undefined) throw new NusecError('CERTIFICATE_REVOKED', `gateway ${gatewayId} is ${status}`);
  const { spki } = parseCertificate(await ctx.blobs.get(newest.certificateSha256));
  return { kid: keyIdOf(spki), spki, trustBundleVersion };
}

/** Sequences rise per key of a gateway, over its restarts too: a gateway that is set up again has a new key and begins again. After a restart of
 *  the server the nonce alone keeps old verdicts out. */
export type VerdictSequences = { last(keyId: Uint8Array): number; take(keyId: Uint8Array, sequence: number): void };

export function createVerdictSequences(): VerdictSequences {
  const newest = new Map<string, number>();
  return {
    last: keyId => newest.get(toHex(keyId)) ?? -1,
    take: (keyId, sequence) => void newest.set(toHex(keyId), sequence),
  };
}
