import type { Aedes, AedesPublishPacket } from 'aedes';
import { type AedesInternals, acceptClient } from './accept.ts';
import type { Admission } from './admission.ts';
import { reserveMs } from './bucket.ts';
import { acknowledge } from './egress.ts';
import { routeNothing } from './emitter.ts';
import type { Ingress } from './ingress.ts';
import { reasonOf } from './presence.ts';
import { markEnding, type Session } from './session.ts';
import type { Sessions } from './sessions.ts';

type Hooks = Pick<Aedes, 'preConnect' | 'authorizeSubscribe' | 'authorizeForward' | 'authorizePublish'>;

/** No topic starts with it ([MQTT-1.5.3-2]). */
const noTopic = '\0';

/** What Aedes asks before it does anything. `authorizePublish` runs before PUBACK and before routing: there a message is handled,
 *  and so an acknowledged message is a durable one. */
export function createHooks(aedes: Aedes, sessions: Sessions, admission: Admission, ingress: Ingress, now: () => number): Hooks {
  return {
    preConnect(client, packet, done) {
      const session = sessions.of(client);
      if (session !== undefined && admission.onConnect(session, packet)) {
        acceptClient(aedes as AedesInternals, session.client, packet);
        admission.onReady(session);
      }
      // Whatever became of the packet, Aedes has nothing to do for it.
      done(null, false);
    },
    authorizeSubscribe(client, subscription, done) {
      const session = sessions.of(client) as Session;
      // A connection gets everything below its prefix without asking; asking for exactly that is granted for clients that insist.
      // Anything else is 0x80 in SUBACK (MQTT 3.1.1 §3.9.3). Each filter costs a token like a PUBLISH.
      const granted = subscription.topic === `${session.downPrefix}#` ? subscription : null;
      setTimeout(done, reserveMs(session.publishBucket, now()), null, granted);
    },
    authorizeForward: (client, packet) => (packet.topic.startsWith(sessions.of(client)?.downPrefix ?? noTopic) ? packet : null),
    authorizePublish(client, packet, done) {
      const session = client === null ? undefined : sessions.of(client);
      if (session !== undefined && packet !== session.will) {
        const { qos, messageId } = packet as AedesPublishPacket & { readonly messageId?: number };
        const isDone = (): void => done(null);
        if (qos === 0 || messageId === undefined) return void ingress.receive(session, packet, isDone);
        ingress.receive(session, packet, () => {
          // Aedes would acknowledge it in three pieces, and has nothing else to do for it.
          packet.qos = 0;
          acknowledge(session, messageId, isDone);
        });
        return;
      }
      // Without a session it is a will that another process left in a shared store: that connection is not ours to speak for.
      if (session !== undefined) void ingress.lastWill(session, packet);
      done(null);
    },
  };
}

export function plugIn(aedes: Aedes, sessions: Sessions, admission: Admission, ingress: Ingress, now: () => number): void {
  Object.assign(aedes, createHooks(aedes, sessions, admission, ingress, now), { publish: routeNothing });
  for (const event of ['clientError', 'connectionError'] as const) {
    aedes.on(event, (client, error) => {
      const session = sessions.of(client);
      if (session !== undefined) markEnding(session, reasonOf(error), error.message);
    });
  }
}
