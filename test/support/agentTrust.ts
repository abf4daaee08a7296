import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type AgentClock, openClock } from '../../gateway-device/agent/clock.ts';
import { type AgentTrust, openTrust, type TrustParts } from '../../gateway-device/agent/trust.ts';

/** What an agent of a gateway trusts, and its clock, with a new data folder. */
export async function agentTrust(identity: TrustParts['identity'], server: string): Promise<AgentTrust & { readonly clock: AgentClock }> {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-clock-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const clock = openClock(folder, server, () => identity().tls.ca);
  return { ...(await openTrust({ identity, server, servername: 'localhost', clock })), clock };
}
