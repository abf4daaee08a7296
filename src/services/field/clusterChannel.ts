import { gatewayClientId } from '../../mqttTopics.ts';
import type { Peers } from '../processes/peers.ts';
import type { Attestation } from './attestation.ts';
import type { DeviceChannel } from './deviceChannel.ts';

/** The way to machines that are connected to any of the server processes. */

/** What processes ask each other for: the holder of a connection does it. */
export type ConnectionAnswers = Pick<DeviceChannel, 'order' | 'attestThroughGateway'> & Pick<Attestation, 'attest'>;
type Holders = Pick<Peers<ConnectionAnswers>, 'holding'>;

/** Which other process has a device that this one has not. */
export const heldElsewhere =
  <Answers>(own: Pick<DeviceChannel, 'isConnected'>, peers: { holding(uid: string): Answers | undefined }) =>
  (uid: string): Answers | undefined =>
    own.isConnected(uid) ? undefined : peers.holding(uid);

/** SPDM exchanges and jobs stay with the process that has the connection: they are many messages of one state. */
export function createClusterChannel(own: DeviceChannel, peers: Holders): DeviceChannel {
  const elsewhere = heldElsewhere(own, peers);
  return {
    ...own,
    isConnected: uid => own.isConnected(uid) || peers.holding(uid) !== undefined,
    isGatewayConnected: gatewayId => own.isGatewayConnected(gatewayId) || peers.holding(gatewayClientId(gatewayId)) !== undefined,
    order: (uid, order) => (elsewhere(uid) ?? own).order(uid, order),
    attestThroughGateway(gatewayId, uid, nonce, policy) {
      const holder = own.isGatewayConnected(gatewayId) ? undefined : peers.holding(gatewayClientId(gatewayId));
      return (holder ?? own).attestThroughGateway(gatewayId, uid, nonce, policy);
    },
  };
}

/** A device is attested by the process that has its connection, one attestation after the other. When a gateway brought no proof to another process,
 *  that one asks the device itself. */
export function createClusterAttestation(own: Attestation, channel: DeviceChannel, peers: Holders): Attestation {
  const elsewhere = heldElsewhere(channel, peers);
  return {
    ...own,
    async attest(uid, wish = {}) {
      if (wish.via !== 'gateway') return (elsewhere(uid) ?? own).attest(uid, wish);
      const result = await own.attest(uid, wish);
      const holder = result.result === 'unproven' ? elsewhere(uid) : undefined;
      return holder === undefined ? result : holder.attest(uid, { ...wish, via: 'mqtt' });
    },
  };
}
