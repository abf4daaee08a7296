import { keyIdOf } from '../../cose/publicKey.ts';
import { NusecError } from '../../errors.ts';
import type { Context } from '../base/context.ts';
import { storedCertificate } from '../identity/storedCertificate.ts';
import { gatewayOf } from './gateways.ts';

/** Who signs a gateway's verdicts. */

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
  const { spki } = await storedCertificate(ctx, newest.certificateSha256);
  return { kid: keyIdOf(spki), spki, trustBundleVersion };
}
