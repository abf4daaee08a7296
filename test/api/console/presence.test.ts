import { expect, it } from 'vitest';
import { connections, refused } from '../../../src/api/console/pages/presence.ts';
import type { PresenceReason } from '../../../src/gateway/broker/presence.ts';

/** Why somebody is not connected, for people: in words, with the word that they search for, and the way to the device. */

const at = '2026-12-01T15:41:07.000Z';
const uid = '00112233445566778899aabbccddeeff';

it('says in words why a connection ended, where nothing more is known of it', async () => {
  const note = { at, state: 'disconnected', address: '10.0.0.7', reason: 'KEEP_ALIVE_TIMEOUT' } as const;
  const page = String(await connections({ connected: false, connects: 1, refusals: 0, recent: [note] }));
  expect(page).toContain('nothing was heard of it: look at its power and the network <code class="none">KEEP_ALIVE_TIMEOUT</code>');
  const detailed = String(await connections({ connected: false, connects: 1, refusals: 0, recent: [{ ...note, detail: 'for 90 s' }] }));
  expect(detailed).toContain('for 90 s <code class="none">KEEP_ALIVE_TIMEOUT</code>');
});

it('has words for every reason', async () => {
  const all: Readonly<Record<PresenceReason, true>> = {
    AUTH_ERROR: true,
    CLIENT_INITIATED: true,
    CONNECTION_LOST: true,
    DUPLICATE_CLIENTID: true,
    FORBIDDEN: true,
    KEEP_ALIVE_TIMEOUT: true,
    THROTTLED: true,
    REVOKED: true,
    SLOW_CONSUMER: true,
    PACKET_TOO_LARGE: true,
    SERVER_FAULT: true,
    SERVER_SHUTDOWN: true,
  };
  const recent = Object.keys(all).map(reason => ({ at, state: 'disconnected', address: '10.0.0.7', reason }) as const);
  const page = String(await connections({ connected: false, connects: 1, refusals: 0, recent }));
  expect(page.match(/[a-z] <code class="none">[A-Z_]+<\/code>/g)).toHaveLength(recent.length);
});

it('leads from a refusal to its device; gateways and strangers have no page', async () => {
  const refusal = { at, state: 'refused', address: '10.0.0.7', reason: 'THROTTLED', detail: 'too many connects' } as const;
  const page = String(await refused([uid, 'gateway-hall-7', null].map(clientId => ({ ...refusal, clientId }))));
  expect(page.match(/href="[^"]+"/g)).toEqual([`href="/console/fleet/${uid}"`]);
  for (const who of ['gateway-hall-7', 'unknown']) expect(page).toContain(who);
});
