import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { eatAnswer, eatQuestion } from '../../../src/mqttMessages.ts';
import type { NusecMqttClient } from '../../link/mqttClient.ts';

/** Tokens for the server over dn/eat and up/eat. A repeated question (cid) gets the answer that it got before. */

const cachedReplies = 8;
/** The reason of a device that gives no tokens at all. */
const unsupported = 'unsupported';

/** @param tokenFor undefined for a device without tokens */
export function openEatChannel(
  client: Pick<NusecMqttClient, 'on' | 'publish'>,
  tokenFor: ((nonce: Uint8Array) => Promise<Uint8Array>) | undefined,
): void {
  const replies = new Map<number, Promise<Uint8Array>>();
  const answerTo = async (cid: number, nonce: Uint8Array): Promise<Uint8Array> =>
    encodeAs(eatAnswer, tokenFor ? { cid, token: await tokenFor(nonce) } : { cid, token: null, error: unsupported });
  const answer = async (payload: Uint8Array): Promise<void> => {
    const { cid, nonce } = decodeAs(eatQuestion, payload);
    const reply = replies.get(cid) ?? answerTo(cid, nonce);
    replies.set(cid, reply);
    for (const old of [...replies.keys()].slice(0, -cachedReplies)) replies.delete(old);
    await client.publish('eat', await reply);
  };
  // What is no question is not answered, and a lost answer is asked for again.
  client.on('eat', payload => void answer(payload).catch(() => undefined));
}
