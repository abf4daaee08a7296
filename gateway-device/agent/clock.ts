import { join } from 'node:path';
import type { TrustBundle } from '../../src/production/trustBundle.ts';
import { hourMs } from '../../src/times.ts';
import { createHttpClient } from '../link/httpClient.ts';
import { createServerTime, type ServerTime } from '../link/serverTime.ts';
import { keepNumber, numberIn } from './numberFile.ts';

/** The clock of a gateway: the server's, asked for over a connection that its key has proven. The one of the machine may be years off, as one without
 *  a battery is after each start, and must neither keep the gateway away nor speak against a device. */
export type AgentClock = {
  readonly nowMs: () => number;
  /** For `createHttpClient`. */
  readonly serverTime: () => ServerTime;
  /** Asks anew: a machine that was suspended does not know for how long. @throws NusecError SERVER_UNREACHABLE */
  learn(bundle: TrustBundle): Promise<void>;
};

const fileName = 'newest-time';

/** The newest time is kept, to the hour: an impostor with an expired key of the server does not turn it back.
 *  @throws NusecError STORE_DAMAGED */
export function openClock(dataDir: string, server: string, ca: () => string): AgentClock {
  const file = join(dataDir, fileName);
  let newestMs = numberIn(file, 'remove it') ?? 0;
  const fresh = (): ServerTime =>
    createServerTime(
      () => newestMs,
      toldMs => {
        if (toldMs <= newestMs + hourMs) return;
        newestMs = Math.floor(toldMs);
        keepNumber(file, newestMs);
      },
    );
  let current = fresh();
  return {
    nowMs: () => current.nowMs() ?? Date.now(),
    serverTime: () => current,
    async learn(bundle) {
      const serverTime = fresh();
      const http = createHttpClient({ baseUrl: server, ca: ca(), serverTime, bundle });
      try {
        await http.bytes('GET', '/v1/trust-bundle');
        current = serverTime;
      } finally {
        http.close();
      }
    },
  };
}
