import { equalBytes } from '../../bytes.ts';
import { type CodecType, decodeAs, encodeAs } from '../../cbor/schema.ts';
import { type Own, opening } from '../../closing.ts';
import { NusecError } from '../../errors.ts';
import { eatAnswer, eatQuestion, orderReply, spdmMessage } from '../../mqttMessages.ts';
import type { DownFamily } from '../../mqttTopics.ts';
import { parseCertificate } from '../../pki/parse.ts';
import type { Wire } from '../../spdm/constants.ts';
import { decodeTyped, encodeTyped } from '../../spdm/transport/mqtt.ts';
import { within } from '../../within.ts';
import { createBroker } from '../broker/broker.ts';
import type { Handlers, UpMessage } from '../broker/handler.ts';
import type { PresenceEvent } from '../broker/presence.ts';
import type { CheckPki } from './testPki.ts';

/** A broker with one device, which plays the server's part: what comes is kept until somebody waits for it. */

export type Heard =
  | { readonly kind: 'presence'; readonly event: PresenceEvent }
  | { readonly kind: 'message'; readonly message: UpMessage };
export type Bench = Awaited<ReturnType<typeof openBench>>;

const maxHeard = 10_000;
const graceMs = 200;

/** @throws NusecError as `listenOn` */
export const openBench = (pki: CheckPki, place: { readonly host: string; readonly port: number }) =>
  opening(own => openParts(own, pki, place));

async function openParts(own: Own, pki: CheckPki, place: { readonly host: string; readonly port: number }) {
  const heard: Heard[] = [];
  const waiting = new Set<() => void>();
  const hear = (one: Heard): void => {
    heard.push(one);
    if (heard.length > maxHeard) heard.shift();
    for (const wake of waiting) wake();
  };
  let failing = 0;
  let cid = 0x1000;
  const take = async (message: UpMessage): Promise<void> => {
    if (message.family === 'hello' && failing > 0) {
      failing -= 1;
      throw new NusecError('STORE_UNAVAILABLE', 'the conformance check does not take this one');
    }
    hear({ kind: 'message', message });
  };
  const handlers: Handlers = { hello: take, spdm: take, eat: take, job: take, ota: take, order: take, csr: take, trust: take, lwt: take };
  const broker = own(
    'broker',
    await createBroker({
      tls: { key: pki.server.key, cert: pki.server.cert, ca: pki.rootPem },
      trust: { checkClient: leaf => identityOf(pki, leaf) },
      isRevoked: () => false,
      isAttached: () => false,
      handlers,
      onPresence: event => hear({ kind: 'presence', event }),
      onAlarm: () => undefined,
      limits: { closeGraceMs: graceMs },
      now: Date.now,
    }),
  );
  const port = await broker.listen({ ...place, option: '--port' });

  /** What comes from now on, or has come since `from`, and fits. */
  const next = async <T>(fits: (one: Heard) => T | undefined, waitMs: number, from = heard.length): Promise<T | undefined> => {
    const endMs = performance.now() + waitMs;
    for (let at = from; ; ) {
      for (; at < heard.length; at += 1) {
        const found = fits(heard[at] as Heard);
        if (found !== undefined) return found;
      }
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) return undefined;
      const { promise, resolve } = Promise.withResolvers<true>();
      const wake = (): void => resolve(true);
      waiting.add(wake);
      await within(promise, leftMs);
      waiting.delete(wake);
    }
  };
  const send = (family: DownFamily, payload: Uint8Array): Promise<boolean> => broker.publish(pki.uid, family, payload);
  const eatAnswerTo = (mine: number) => (one: Heard) => {
    if (one.kind !== 'message' || one.message.family !== 'eat') return undefined;
    const answer = decodeAs(eatAnswer, one.message.payload);
    return answer.cid === mine ? answer : undefined;
  };
  const spdmAnswer = (mine: number) => (one: Heard) => {
    if (one.kind !== 'message' || one.message.family !== 'spdm') return undefined;
    const message = decodeAs(spdmMessage, one.message.payload);
    return message.cid === mine ? message.data : undefined;
  };

  return {
    port,
    next,
    send,
    /** How much was heard, for `next`. */
    mark: () => heard.length,
    isOnline: (): boolean => broker.isOnline(pki.uid),
    stats: broker.stats,
    cut: (): void => void broker.disconnect(pki.uid, 'SERVER_SHUTDOWN'),
    /** The next hello gets no PUBACK. */
    failHello(): void {
      failing = 1;
    },
    nextCid: (): number => {
      cid += 1;
      return cid;
    },
    /** One SPDM message there and back, again with the same cid when no answer comes. @throws NusecError DEVICE_UNREACHABLE */
    async spdm(wire: Wire, waitMs: number, mine: number): Promise<Wire> {
      const payload = encodeAs(spdmMessage, { cid: mine, data: encodeTyped(wire) });
      for (let tries = 0; tries < 3; tries += 1) {
        const from = heard.length;
        await send('spdm', payload);
        const answer = await next(spdmAnswer(mine), waitMs, from);
        if (answer !== undefined) return decodeTyped(answer);
      }
      throw new NusecError('DEVICE_UNREACHABLE', `no answer on up/spdm with cid ${mine}, asked three times`);
    },
    /** The answer to a question for a token, asked again with the same cid when none comes. @throws NusecError DEVICE_UNREACHABLE */
    async eat(nonce: Uint8Array, waitMs: number, mine: number): Promise<CodecType<typeof eatAnswer>> {
      for (let tries = 0; tries < 3; tries += 1) {
        const from = heard.length;
        await send('eat', encodeAs(eatQuestion, { cid: mine, nonce }));
        const answer = await next(eatAnswerTo(mine), waitMs, from);
        if (answer !== undefined) return answer;
      }
      throw new NusecError('DEVICE_UNREACHABLE', `no answer on up/eat with cid ${mine}, asked three times`);
    },
    /** The answer to an order. */
    orderAnswer: (mine: number, waitMs: number, from: number) =>
      next(
        one => {
          if (one.kind !== 'message' || one.message.family !== 'order') return undefined;
          const answer = decodeAs(orderReply, one.message.payload);
          return answer.cid === mine ? answer : undefined;
        },
        waitMs,
        from,
      ),
  };
}

/** @throws NusecError CHAIN_REFUSED */
function identityOf(pki: CheckPki, leaf: Uint8Array | undefined) {
  const own = pki.deviceChain.at(-1);
  if (leaf === undefined || own === undefined || !equalBytes(new Uint8Array(leaf), own))
    throw new NusecError('CHAIN_REFUSED', 'not the certificate of this check: flash device.key and device.pem of its folder');
  return { kind: 'device' as const, uid: pki.uid, serialHex: parseCertificate(own).serialHex, certificateSha256: '' };
}
