import { equalBytes } from '../../src/bytes.ts';
import { type Closable, repeatedly } from '../../src/closing.ts';
import { sha256Hex } from '../../src/digest.ts';
import { NusecError } from '../../src/errors.ts';
import { lru } from '../../src/lru.ts';
import { fromPem } from '../../src/pki/pem.ts';
import { signingKeysOf } from '../../src/production/trustBundle.ts';
import type { CertSlot } from '../../src/spdm/certSlot.ts';
import { minuteMs } from '../../src/times.ts';
import { serveWire } from '../link/bridge.ts';
import { createBridgeServer } from '../link/bridgeServer.ts';
import { openByteLink } from '../link/byteLink.ts';
import { createHttpClient } from '../link/httpClient.ts';
import { createMctpClient } from '../link/mctpLink.ts';
import type { AgentClock } from './clock.ts';
import type { AgentIdentity } from './identity.ts';
import type { AgentTrust } from './trust.ts';

/** Brings devices behind the gateway what is outstanding for them at the server: upgrades and orders to wipe (R96). The server is asked for each device; a wire is
 *  opened only when there is something. A body is fetched once for all devices of a release, a trailer for each. */

export type RelayParts = {
  readonly identity: () => AgentIdentity;
  readonly trust: AgentTrust;
  readonly clock: AgentClock;
  readonly server: string;
  /** UID → `host:port` or the path of a serial device. */
  readonly devices: ReadonlyMap<string, string>;
  /** One at a time on each wire. */
  readonly onWire: <T>(uid: string, work: () => Promise<T>) => Promise<T>;
  readonly tell: (event: { readonly event: string; readonly [field: string]: string | number | boolean }) => void;
};

const askEveryMs = 5_000;
/** Before a device that failed is tried again; doubled each time. */
const firstPauseMs = 5_000;
const maxPauseMs = 5 * minuteMs;
/** Bodies that are kept. */
const maxBodiesBytes = 8 * 1024 * 1024;

export function startRelay(parts: RelayParts): Closable {
  const { devices, tell } = parts;
  const bodies = lru<Uint8Array>(maxBodiesBytes, body => body.length);
  const pauses = new Map<string, { readonly ms: number; readonly untilMs: number }>();

  const body = async (sha256: string, fetch: () => Promise<Uint8Array>): Promise<Uint8Array> => {
    const known = bodies.get(sha256);
    if (known !== undefined) return known;
    const fetched = await fetch();
    if (sha256Hex(fetched) !== sha256) throw new NusecError('IMAGE_REFUSED', 'the image is not the one that was announced');
    bodies.set(sha256, fetched);
    return fetched;
  };
  const serveAll = async (stop: AbortSignal): Promise<void> => {
    const identity = parts.identity();
    const { server: baseUrl, trust, clock } = parts;
    const known = { bundle: trust.bundle(), serverTime: clock.serverTime() };
    const http = createHttpClient({ baseUrl, ...identity.tls, ...known, isRepeatable: true });
    const messenger = {
      server: createBridgeServer(http, 'gateway'),
      slotUnder: (root: Uint8Array) => slotUnder(identity, root),
      jobKeys: async () => signingKeysOf(parts.trust.bundle(), 'otaJob'),
      body,
      report: () => undefined,
    };
    const serve = async (uid: string, address: string): Promise<void> => {
      const { isOrdered, job } = await messenger.server.look(uid);
      if (!isOrdered && job === undefined) return;
      const { outcome, version } = await parts.onWire(uid, async () => {
        const client = createMctpClient(await openByteLink(address));
        return serveWire(messenger, client).finally(() => client.close());
      });
      tell({ event: outcome, uid, ...(version !== undefined && { version }) });
    };
    try {
      for (const [uid, address] of devices) {
        const before = pauses.get(uid);
        if (stop.aborted || (before !== undefined && before.untilMs > performance.now())) continue;
        await serve(uid, address).then(
          () => pauses.delete(uid),
          error => {
            const ms = Math.min((before?.ms ?? firstPauseMs / 2) * 2, maxPauseMs);
            pauses.set(uid, { ms, untilMs: performance.now() + ms });
            if (!(error instanceof NusecError)) throw error;
            tell({ event: 'relay-failed', uid, code: error.code, text: error.message });
          },
        );
      }
    } finally {
      http.close();
    }
  };
  return repeatedly(askEveryMs, serveAll, error => tell({ event: 'fault', text: error instanceof Error ? error.message : 'unknown' }));
}

/** Our chain for a device that trusts our root. @throws NusecError CHAIN_REFUSED for another one */
async function slotUnder({ root, tls, sign }: AgentIdentity, wanted: Uint8Array): Promise<CertSlot> {
  const [leaf, ica] = fromPem('CERTIFICATE', tls.cert);
  if (!equalBytes(root, wanted) || !leaf || !ica)
    throw new NusecError('CHAIN_REFUSED', 'nothing leads from the root of the device to ours');
  return { certificates: [root, ica, leaf], sign };
}
