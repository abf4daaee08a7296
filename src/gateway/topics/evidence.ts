import { decodeAs } from '../../cbor/schema.ts';
import { NusecError } from '../../errors.ts';
import { evidenceMessage } from '../../mqttMessages.ts';
import type { Handler } from '../broker/handler.ts';
import type { Channel } from '../reach/channel.ts';

/** {uid}/up/evidence: a gateway brings what a device behind it signed. That the device is attached to it was checked with the topic (T20). */
export const evidenceHandler =
  (channel: Pick<Channel, 'settle'>): Handler =>
  async ({ uid, identity, payload }) => {
    if (identity.kind !== 'gateway') throw new NusecError('TOPIC_FORBIDDEN', 'evidence is brought by a gateway');
    const { cid, ...answer } = decodeAs(evidenceMessage, payload);
    channel.settle('evidence', `${identity.gatewayId}/${uid}`, cid, answer);
  };
