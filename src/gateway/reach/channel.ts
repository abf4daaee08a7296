import { randomInt } from 'node:crypto';
import { fromHex, toHex } from '../../bytes.ts';
import { type CodecType, encodeAs } from '../../cbor/schema.ts';
import { NusecError } from '../../errors.ts';
import {
  attestMessage,
  certificateMessage,
  type eatAnswer,
  eatQuestion,
  jobMessage,
  orderMessage,
  spdmMessage,
  trustMessage,
  type trustReply,
} from '../../mqttMessages.ts';
import { gatewayClientId } from '../../mqttTopics.ts';
import type { DeviceChannel } from '../../services/field/deviceChannel.ts';
import { within } from '../../within.ts';
import type { Broker } from '../broker/broker.ts';

/** Questions of the server to devices and gateways: a cid of ours, the same bytes again after a time-out, the first answer counts. */

export type ChannelTimes = {
  readonly attemptMs: number;
  readonly attempts: number;
  /** An attestation through a gateway runs over a serial line there. */
  readonly gatewayAttemptMs: number;
};
const defaultChannelTimes: ChannelTimes = { attemptMs: 5_000, attempts: 3, gatewayAttemptMs: 20_000 };

const maxOpenQuestions = 20_000;
const cidBelow = 2 ** 32;

export type Transport = Pick<Broker, 'publish' | 'publishToGateway' | 'isConnected' | 'isOnline'>;
/** Where answers of one kind are expected. */
type Question = 'spdm' | 'eat' | 'order' | 'evidence' | 'trust';

export type Channel = {
  readonly channel: DeviceChannel;
  /** The broker comes after the channel: it needs handlers that need the channel. */
  connect(transport: Transport): void;
  /** An answer has come. `from` is the device, or the gateway that speaks for it. Late and foreign ones are dropped. */
  settle(question: Question, from: string, cid: number, answer: unknown): void;
  /** What has come is no answer to anything. Who waits for one of this peer gets the error. */
  refuse(question: Question, from: string, error: NusecError): void;
  /** A device has said hello: what was asked of it before its restart gets no answer any more. */
  restarted(uid: string): void;
};

/** What a device says that gives no tokens at all. */
const notGiven = 'unsupported';

type EvidenceAnswer = { readonly evidence: Uint8Array | null; readonly verdict: Uint8Array; readonly error?: string };
type OrderAnswer = { readonly receipt: Uint8Array | null; readonly error?: string };

export function createChannel(times: ChannelTimes = defaultChannelTimes): Channel {
  const open = createOpenQuestions();
  let transport: Transport | undefined;
  let lastCid = randomInt(cidBelow);

  const ask = async <T>(question: Question, from: string, send: (cid: number) => Promise<boolean>, attemptMs: number): Promise<T> => {
    lastCid = (lastCid + 1) % cidBelow;
    const cid = lastCid;
    const answer = open.add(`${question} ${from}`, cid);
    try {
      for (let attempt = 0; attempt < times.attempts; attempt += 1) {
        if (!(await send(cid))) throw unreachable(from, 'is not connected');
        const result = await within(answer, attemptMs);
        if (result !== undefined) return result as T;
      }
      throw unreachable(from, `gave no answer in ${times.attempts} attempts`);
    } finally {
      open.remove(`${question} ${from}`, cid);
    }
  };
  const broker = (): Transport => {
    if (transport === undefined) throw new NusecError('DEVICE_UNREACHABLE', 'the MQTT side has not started');
    return transport;
  };

  const channel: DeviceChannel = {
    isConnected: uid => transport?.isOnline(uid) === true,
    isGatewayConnected: gatewayId => transport?.isOnline(gatewayClientId(gatewayId)) === true,
    spdm: (uid, data) => ask('spdm', uid, cid => broker().publish(uid, 'spdm', encodeAs(spdmMessage, { cid, data })), times.attemptMs),
    async eat(uid, nonce) {
      const send = (cid: number) => broker().publish(uid, 'eat', encodeAs(eatQuestion, { cid, nonce }));
      const { token, error = 'no reason given' } = await ask<Omit<CodecType<typeof eatAnswer>, 'cid'>>('eat', uid, send, times.attemptMs);
      if (token !== null) return token;
      if (error === notGiven) throw new NusecError('EVIDENCE_UNSUPPORTED', `${uid} gives no PSA attestation tokens`);
      throw unreachable(uid, `gave no token now: ${error}`);
    },
    async order(uid, order) {
      const send = (cid: number) => broker().publish(uid, 'order', encodeAs(orderMessage, { cid, order }));
      const { receipt, error } = await ask<OrderAnswer>('order', uid, send, times.attemptMs);
      if (receipt === null) throw new NusecError('ORDER_REFUSED', `device ${uid} refuses the order: ${error ?? 'no reason given'}`);
      return receipt;
    },
    async attestThroughGateway(gatewayId, uid, nonce, policy) {
      const message = { uid: fromHex(uid), nonce, ...policy };
      const send = (cid: number) => broker().publishToGateway(gatewayId, 'attest', encodeAs(attestMessage, { cid, ...message }));
      const answer = await ask<EvidenceAnswer>('evidence', `${gatewayId}/${uid}`, send, times.gatewayAttemptMs);
      if (answer.evidence === null && (answer.error === 'SPDM_UNSUPPORTED' || answer.error === 'EVIDENCE_UNSUPPORTED'))
        throw new NusecError(answer.error, `gateway ${gatewayId} says that it does not speak what its line asks for`);
      if (answer.evidence === null) throw unreachable(uid, `did not answer gateway ${gatewayId}: ${silence(answer.error)}`);
      return { evidence: answer.evidence, verdict: answer.verdict };
    },
    async trust(uid, bundle) {
      const send = (cid: number) => broker().publish(uid, 'trust', encodeAs(trustMessage, { cid, bundle }));
      const { cid: _, roots, ...answer } = await ask<CodecType<typeof trustReply>>('trust', uid, send, times.attemptMs);
      return { ...answer, roots: roots.map(toHex) };
    },
    remindOfRenewal: (uid, serialHex) =>
      broker().publish(uid, 'crt', encodeAs(certificateMessage, { chain: null, serial: fromHex(serialHex) })),
    offerJob(uid, job, cid, cancelled) {
      const ended = cancelled === undefined ? {} : { cancelled: fromHex(cancelled) };
      return broker().publish(uid, 'job', encodeAs(jobMessage, { ...(cid !== undefined && { cid }), job, ...ended }));
    },
  };
  return {
    channel,
    connect: given => {
      transport = given;
    },
    settle: (question, from, cid, answer) => open.settle(`${question} ${from}`, cid, answer),
    refuse: (question, from, error) => open.refuse(`${question} ${from}`, () => error),
    restarted(uid) {
      for (const question of ['spdm', 'eat']) open.refuse(`${question} ${uid}`, () => unreachable(uid, 'has restarted'));
    },
  };
}

/** Questions without an answer yet, by kind and peer, then by cid. */
function createOpenQuestions() {
  const byPeer = new Map<string, Map<number, PromiseWithResolvers<unknown>>>();
  let count = 0;
  return {
    add(peer: string, cid: number): Promise<unknown> {
      if (count >= maxOpenQuestions) throw new NusecError('RATE_LIMITED', 'too many questions are open');
      const answer = Promise.withResolvers<unknown>();
      // It may be refused while the question is still on its way, before anybody waits for it.
      answer.promise.catch(() => undefined);
      byPeer.set(peer, (byPeer.get(peer) ?? new Map()).set(cid, answer));
      count += 1;
      return answer.promise;
    },
    remove(peer: string, cid: number): void {
      const questions = byPeer.get(peer);
      if (questions?.delete(cid)) count -= 1;
      if (questions?.size === 0) byPeer.delete(peer);
    },
    settle: (peer: string, cid: number, answer: unknown): void => byPeer.get(peer)?.get(cid)?.resolve(answer),
    refuse(peer: string, why: () => NusecError): void {
      for (const answer of byPeer.get(peer)?.values() ?? []) answer.reject(why());
    },
  };
}

const unreachable = (who: string, what: string): NusecError => new NusecError('DEVICE_UNREACHABLE', `${who} ${what}`);

/** What the codes of a gateway mean for whoever has to go there. */
const ofWires: Readonly<Record<string, string>> = {
  NOT_FOUND: 'it has no wire to this device (nusec gateway run --device UID=ADDRESS)',
  LINK_FAILED: 'its wire to the device does not open, or broke off',
  LINK_TIMEOUT: 'nothing readable comes over its wire: look at the device and its cable',
  MCTP_MALFORMED: 'nothing readable comes over its wire: look at the device and its cable',
  SPDM_BUSY: 'the device is busy',
};

function silence(code = 'no reason given'): string {
  const words = ofWires[code];
  return words === undefined ? code : `${words} (${code})`;
}
