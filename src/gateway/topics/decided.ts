import { NusecError } from '../../errors.ts';
import { errorReply } from '../broker/errorReply.ts';
import type { Handler } from '../broker/handler.ts';

/** A refusal that is a decision is sent on …/dn/err and the connection stays; an unreadable payload still ends it. */
export const decided =
  (handler: Handler): Handler =>
  async message => {
    try {
      await handler(message);
    } catch (error) {
      if (!(error instanceof NusecError) || error.code === 'CBOR_MALFORMED') throw error;
      await message.reply('err', errorReply(message.payload, error));
    }
  };
