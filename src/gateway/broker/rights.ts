import { gatewayClientId, maxWillBytes, willTopic } from '../../mqttTopics.ts';
import type { ConnackRefusal } from './farewell.ts';
import type { Identity } from './identity.ts';
import type { PresenceReason } from './presence.ts';

/** The parts of a CONNECT packet that are judged (MQTT 3.1.1 §3.1). */
export type ConnectRequest = {
  readonly clientId: string;
  readonly clean?: boolean | undefined;
  readonly protocolVersion?: number | undefined;
  /** The highest bit of the protocol level, by which bridges of another broker name themselves. */
  readonly bridgeMode?: boolean | undefined;
  readonly username?: string | undefined;
  readonly password?: Uint8Array | undefined;
  readonly will?:
    | { readonly topic: string; readonly payload: string | Buffer; readonly qos?: number; readonly retain?: boolean }
    | undefined;
};

export type ConnectRefusal = { readonly connack: ConnackRefusal; readonly reason: PresenceReason; readonly detail: string };

/** The client id that belongs to a certificate: nobody else's is accepted. */
export const clientIdOf = (identity: Identity): string => (identity.kind === 'device' ? identity.uid : gatewayClientId(identity.gatewayId));

/** Says why a CONNECT is not accepted, or undefined: MQTT 3.1.1, own client id, clean session, will only on the own lwt topic. */
export function judgeConnect(identity: Identity, packet: ConnectRequest): ConnectRefusal | undefined {
  if (packet.protocolVersion !== 4 || packet.bridgeMode === true) return forbidden('only MQTT 3.1.1', 'version');
  if (packet.clientId !== clientIdOf(identity)) {
    return { connack: 'identifier', reason: 'AUTH_ERROR', detail: 'client id is not the one of the certificate' };
  }
  if (packet.clean !== true) return forbidden('clean session only');
  // [MQTT-3.1.2-22]
  if (packet.password !== undefined && packet.username === undefined) return forbidden('a password without a user name');
  if (packet.will !== undefined && !isPermittedWill(identity, packet.will)) return forbidden('will not permitted');
  return undefined;
}

function isPermittedWill(identity: Identity, will: NonNullable<ConnectRequest['will']>): boolean {
  if (identity.kind !== 'device' || will.topic !== willTopic(identity.uid)) return false;
  return will.retain !== true && (will.qos ?? 0) < 2 && Buffer.byteLength(will.payload) <= maxWillBytes;
}

const forbidden = (detail: string, connack: ConnackRefusal = 'notAuthorized'): ConnectRefusal => ({ connack, reason: 'FORBIDDEN', detail });
