import { ask, type ServerOptions } from './client.ts';
import { print, record, table } from './output.ts';

/** Who is online over MQTT, and who was refused why: for `nusec device presence`, `nusec gateway presence` and `nusec gateway refusals`. */

type Note = { readonly at: string; readonly state: string; readonly address: string; readonly reason?: string; readonly detail?: string };
type Presence = { readonly connected: boolean; readonly connects: number; readonly refusals: number; readonly recent: readonly Note[] };
type Refusals = {
  readonly refusals: readonly (Note & { readonly clientId: string | null })[];
  readonly addresses: readonly {
    readonly address: string;
    readonly connects: number;
    readonly refusals: number;
    readonly lastReason?: string;
  }[];
};

export async function showPresence(options: ServerOptions, path: string): Promise<void> {
  const answer = await ask<Presence>(options, 'GET', path);
  const { recent, ...counts } = answer;
  const rows = recent.map(({ at, state, reason, address, detail }) => [at, state, reason, address, detail]);
  print(options, answer, `${record(counts)}\n\n${table(['AT', 'STATE', 'REASON', 'FROM', 'DETAIL'], rows)}`);
}

export async function showRefusals({
  reason,
  address,
  limit,
  ...options
}: ServerOptions & { reason?: string; address?: string; limit?: string }): Promise<void> {
  const given = Object.entries({ reason, address, limit }).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const answer = await ask<Refusals>(options, 'GET', `/v1/gateway/refusals?${new URLSearchParams(given)}`);
  const rows = answer.refusals.map(({ at, clientId, reason, address, detail }) => [at, clientId, reason, address, detail]);
  const addresses = answer.addresses.map(({ address, refusals, connects, lastReason }) => [address, refusals, connects, lastReason]);
  const lists = [
    table(['AT', 'CLIENT', 'REASON', 'FROM', 'DETAIL'], rows),
    table(['FROM', 'REFUSED', 'CONNECTED', 'LAST REASON'], addresses),
  ];
  print(options, answer, lists.join('\n\n'));
}
