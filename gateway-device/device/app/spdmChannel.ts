import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { spdmMessage } from '../../../src/mqttMessages.ts';
import { messageType, requestCode } from '../../../src/spdm/constants.ts';
import type { ExporterSecret } from '../../../src/spdm/keySchedule.ts';
import { decodeTyped, encodeTyped } from '../../../src/spdm/transport/mqtt.ts';
import type { StageContext } from '../../chip/board.ts';
import { spdmResponder } from '../../chip/messages.ts';
import type { NusecMqttClient } from '../../link/mqttClient.ts';

/** SPDM with the server over dn/spdm and up/spdm: the device is the responder. MQTT may deliver a message twice, so a repeated cid gets the
 *  answer it got before, and no record is opened twice. */

const cachedReplies = 8;
/** Sessions whose secrets are kept for block keys: the present one and the one before, for blocks that are on their way. */
const keptSecrets = 2;

export type SpdmChannel = {
  /** Secrets of the last sessions, newest first; empty before the first one. */
  readonly secrets: () => readonly ExporterSecret[];
  /** Called each time the server has set up a session. */
  readonly onSession: (listener: () => void) => void;
};

/** Of a device that does not speak SPDM. */
export const noSpdm: SpdmChannel = { secrets: () => [], onSession: () => undefined };

export function openSpdmChannel(context: StageContext, client: Pick<NusecMqttClient, 'on' | 'publish'>): SpdmChannel {
  const responder = spdmResponder(context);
  const replies = new Map<number, Uint8Array>();
  const listeners: (() => void)[] = [];
  let secrets: readonly ExporterSecret[] = [];
  let knownSession: number | undefined;
  /** What was begun before this start is not answered: to the server it looks like a lost connection, not like a refusal. */
  let isOpen = false;
  let turn: Promise<void> = Promise.resolve();

  /** A session serves to derive the key from; the secret outlives its END_SESSION here. */
  const noteSession = (): void => {
    const sessionId = responder.sessionId();
    if (sessionId !== undefined && sessionId !== knownSession) {
      secrets = [responder.exporterSecret(), ...secrets].slice(0, keptSecrets);
      for (const listener of listeners) listener();
    }
    knownSession = sessionId;
  };
  const answer = async (payload: Uint8Array): Promise<void> => {
    const { cid, data } = decodeAs(spdmMessage, payload);
    const cached = replies.get(cid);
    const reply = cached ?? (await work(data));
    if (!reply) return;
    replies.set(cid, reply);
    for (const old of [...replies.keys()].slice(0, -cachedReplies)) replies.delete(old);
    await client.publish('spdm', encodeAs(spdmMessage, { cid, data: reply }));
  };
  const work = async (data: Uint8Array): Promise<Uint8Array | undefined> => {
    isOpen ||= isGetVersion(data);
    if (!isOpen) return undefined;
    const reply = await responder.handle(decodeTyped(data));
    noteSession();
    return reply && encodeTyped(reply);
  };
  client.on('spdm', payload => {
    // What is no message is not answered, and a lost answer is asked for again.
    turn = turn.then(() => answer(payload)).catch(() => undefined);
  });
  return { secrets: () => secrets, onSession: listener => void listeners.push(listener) };
}

const isGetVersion = (data: Uint8Array): boolean => data[0] === messageType.spdm && data[2] === requestCode.getVersion;
