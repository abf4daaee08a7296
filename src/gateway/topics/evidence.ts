import { type CodecType, decodeAs } from '../../cbor/schema.ts';
import { NusecError } from '../../errors.ts';
import { evidenceMessage } from '../../mqttMessages.ts';
import type { Handler } from '../broker/handler.ts';
import type { Channel } from '../reach/channel.ts';

/** {uid}/up/evidence: a gateway brings what a device behind it signed. That the device is attached to it was checked with the topic (T20). What cannot be
 *  read answers the question all the same: it says that of the gateway. */
export const evidenceHandler =
  (channel: Pick<Channel, 'settle' | 'refuse'>): Handler =>
  async ({ uid, identity, payload }) => {
    if (identity.kind !== 'gateway') throw new NusecError('TOPIC_FORBIDDEN', 'evidence is brought by a gateway');
    const from = `${identity.gatewayId}/${uid}`;
    let message: CodecType<typeof evidenceMessage>;
    try {
      message = decodeAs(evidenceMessage, payload);
    } catch (error) {
      channel.refuse('evidence', from, new NusecError('EVIDENCE_MALFORMED', `its answer: ${(error as Error).message}`, { cause: error }));
      throw error;
    }
    const { cid, ...answer } = message;
    channel.settle('evidence', from, cid, answer);
  };
