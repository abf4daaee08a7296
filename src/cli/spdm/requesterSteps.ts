import { createPublicKey, randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { fromHex, toHex, utf8 } from '../../bytes.ts';
import { decodeCertificateChain } from '../../spdm/certChain.ts';
import { slotsFor } from '../../spdm/certSlot.ts';
import { capability, provisionedSlotInAnswer, spdmVersionName } from '../../spdm/constants.ts';
import { createEventInbox } from '../../spdm/eventInbox.ts';
import { type Evidence, verifyEvidence } from '../../spdm/evidence.ts';
import { type DmtfEvent, decodeDmtfEvent } from '../../spdm/messages/events.ts';
import type { KeyPairInfoResponse } from '../../spdm/messages/keyPairInfo.ts';
import { keyUpdateOperation } from '../../spdm/messages/keyUpdate.ts';
import type { Connection } from '../../spdm/requester/connection.ts';
import type { Link } from '../../spdm/requester/delivery.ts';
import { sessionAsk } from '../../spdm/requester/delivery.ts';
import type { OwnEndpoint } from '../../spdm/requester/encapsulated.ts';
import { createEventNotifier, type EventEnds, getSupportedEventTypes, sendEvents, subscribeToEvents } from '../../spdm/requester/events.ts';
import { getDeviceClasses, getKeyPairInfo, getMeasurementLog, setKeyPairInfo } from '../../spdm/requester/inventory.ts';
import { acceptKeyUpdate, keyUpdateRecord } from '../../spdm/requester/keyUpdate.ts';
import { answerQuestions, getCsr, measureInSession, setCertificate, vendorRequest } from '../../spdm/requester/requests.ts';
import { runAttestation, runPskSetup, runSessionSetup } from '../../spdm/requester/run.ts';
import { acceptControl, controlRecord } from '../../spdm/requester/sessionControl.ts';
import type { SpdmSession } from '../../spdm/session.ts';
import { type Identities, responderKey, trustLinks } from './identities.ts';
import { deviceClasses } from './inventory.ts';
import { platformKem } from './kem.ts';
import { algorithmsFrom, type CommonOptions, capabilitiesFrom } from './options.ts';

/** What the command-line requester can do with a responder, step by step. */

export type RequesterOptions = CommonOptions & {
  readonly steps: readonly string[];
  readonly slot: number;
  readonly portionBytes: number;
  readonly hint: string;
  /** The responder has no certificates and is known by its key. */
  readonly knownKey?: boolean;
};

/** Steps by name; those of a session need SESSION or PSK before them. */
export const stepNames = [
  'ATTEST',
  'CHALLENGE',
  'SESSION',
  'PSK',
  'HEARTBEAT',
  'KEY_UPDATE',
  'ENCAP',
  'MEASURE',
  'KEY_PAIRS',
  'ENDPOINT',
  'MEL',
  'EVENTS',
  'NOTIFY',
  'CSR',
  'SET_CERT',
  'VENDOR',
  'APP',
  'END',
] as const;

const openers: readonly string[] = ['SESSION', 'PSK'];
const alone: readonly string[] = ['ATTEST', 'CHALLENGE', ...openers];
/** Signed measurements, and the key that signs them, come with certificates. */
const ofCertificates: readonly string[] = ['MEASURE'];

/** What is wrong with the order of steps, and what to do; undefined when nothing is. */
export function disorderIn(steps: readonly string[]): string | undefined {
  let session: string | undefined;
  for (const step of steps) {
    if (!alone.includes(step) && session === undefined) return `${step} needs a session: put SESSION or PSK before it`;
    if (ofCertificates.includes(step) && session === 'PSK')
      return `${step} needs a session with certificates: put SESSION before it, not PSK`;
    if (openers.includes(step)) session = step;
    else if (alone.includes(step) || step === 'END') session = undefined;
  }
  return undefined;
}

/** Vendors by their IANA enterprise number (DSP0274, registry or standards body ids): 32473, which is there for examples (RFC 5612). */
const ianaRegistry = 4;
const exampleEnterprise = Uint8Array.of(0xd9, 0x7e, 0, 0);

type Session = {
  readonly session: SpdmSession;
  readonly connection: Connection;
  readonly evidence?: Evidence;
  readonly nonce: Uint8Array;
  /** Both ways: a responder that has ours to ask for does so whatever step has it ask. */
  readonly events: Required<EventEnds>;
  /** What it has told. */
  readonly seen: (DmtfEvent | undefined)[];
};
type Run = { readonly options: RequesterOptions; readonly identities: Identities; readonly link: Link; open?: Session };
type Result = Readonly<Record<string, unknown>>;

/** @throws whatever the step throws, and Error for one that needs a session */
export async function runSteps(
  options: RequesterOptions,
  identities: Identities,
  link: Link,
  tell: (result: Result) => void,
): Promise<void> {
  const run: Run = { options, identities, link };
  for (const name of options.steps) tell({ step: name, ...(await steps[name as (typeof stepNames)[number]](run)) });
}

/** Any key: this is a tool for tests of the protocol. */
const trustKey = (spki: Uint8Array) => createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
const random = (length: number): Uint8Array => new Uint8Array(randomBytes(length));
const wait = (delayMs: number): Promise<void> => delay(delayMs);

function identify({ options, identities }: Run) {
  const kem = platformKem();
  return {
    versions: options.versions,
    capabilities: capabilitiesFrom(options),
    algorithms: algorithmsFrom(options),
    slot: options.slot,
    portionBytes: options.portionBytes,
    binding: options.transport === 'tcp' ? ('tcp' as const) : ('mctp' as const),
    randomBytes: random,
    wait,
    trust: trustLinks,
    ownSlots: identities.slots,
    ...(kem ? { kem } : {}),
    ...(options.knownKey ? { publicKey: responderKey(options), trustKey } : {}),
  };
}

async function attest(run: Run, measurements: number | 'none'): Promise<Result> {
  const nonce = random(32);
  const evidence = await runAttestation({ ...identify(run), nonce, measurements }, run.link);
  const verified = await verifyEvidence(evidence, { nonce, trust: trustLinks, trustKey, versions: run.options.versions });
  const { version, slot } = verified;
  return { version: spdmVersionName(version), slot, measurements: verified.measurements.map(({ index }) => index) };
}

async function openSession(run: Run): Promise<Result> {
  const nonce = random(32);
  const established = await runSessionSetup({ ...identify(run), nonce, summaryType: 0 }, run.link);
  run.open = { ...established, nonce, ...eventEnds() };
  const { mutual, heartbeatSeconds, connection } = established;
  return { version: spdmVersionName(connection.version), mutual, heartbeatSeconds };
}

async function openPsk(run: Run): Promise<Result> {
  const established = await runPskSetup({ ...identify(run), psk: fromHex(run.options.psk), hint: utf8(`${run.options.hint}\0`) }, run.link);
  run.open = { ...established, nonce: new Uint8Array(32), ...eventEnds() };
  return { version: spdmVersionName(established.connection.version) };
}

function eventEnds(): Pick<Session, 'events' | 'seen'> {
  const seen: Session['seen'] = [];
  const inbox = createEventInbox(event => seen.push(decodeDmtfEvent(event)));
  return { events: { inbox, notifier: createEventNotifier(['certificateChanged']) }, seen };
}

function opened(run: Run): Session {
  if (!run.open) throw new Error('no session: SESSION or PSK comes first');
  return run.open;
}

async function secured(run: Run, record: Uint8Array): Promise<Uint8Array> {
  return (await run.link({ kind: 'secured', message: record })).message;
}

const asking = (run: Run) => ({ ask: sessionAsk(opened(run).session, run.link), connection: opened(run).connection, wait });

async function control(run: Run, request: 'heartbeat' | 'endSession'): Promise<Result> {
  const { session } = opened(run);
  acceptControl(session, request, await secured(run, controlRecord(session, request)));
  return {};
}

async function updateKeys(run: Run): Promise<Result> {
  const { session } = opened(run);
  for (const operation of [keyUpdateOperation.updateAllKeys, keyUpdateOperation.verifyNewKey]) {
    const update = { operation, tag: random(1)[0]! };
    acceptKeyUpdate(session, update, await secured(run, keyUpdateRecord(session, update)));
  }
  return {};
}

/** 15 is the key that is known without a certificate. */
const signingSlot = ({ options: { knownKey, slot } }: Run): number => (knownKey ? provisionedSlotInAnswer : slot);

async function measure(run: Run): Promise<Result> {
  const { evidence, nonce } = opened(run);
  if (!evidence) throw new Error('measurements are signed in a session with certificates only');
  const measured = await measureInSession(asking(run), evidence, { nonce, slot: signingSlot(run) });
  const { measurements } = await verifyEvidence(measured, { nonce, trust: trustLinks, trustKey, versions: run.options.versions });
  return { measurements: measurements.map(({ index }) => index) };
}

async function installCertificates(run: Run): Promise<Result> {
  const { algorithms } = opened(run).connection;
  const { hash, signature } = algorithms!;
  const [slot] = run.identities.forSignature(signature).slots(hash);
  await setCertificate(asking(run), 1, slot!.certificates);
  return {};
}

/** A request of a vendor's own. The vendor is one that no responder knows, unless it echoes as ours does. */
async function askVendor(run: Run): Promise<Result> {
  const { payload } = await vendorRequest(asking(run), { registry: ianaRegistry, vendorId: exampleEnterprise, payload: utf8('NuSEC') });
  return { answer: toHex(payload) };
}

async function sendApplicationData(run: Run): Promise<Result> {
  const { session } = opened(run);
  const answer = session.open(await secured(run, session.seal(Uint8Array.of(0x01, 0x80, 0x00, 0x02))));
  return { answer: toHex(answer) };
}

/** Each key pair; where they may be changed, the first one is given the uses and slots that it has. */
async function keyPairs(run: Run): Promise<Result> {
  const ask = asking(run);
  const first = await getKeyPairInfo(ask, 1);
  const others: KeyPairInfoResponse[] = [];
  for (let id = 2; id <= first.total; id += 1) others.push(await getKeyPairInfo(ask, id));
  const { keyPairId, usage, slotMask } = first;
  const canChange = ((ask.connection.peer?.flags ?? 0) & capability.setKeyPairInfo) !== 0;
  if (canChange) await setKeyPairInfo(ask, { operation: 'change', keyPairId, usage, slotMask, algorithm: 0, pqcAlgorithm: 0 });
  return {
    keyPairs: [first, ...others].map(pair => ({ id: pair.keyPairId, usage: pair.usage, slotMask: pair.slotMask })),
    changed: canChange,
  };
}

/** What kind of device it is, signed where it can be. */
async function endpoint(run: Run): Promise<Result> {
  const { connection, evidence } = opened(run);
  const isSigned = evidence !== undefined && ((connection.peer?.flags ?? 0) & capability.endpointInfoSigned) !== 0;
  const signed = isSigned ? { slot: signingSlot(run), nonce: random(32), leafKey: leafOf(connection, evidence) } : undefined;
  const classes = await getDeviceClasses(asking(run), signed);
  return { signed: isSigned, classes: classes.map(({ registry, vendorId }) => ({ registry, vendorId: toHex(vendorId) })) };
}

/** What kind of device the requester says it is. */
function ownEndpoint(run: Run): OwnEndpoint {
  const { connection } = opened(run);
  return { info: deviceClasses(), slots: slotsFor(run.identities.slots, connection.algorithms!), randomBytes: random };
}

/** Whatever the responder wants to know. @returns how many questions that were */
function answerAll(run: Run): Promise<number> {
  const { session, events } = opened(run);
  return answerQuestions(asking(run), session, events, ownEndpoint(run));
}

/** Subscribes to every event that there is, and takes in what has happened. */
async function events(run: Run): Promise<Result> {
  const ask = asking(run);
  const groups = await getSupportedEventTypes(ask);
  await subscribeToEvents(ask, groups);
  await answerAll(run);
  return { types: groups.flatMap(({ types }) => types), events: opened(run).seen.splice(0) };
}

/** Lets the responder subscribe to our events, and tells it one. */
async function notify(run: Run): Promise<Result> {
  const ask = asking(run);
  const { notifier } = opened(run).events;
  await answerAll(run);
  const isWanted = notifier.notify({ kind: 'certificateChanged', slots: [0] });
  return { isWanted, sent: await sendEvents(ask, notifier) };
}

function leafOf({ version, algorithms }: Connection, { chain }: Evidence) {
  return trustLinks(decodeCertificateChain(version, algorithms!.hash, chain).certificates);
}

const steps: Readonly<Record<(typeof stepNames)[number], (run: Run) => Promise<Result>>> = {
  ATTEST: run => attest(run, 0xff),
  CHALLENGE: run => attest(run, 'none'),
  SESSION: openSession,
  PSK: openPsk,
  HEARTBEAT: run => control(run, 'heartbeat'),
  KEY_UPDATE: updateKeys,
  ENCAP: async run => ({ answered: await answerAll(run) }),
  MEASURE: measure,
  KEY_PAIRS: keyPairs,
  ENDPOINT: endpoint,
  MEL: async run => ({ entries: (await getMeasurementLog(asking(run))).length }),
  EVENTS: events,
  NOTIFY: notify,
  CSR: async run => ({ csrBytes: (await getCsr(asking(run))).length }),
  SET_CERT: installCertificates,
  VENDOR: askVendor,
  APP: sendApplicationData,
  END: run => control(run, 'endSession'),
};
