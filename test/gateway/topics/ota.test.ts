import { expect, it, vi } from 'vitest';
import { concat, fromHex } from '../../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { NusecError } from '../../../src/errors.ts';
import type { UpMessage } from '../../../src/gateway/broker/handler.ts';
import { otaHandler } from '../../../src/gateway/topics/ota.ts';
import { otaBlock, otaQuestion } from '../../../src/mqttMessages.ts';
import type { SealedBlock } from '../../../src/ota/blocks.ts';
import type { OtaDelivery } from '../../../src/services/firmware/otaDelivery.ts';
import { covers } from '../../support/covers.ts';

const uid = '11'.repeat(16);
const offerId = '22'.repeat(16);
const job = { imageBytes: 100_000, blockBytes: 16_384 };

const deliveryOf = (file: OtaDelivery['file'] = () => ({ job, jobDigest: new Uint8Array(32) }) as never) => ({
  file,
  turn: vi.fn(async (_uid: string, _bytes: number) => true),
  giveBack: vi.fn(),
  block: (_uid: string, _offerId: string, index: number): SealedBlock => [new Uint8Array(4).fill(index), new Uint8Array(16).fill(index)],
});

/** @param takes how many messages the connection takes */
async function ask(delivery: ReturnType<typeof deliveryOf>, first: number, count: number, blockBytes = job.blockBytes, takes = 100) {
  const sent: [string, Uint8Array][] = [];
  const reply: UpMessage['reply'] = async (family, payload) => {
    if (sent.length === takes) return false;
    sent.push([family, concat(...[payload].flat())]);
    return true;
  };
  const payload = encodeAs(otaQuestion, { cid: 7, first, count, blockBytes });
  await otaHandler(delivery)({ identity: {} as never, uid, family: 'ota', path: [offerId], payload, reply });
  return { families: sent.map(([family]) => family), blocks: () => sent.map(([, bytes]) => decodeAs(otaBlock, bytes)) };
}

it('sends the blocks that the job has, for as many bytes as they are (R91)', async () => {
  covers('R91');
  const delivery = deliveryOf();
  const blocks = (await ask(delivery, 5, 8)).blocks();
  expect(blocks.map(({ cid, index, otaJobId }) => [cid, index, otaJobId])).toEqual([5, 6].map(index => [7, index, fromHex(offerId)]));
  expect(delivery.turn.mock.calls).toEqual([[uid, 2 * job.blockBytes]]);
  expect(delivery.giveBack).not.toHaveBeenCalled();
});

it('uses up no bytes of others for what there is no right to', async () => {
  const none = () => {
    throw new NusecError('STATE', 'no delivery of this job is open');
  };
  const [wrong, beyond, other] = [deliveryOf(none), deliveryOf(), deliveryOf()];
  expect((await ask(wrong, 0, 8)).families).toEqual(['err']);
  expect((await ask(beyond, 7, 1)).families).toEqual(['err']);
  expect((await ask(other, 0, 8, 4096)).families).toEqual(['err']);
  for (const { turn } of [wrong, beyond, other]) expect(turn).not.toHaveBeenCalled();
});

it('gives back what nobody takes', async () => {
  const delivery = deliveryOf();
  await ask(delivery, 0, 7, job.blockBytes, 4);
  expect(delivery.giveBack.mock.calls).toEqual([[uid, 3 * job.blockBytes]]);
});
