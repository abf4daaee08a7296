import { ask, type ServerOptions } from './client.ts';
import { print, table } from './output.ts';

/** `nusec device attestations`: what a device has proved, and when. */

type Attestation = {
  readonly id: number;
  readonly at: string;
  readonly via: string;
  readonly result: string;
  readonly reason?: string;
  readonly evidenceSha256?: string;
};

/** The newest first. @param limit as many of them at most */
export async function showAttestations({ limit, ...options }: ServerOptions & { limit: number }, uid: string): Promise<void> {
  const { attestations } = await ask<{ attestations: readonly Attestation[] }>(
    options,
    'GET',
    `/v1/devices/${uid}/attestations?limit=${limit}`,
  );
  const rows = attestations.map(({ id, at, via, result, reason, evidenceSha256 }) => [id, at, via, result, reason, evidenceSha256]);
  print(options, attestations, table(['ID', 'AT', 'VIA', 'RESULT', 'REASON', 'EVIDENCE'], rows));
}
