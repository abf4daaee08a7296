import type { Aedes, Client } from 'aedes';
import type { ClientInternals } from './internals.ts';

/** CONNACK 0, no session present (MQTT 3.1.1 §3.2). */
const connack = Buffer.from([0x20, 2, 0, 0]);

type Accepted = { readonly clientId: string; readonly keepalive?: number | undefined; readonly will?: unknown };

/** Aedes with the parts of it that its types do not have. */
export type AedesInternals = Aedes & { registerClient(client: Client): void };

/** Makes a client that was judged a client of Aedes, in one step. Aedes' own way (lib/handlers/connect.js) also looks for the subscriptions, messages and
 *  will of an earlier session, through a pipeline of streams and seven turns of the event loop. Here a session ends with its connection and nothing
 *  is kept, so there is nothing to look for; that was a quarter of what a connect costs beside TLS.
 *  Aedes takes it that its `preConnect` hook has dealt with the packet. */
export function acceptClient(aedes: AedesInternals, client: ClientInternals, { clientId, keepalive = 0, will }: Accepted): void {
  client.id = clientId;
  client.clean = true;
  client.version = 4;
  client.will = will;
  client._authorized = true;
  // [MQTT-3.1.2-24]
  client._keepaliveInterval = keepalive * 1_500 + 1;
  client._keepaliveTimer = setTimeout(() => client.emit('error', new Error('keep alive timeout')), client._keepaliveInterval);
  client.connected = true;
  aedes.registerClient(client);
  client.conn.write(connack);
  client.connackSent = true;
}
