import { decodeAs } from '../../cbor/schema.ts';
import { trustReply } from '../../mqttMessages.ts';
import type { Handler } from '../broker/handler.ts';
import type { Channel } from '../reach/channel.ts';

/** up/trust: which trust bundle the device trusts now, in answer to dn/trust. */
export const trustHandler =
  (channel: Pick<Channel, 'settle'>): Handler =>
  async ({ uid, payload }) => {
    const answer = decodeAs(trustReply, payload);
    channel.settle('trust', uid, answer.cid, answer);
  };
