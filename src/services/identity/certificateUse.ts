import { device, deviceStream } from '../../domain/device.ts';
import { gateway, gatewayStream } from '../../domain/gateway.ts';
import { lru } from '../../lru.ts';
import { type Context, execute } from '../base/context.ts';
import type { Machine } from './machines.ts';

/** Ends the older certificates of a machine when it uses a newer one: it was accepted on a connection, so nothing is lost with the others (I4). A
 *  programmer has one key and gets its next certificate in the last third of the one before; both end by themselves. */
export type CertificateUse = {
  /** The machine is connected or has made a request. The first time a process sees the certificate, the older ones end behind it. */
  used(machine: Pick<Machine, 'kind' | 'id' | 'serialHex'>): void;
};

const maxSeen = 50_000;
const by = 'system:renewal';

export function createCertificateUse(ctx: Context): CertificateUse {
  const seen = lru<true>(maxSeen);
  return {
    used({ kind, id, serialHex }) {
      if (seen.get(serialHex)) return;
      seen.set(serialHex, true);
      endOlder(ctx, kind, id, serialHex).catch(error => {
        seen.delete(serialHex);
        ctx.log.info({ kind, id, error: (error as Error).message }, 'older certificates were not ended; the next use tries again');
      });
    },
  };
}

async function endOlder(ctx: Context, kind: Machine['kind'], id: string, serial: string): Promise<void> {
  if (kind === 'device') await execute(ctx, device, deviceStream(id), { type: 'EndOlderCertificates', serial, by }, by);
  if (kind === 'gateway') await execute(ctx, gateway, gatewayStream(id), { type: 'EndOlderGatewayCertificates', serial, by }, by);
}
