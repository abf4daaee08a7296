import { fromHex } from '../../bytes.ts';
import { decodeAs } from '../../cbor/schema.ts';
import { NusecError } from '../../errors.ts';
import { otaBlockParts, otaQuestion } from '../../mqttMessages.ts';
import { sealedTogetherBytes } from '../../ota/blocks.ts';
import { blockCount } from '../../ota/otaJob.ts';
import type { OtaDelivery } from '../../services/firmware/otaDelivery.ts';
import type { Handler } from '../broker/handler.ts';
import { decided } from './decided.ts';

/** up/ota/{otaJobId}, QoS 0: a run of blocks is asked for; each that the job has goes out as one dn/ota, QoS 0. What is lost the device asks for again.
 *  Bytes are limited per device and in total: waiting here keeps the device's next question unread. Beyond the longest wait nothing is sent; what there
 *  is no right to, or nobody takes, uses up nothing. */
export const otaHandler = (delivery: Pick<OtaDelivery, 'turn' | 'giveBack' | 'file' | 'block'>): Handler =>
  decided(async ({ uid, path, payload, reply }) => {
    const [offerId = ''] = path;
    if (!/^[0-9a-f]{32}$/.test(offerId)) throw new NusecError('BAD_REQUEST', 'an OTA job id is 32 hex digits');
    const { cid, first, count, blockBytes } = decodeAs(otaQuestion, payload);
    const { job } = delivery.file(uid, offerId);
    const end = Math.min(first + count, blockCount(job));
    if (blockBytes !== job.blockBytes || first >= end) throw new NusecError('BAD_REQUEST', 'the job has no such block');
    let left = (end - first) * blockBytes;
    if (!(await delivery.turn(uid, left))) return;
    const otaJobId = fromHex(offerId);
    const together = Math.max(1, Math.floor(sealedTogetherBytes / blockBytes));
    for (let next = first; next < end; next += together) {
      const indexes = Array.from({ length: Math.min(together, end - next) }, (_, i) => next + i);
      const blocks = indexes.map(index => delivery.block(uid, offerId, index, blockBytes));
      const taken = await Promise.all(
        blocks.map((sealed, i) => reply('ota', otaBlockParts({ cid, otaJobId, index: next + i }, sealed), 0)),
      );
      if (taken.includes(false)) return delivery.giveBack(uid, left);
      left -= indexes.length * blockBytes;
    }
  });
