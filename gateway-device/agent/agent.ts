import { toHex } from '../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../src/cbor/schema.ts';
import { type Own, opening, repeatedly } from '../../src/closing.ts';
import { isUnreachable } from '../../src/errors.ts';
import { holdFolder } from '../../src/fileLock.ts';
import { attestMessage, bundleMessage, evidenceMessage } from '../../src/mqttMessages.ts';
import { createHttpClient } from '../link/httpClient.ts';
import { connectMqtt } from '../link/mqttClient.ts';
import { type AgentAnswer, type AttestQuestion, attestDevice } from './attestation.ts';
import { openClock } from './clock.ts';
import { keepIdentity, openIdentity } from './identity.ts';
import { type RelayParts, startRelay } from './relay.ts';
import { renewedIdentity } from './renewal.ts';
import { openSequence } from './sequence.ts';
import { openTrust } from './trust.ts';

/** The gateway agent: connected to the cloud by MQTT as a gateway, to its devices by UART. The cloud names the device to attest and the nonce, and the
 *  agent answers with the evidence and its signed verdict. It asks for what is outstanding for its devices and brings it to them (relay.ts). */

export type AgentOptions = {
  readonly dataDir: string;
  readonly gatewayId: string;
  /** `https://host:port` */
  readonly server: string;
  readonly mqtt: { readonly host: string; readonly port: number };
  /** Name in the server's certificate. */
  readonly servername: string;
} & Pick<RelayParts, 'devices' | 'tell'>;

export type Agent = { connected(): Promise<void>; close(): Promise<void> };

const bundleRefreshMs = 3_600_000;
/** Answers kept for questions that come twice. */
const keptAnswers = 128;
const maxUnderWay = 64;
/** Of an answer whose connection was lost. */
const maxRepeats = 3;
const renewalCheckMs = 3_600_000;

/** A connection that the server ends before it has begun, by the certificate that this folder has. */
const refusedAdvice = (dataDir: string, gatewayId: string): string =>
  `the server does not accept the certificate in ${dataDir}; it may be on hold, revoked, or replaced by a later one (nusec gateway presence ${gatewayId}). To enrol this machine again, empty that folder and start with the token of a person`;

/** @throws NusecError NOT_FOUND before enrolment, FOLDER_IN_USE, STORE_DAMAGED, SERVER_UNREACHABLE, COSE_SIGNATURE (trust bundle of another root) */
export const startAgent = (options: AgentOptions): Promise<Agent> => opening(own => openAgent(own, options));

async function openAgent(own: Own, options: AgentOptions): Promise<Omit<Agent, 'close'>> {
  const { dataDir, gatewayId, server, mqtt, servername, devices, tell } = options;
  own('folder', holdFolder(dataDir));
  let identity = openIdentity(dataDir, gatewayId);
  const clock = openClock(dataDir, server, () => identity.tls.ca);
  const trust = await openTrust({ identity: () => identity, server, clock, servername });
  const who = { kind: 'gateway', gatewayId } as const;
  const fault = (error: unknown): void => tell({ event: 'fault', text: error instanceof Error ? error.message : 'unknown' });
  let lastFailure: string | undefined;
  /** Why it is not connected, once for each reason. */
  const onOffline = ({ message }: Error, isRefused: boolean): void => {
    const text = isRefused ? `${message}: ${refusedAdvice(dataDir, gatewayId)}` : message;
    if (text !== lastFailure) tell({ event: isRefused ? 'refused' : 'unreachable', text });
    lastFailure = text;
  };
  let wasOnline = false;
  const onOnline = (): void => {
    lastFailure = undefined;
    if (wasOnline) void clock.learn(trust.bundle()).catch(error => isUnreachable(error) || fault(error));
    wasOnline = true;
  };
  const link = { ...mqtt, servername, identity: who, tls: identity.tls, serverTrust: trust.server };
  const client = own('MQTT connection', connectMqtt({ ...link, onOnline, onOffline }));
  const answers = new Map<number, Promise<AgentAnswer>>();
  const parts = {
    get identity() {
      return identity;
    },
    trust,
    clock,
    nextSequence: openSequence(dataDir, clock.nowMs()),
  };

  const wires = new Map<string, Promise<unknown>>();
  const onWire = <T>(uid: string, work: () => Promise<T>): Promise<T> => {
    const done = (wires.get(uid) ?? Promise.resolve()).then(work);
    wires.set(
      uid,
      done.catch(() => undefined),
    );
    return done;
  };
  own('relay', startRelay({ identity: () => identity, trust, clock, server, devices, onWire, tell }));

  const answerTo = (cid: number, question: AttestQuestion): Promise<AgentAnswer> => {
    const { uid } = question;
    const known = answers.get(cid);
    if (known !== undefined) return known;
    const fresh = onWire(uid, () => attestDevice(parts, question, devices.get(uid)));
    answers.set(cid, fresh);
    for (const old of [...answers.keys()].slice(0, -keptAnswers)) answers.delete(old);
    return fresh;
  };
  let underWay = 0;
  let delivering: Promise<void> = Promise.resolve();
  /** One answer after the other, because their sequence rises; each until the server has it, on whatever connection there is. */
  const deliver = (uid: string, answer: Uint8Array): Promise<void> => {
    const send = async (attemptsLeft: number): Promise<void> => {
      await client.connected();
      await client.publish('evidence', answer, { uid }).catch(error => {
        if (attemptsLeft === 0) throw error;
        return send(attemptsLeft - 1);
      });
    };
    const sent = delivering.then(() => send(maxRepeats));
    delivering = sent.catch(() => undefined);
    return sent;
  };
  const serve = async (payload: Uint8Array): Promise<void> => {
    const { cid, ...question } = decodeAs(attestMessage, payload);
    const uid = toHex(question.uid);
    const { evidence, verdict, error } = await answerTo(cid, { ...question, uid });
    await deliver(uid, encodeAs(evidenceMessage, { cid, evidence, verdict, ...(error !== undefined && { error }) }));
    tell({ event: 'attested', uid, ...(error !== undefined && { error }) });
  };
  client.on('attest', payload => {
    if (underWay >= maxUnderWay) return;
    underWay += 1;
    serve(payload)
      .catch(fault)
      .finally(() => {
        underWay -= 1;
      });
  });
  let toldVersion = 0;
  const follow = async (payload: Uint8Array): Promise<void> => {
    const pushed = decodeAs(bundleMessage, payload);
    await trust.apply(pushed);
    const { version } = trust.bundle();
    tell({ event: 'trust', version, revoked: pushed.revoked.length });
    if (version === toldVersion) return;
    const http = createHttpClient({ baseUrl: server, ...identity.tls, bundle: trust.bundle(), serverTime: clock.serverTime() });
    try {
      await http.json('POST', `/v1/gateways/${gatewayId}/trust-bundle`, { version });
      toldVersion = version;
    } finally {
      http.close();
    }
  };
  // One after the other: the last one counts.
  let following: Promise<void> = Promise.resolve();
  client.on('bundle', payload => {
    following = following.then(() => follow(payload)).catch(fault);
  });
  // Not waited for at the end: the server may be the one that does not answer.
  own(
    'trust refresh',
    repeatedly(bundleRefreshMs, async () => void trust.refresh().catch(fault), fault),
  );
  /** The certificate that was, stays until the server has accepted the next one. */
  const renew = async (): Promise<void> => {
    await client.connected();
    const next = await renewedIdentity({ identity, trust, clock, server });
    if (next === undefined) return;
    // As soon as the server has accepted the next one, the present one ends: a cut in between must not leave that alone in the file.
    keepIdentity(dataDir, next);
    await client.switchTls(next.tls).catch(error => {
      keepIdentity(dataDir, identity);
      throw error;
    });
    identity = next;
    tell({ event: 'renewed', gateway: gatewayId });
  };
  let renewing: Promise<void> = renew().catch(fault);
  const renewAgain = async (): Promise<void> => {
    renewing = renewing.then(renew).catch(fault);
  };
  own('renewal', repeatedly(renewalCheckMs, renewAgain, fault));
  return { connected: client.connected };
}
