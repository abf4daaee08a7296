import { decodeAs } from '../../cbor/schema.ts';
import { NusecError } from '../../errors.ts';
import { jobQuestion, jobStatusMessage } from '../../mqttMessages.ts';
import type { Context } from '../../services/base/context.ts';
import type { OtaDelivery } from '../../services/firmware/otaDelivery.ts';
import type { Handler } from '../broker/handler.ts';
import { decided } from './decided.ts';

/** up/job/next: is there firmware for me? Answered on dn/job with the same cid, after a session has been set up on dn/spdm and up/spdm: so not
 *  before this handler returns, as messages of one device do not overtake each other.
 *  up/job/{otaJobId}: how far the device is. Answered with PUBACK. */
export const jobHandler = (ctx: Context, delivery: OtaDelivery): Handler =>
  decided(async ({ uid, path, payload }) => {
    const [name = ''] = path;
    if (name === 'next') {
      const { cid } = decodeAs(jobQuestion, payload);
      delivery.deliver(uid, cid).catch(error => ctx.log.info({ uid, error: (error as Error).message }, 'no job was delivered'));
      return;
    }
    if (!otaJobIdForm.test(name)) throw new NusecError('BAD_REQUEST', 'an OTA job id is 32 hex digits');
    const { status, reason } = decodeAs(jobStatusMessage, payload);
    await delivery.reportStatus(uid, name, status, reason);
  });

const otaJobIdForm = /^[0-9a-f]{32}$/;
