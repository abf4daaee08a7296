import type { Duplex } from 'node:stream';
import type { Aedes } from 'aedes';
import { NusecError } from '../../errors.ts';
import { createKeyedBuckets } from './bucket.ts';
import { type ConnackRefusal, cut, endGently, refuseAtConnect, refusingConnack, sayWhy } from './farewell.ts';
import { type CheckClient, createPeerCheck, type Identity, type Peer } from './identity.ts';
import type { ClientInternals } from './internals.ts';
import type { GatewayLimits } from './limits.ts';
import { guardParser } from './parserGuard.ts';
import { type GatewayAlarm, isProtocolError, type PresenceEvent, type PresenceReason, reasonOf } from './presence.ts';
import { gateReading } from './readGate.ts';
import { type ConnectRefusal, type ConnectRequest, clientIdOf, judgeConnect } from './rights.ts';
import { createSession, markEnding, onlineNow, type Session } from './session.ts';
import type { Sessions } from './sessions.ts';
import { spareMemory } from './spareMemory.ts';

export type AdmissionOptions = {
  readonly trust: { readonly checkClient: CheckClient };
  readonly isRevoked: (serialHex: string) => boolean;
  /** Whether another process has this client connected. */
  readonly isElsewhere: (clientId: string) => boolean;
  readonly onPresence: (event: PresenceEvent) => void;
  readonly onAlarm: (kind: GatewayAlarm['kind'], identity: Identity | null, detail: string) => void;
  readonly limits: GatewayLimits;
  readonly now: () => number;
};

export type Admission = ReturnType<typeof createAdmission>;

/** The way of a connection from the TLS handshake over CONNECT to being online, and its end. Every refusal is reported to `onPresence`. */
export function createAdmission(options: AdmissionOptions, sessions: Sessions, handle: Aedes['handle']) {
  const { limits, now, onPresence, onAlarm } = options;
  const peers = createPeerCheck(options.trust.checkClient, limits.maxCachedCertificates);
  const connects = createKeyedBuckets(limits.connectsPerMinute, limits.connectBurst, limits.maxTrackedIdentities);
  const takeovers = createKeyedBuckets(limits.takeoversPerMinute, limits.takeoverBurst, limits.maxTrackedIdentities);

  const refused = (remoteAddress: string, identity: Identity | null, reason: PresenceReason, detail: string): void =>
    onPresence({ at: now(), identity, remoteAddress, state: 'refused', reason, detail });

  let refusing = 0;
  /** The reason goes out with the CONNACK; that costs a place, of which there are few. */
  const refuseSocket = (socket: Duplex, connack: ConnackRefusal): void => {
    if (socket.destroyed || refusing >= limits.maxRefusing) return void socket.destroy();
    refusing += 1;
    socket.once('close', () => {
      refusing -= 1;
    });
    refuseAtConnect(socket, connack, { timeoutMs: limits.connectTimeoutMs, graceMs: limits.closeGraceMs });
  };
  const connackOf = (reason: PresenceReason): ConnackRefusal => (reason === 'THROTTLED' ? 'throttled' : 'notAuthorized');

  const identify = async (peer: Peer, socket: Duplex): Promise<Identity | undefined> => {
    const refuse = (identity: Identity | null, reason: PresenceReason, detail: string): undefined => {
      refused(peer.remoteAddress, identity, reason, detail);
      refuseSocket(socket, connackOf(reason));
    };
    try {
      const identity = await peers.check(peer, now());
      if (socket.destroyed) return refuse(identity, 'CONNECTION_LOST', 'gone before it was known who it is');
      if (options.isRevoked(identity.serialHex)) {
        onAlarm('REVOKED_CONNECT', identity, 'a revoked certificate was shown');
        return refuse(identity, 'REVOKED', 'certificate revoked');
      }
      if (!connects.tryTake(clientIdOf(identity), now())) return refuse(identity, 'THROTTLED', 'too many connects');
      return identity;
    } catch (error) {
      return refuse(null, 'AUTH_ERROR', error instanceof NusecError ? `${error.code}: ${error.message}` : 'certificate check failed');
    }
  };

  const ended = (session: Session): void => {
    markEnding(session, session.client._disconnected ? 'CLIENT_INITIATED' : 'CONNECTION_LOST', '');
    sessions.remove(session);
    const { reason, detail } = session.ending as NonNullable<Session['ending']>;
    const { identity, peer } = session;
    onPresence({
      at: now(),
      identity,
      remoteAddress: peer.remoteAddress,
      state: session.isOnline ? 'disconnected' : 'refused',
      reason,
      detail,
    });
  };

  const countTakeover = (clientId: string, identity: Identity | undefined): void => {
    if (!takeovers.tryTake(clientId, now()) && identity !== undefined)
      onAlarm('DUPLICATE_IDENTITY', identity, 'connections of one identity keep pushing each other out');
  };
  const takeOver = (session: Session): void => {
    const clientId = clientIdOf(session.identity);
    const old = sessions.online(clientId);
    if (old !== undefined) cut(old, 'DUPLICATE_CLIENTID', takenOver);
    if (old !== undefined || options.isElsewhere(clientId)) countTakeover(clientId, session.identity);
  };

  return {
    refused,
    /** A fault of the server is not charged to the client, which has to connect again for it. */
    giveBack: (session: Session): void => connects.giveBack(clientIdOf(session.identity)),
    /** A client over TLS. What it sends meanwhile waits in the socket. @param socket what it speaks MQTT over */
    async onPeer(peer: Peer, socket: Duplex): Promise<void> {
      socket.on('error', ignore);
      const identity = await identify(peer, socket);
      if (identity === undefined) return;
      const session = createSession(identity, peer, socket, handle(socket) as ClientInternals, limits, now());
      guardParser(session.client, limits, now);
      gateReading(session.client);
      spareMemory(session.client);
      watchEnd(session);
      tellErrors(session, limits.closeGraceMs);
      sessions.add(session);
      socket.once('close', () => ended(session));
    },
    /** Judges CONNECT and clamps its keepalive: 0 would mean a connection that is never missed. An older connection of the same client ends.
     *  @returns whether it is accepted; if not, the client has its CONNACK */
    onConnect(session: Session, packet: ConnectRequest & { keepalive?: number | undefined }): boolean {
      const refusal = options.isRevoked(session.identity.serialHex) ? revoked : judgeConnect(session.identity, packet);
      if (refusal === undefined) {
        session.will = packet.will;
        if (!packet.keepalive || packet.keepalive > limits.maxKeepaliveSeconds) packet.keepalive = limits.maxKeepaliveSeconds;
        takeOver(session);
        return true;
      }
      markEnding(session, refusal.reason, refusal.detail);
      session.socket.write(refusingConnack(refusal.connack, packet.protocolVersion));
      endGently(session.socket, limits.closeGraceMs);
      return false;
    },
    onReady(session: Session): void {
      if (session.client.closed) return;
      session.isOnline = true;
      sessions.setOnline(session);
      session.online.resolve();
      session.online = onlineNow;
      onPresence({ at: now(), identity: session.identity, remoteAddress: session.peer.remoteAddress, state: 'connected' });
    },
    /** The client has connected to another process. That counts here too, and of two connections the earlier one ends; the alarm is raised by the
     *  process that keeps the connection. */
    connectedElsewhere(clientId: string, place: 'taken' | 'kept' | 'moved' | 'new'): void {
      connects.tryTake(clientId, now());
      const mine = sessions.online(clientId);
      if (place !== 'new') countTakeover(clientId, place === 'kept' ? mine?.identity : undefined);
      if (place === 'taken' && mine !== undefined) cut(mine, 'DUPLICATE_CLIENTID', takenOver);
    },
    /** After a change of trust (a CA retired or compromised): every connection is judged again. */
    async recheck(): Promise<void> {
      peers.forget();
      for (const session of sessions.all())
        await peers.check(session.peer, now()).catch(() => cut(session, 'AUTH_ERROR', 'certificate no longer trusted'));
    },
  };
}

const takenOver = 'the same identity connected again';
const revoked: ConnectRefusal = { connack: 'notAuthorized', reason: 'REVOKED', detail: 'certificate revoked' };

/** Aedes watches a connection by `finished` of node:stream, which takes eight listeners, and an error with its stack for each end. */
function watchEnd({ client, socket }: Session): void {
  client._eos();
  client._eos = ignore;
  socket.once('close', () => client.close());
}

/** A client that breaks the protocol gets the reason before its connection ends. All other errors go to Aedes. */
function tellErrors(session: Session, graceMs: number): void {
  const { client, socket } = session;
  client.removeListener('error', client._onError);
  client.on('error', (error: Error) => {
    if (!session.isOnline || !isProtocolError(error)) return client._onError(error);
    sayWhy(session, reasonOf(error), error.message);
    markEnding(session, reasonOf(error), error.message);
    endGently(socket, graceMs);
  });
}

/** Until Aedes listens, errors of a socket are ignored. */
function ignore(): void {}
