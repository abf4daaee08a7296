import type { Client } from 'aedes';
import { clientIdOf } from './rights.ts';
import type { Session } from './session.ts';

/** All connections, found by Aedes client, by certificate and, once online, by client id. */
export type Sessions = ReturnType<typeof createSessions>;

/** @param isAttached whether an event attached the device to the gateway */
export function createSessions(isAttached: (gatewayId: string, uid: string) => boolean) {
  const all = new Set<Session>();
  const byClient = new WeakMap<Client, Session>();
  const bySerial = new Map<string, Set<Session>>();
  const online = new Map<string, Session>();
  const gateways = new Set<Session>();
  const heard = new Map<string, Session>();

  const reaches = (session: Session, uid: string): boolean =>
    session.ending === undefined && session.identity.kind === 'gateway' && isAttached(session.identity.gatewayId, uid);

  return {
    all: (): readonly Session[] => [...all],
    of: (client: Client): Session | undefined => byClient.get(client),
    online: (clientId: string): Session | undefined => online.get(clientId),
    withSerial: (serialHex: string): readonly Session[] => [...(bySerial.get(serialHex) ?? [])],
    withClientId: (clientId: string): readonly Session[] => [...all].filter(session => clientIdOf(session.identity) === clientId),
    onlineCount: (): number => online.size,
    add(session: Session): void {
      all.add(session);
      byClient.set(session.client, session);
      const { serialHex } = session.identity;
      bySerial.set(serialHex, (bySerial.get(serialHex) ?? new Set()).add(session));
    },
    setOnline(session: Session): void {
      online.set(clientIdOf(session.identity), session);
      if (session.identity.kind === 'gateway') gateways.add(session);
    },
    /** The device spoke through this gateway: answers and orders go the same way. */
    heard(session: Session, uid: string): void {
      heard.set(uid, session);
    },
    /** The connection a device is reached on: its own, else the gateway it was heard through, else any gateway it is attached to. */
    towards(uid: string): Session | undefined {
      const own = online.get(uid);
      if (own !== undefined) return own;
      const last = heard.get(uid);
      if (last !== undefined && reaches(last, uid)) return last;
      return [...gateways].find(session => reaches(session, uid));
    },
    remove(session: Session): void {
      all.delete(session);
      gateways.delete(session);
      const { serialHex } = session.identity;
      const same = bySerial.get(serialHex);
      if (same?.delete(session) && same.size === 0) bySerial.delete(serialHex);
      if (online.get(clientIdOf(session.identity)) === session) online.delete(clientIdOf(session.identity));
      if (session.identity.kind === 'gateway') forgetHeard(heard, session);
    },
  };
}

function forgetHeard(heard: Map<string, Session>, session: Session): void {
  for (const [uid, via] of heard) if (via === session) heard.delete(uid);
}
