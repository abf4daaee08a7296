import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Context } from '../../src/services/base/context.ts';
import { registerGateway } from '../../src/services/field/gateways.ts';
import { makePair, requestOf } from './authority.ts';
import type { CertificateServer } from './estClient.ts';

/** Requests for certificates, and the client that sends them. */

export const clients = 8;

export const estAt = (port: number, rootPem: string, token: string): CertificateServer => ({
  port,
  rootPem,
  path: '/.well-known/est/gateway/simpleenroll',
  headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/pkcs10' },
  clients,
});

export const clientOf = (workerData: CertificateServer): Worker => new Worker(new URL('./estClient.ts', import.meta.url), { workerData });

/** @returns certificates per second */
export async function asked(worker: Worker, work: readonly string[]): Promise<number> {
  worker.postMessage(work);
  const [answer] = await once(worker, 'message');
  return answer;
}

export const bodyOf = ({ csr }: GatewayRequest): string => Buffer.from(csr).toString('base64');
export type GatewayRequest = { readonly id: string; readonly csr: Uint8Array };

/** Gateways that are registered, each with the request of a new key. */
export function gatewayRequests(ctx: Context, count: number): Promise<readonly GatewayRequest[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const id = `gw-${randomBytes(8).toString('hex')}`;
      await registerGateway(ctx, id, id, 'system:bench');
      return { id, csr: requestOf(makePair(), { commonName: id }) };
    }),
  );
}
