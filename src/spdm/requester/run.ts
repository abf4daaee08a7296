import { NusecError } from '../../errors.ts';
import { responseCode, spdmError, type Wire } from '../constants.ts';
import type { Evidence } from '../evidence.ts';
import { type AttestationOptions, continueAttestation, startAttestation } from './attestation.ts';
import { type Connection, unexpected } from './connection.ts';
import { clearAsk, deliver, type Link, type Wait } from './delivery.ts';
import { createPskSetup, type EstablishedPskSession, type PskSetupOptions } from './psk.ts';
import type { SessionSetupOptions } from './sessionOptions.ts';
import { createSessionSetup, type EstablishedSession } from './sessionSetup.ts';

/** The flows driven over a link that answers each message. */

/** How patient a flow is. */
export type Patience = {
  /** Waits out Busy and ResponseNotReady, and starts again after another ERROR that may pass; without it they end the flow. */
  readonly wait?: Wait;
};

/** More messages than any flow needs: a certificate chain in the smallest portions. */
const maxMessages = 1024;
/** How often a flow starts again because the responder lost the connection (RequestResynch), or answered with an ERROR that may pass. */
const maxRestarts = 2;
/** Before a flow starts again after an ERROR. */
const restartDelayMs = 100;

/** @throws SPDM_BUSY when the responder gives no other answer than that it may have one later */
async function persevere<Result>(once: () => Promise<Result | 'resynch'>, wait: Wait | undefined): Promise<Result> {
  for (let restarts = 0; ; restarts += 1) {
    const result = await once().catch(error => {
      if (!wait || !(error instanceof NusecError) || error.code !== 'SPDM_BUSY' || restarts === maxRestarts) throw error;
      return 'busy' as const;
    });
    if (result !== 'resynch' && result !== 'busy') return result;
    if (restarts === maxRestarts) throw new NusecError('SPDM_BUSY', 'responder asks for a new start again and again');
    if (result === 'busy') await wait?.(restartDelayMs * (restarts + 1));
  }
}

/** @returns evidence, not yet verified: see `verifyEvidence`
 *  @throws SPDM_MALFORMED, SPDM_UNEXPECTED, SPDM_UNSUPPORTED, SPDM_BUSY, and what the link throws */
export function runAttestation(
  options: Parameters<typeof startAttestation>[0] & Partial<AttestationOptions> & Patience,
  link: Link,
): Promise<Evidence> {
  return persevere(() => attestOnce(options, link), options.wait);
}

async function attestOnce(options: Parameters<typeof runAttestation>[0], link: Link): Promise<Evidence | 'resynch'> {
  const { wait, ...rest } = options;
  let step = startAttestation(rest);
  for (let sent = 0; 'send' in step; sent += 1) {
    if (sent === maxMessages) throw unexpected('too many messages');
    const answer = await deliver(clearAsk(link), step.state.identification.connection, step.send, wait);
    if (isResynch(answer)) return 'resynch';
    step = continueAttestation(step.state, answer);
  }
  return step.evidence;
}

/** @returns the session with the responder authenticated, and the evidence of that */
export async function runSessionSetup(
  options: Parameters<typeof createSessionSetup>[0] & Partial<SessionSetupOptions> & Patience,
  link: Link,
): Promise<EstablishedSession> {
  const { wait, ...rest } = options;
  return drive(() => createSessionSetup(rest), link, wait);
}

/** @returns the session with both sides proved to know the key */
export async function runPskSetup(
  options: Parameters<typeof createPskSetup>[0] & Partial<PskSetupOptions> & Patience,
  link: Link,
): Promise<EstablishedPskSession> {
  const { wait, ...rest } = options;
  return drive(() => createPskSetup(rest), link, wait);
}

type Step<Result> = { readonly send: Wire } | Result;
type Setup<Result> = {
  start(): Step<Result>;
  receive(wire: Wire): Step<Result> | Promise<Step<Result>>;
  connection(): Connection;
};

const drive = <Result extends object>(create: () => Setup<Result>, link: Link, wait: Wait | undefined): Promise<Result> =>
  persevere(async () => driveOnce(create(), link, wait), wait);

async function driveOnce<Result extends object>(setup: Setup<Result>, link: Link, wait: Wait | undefined): Promise<Result | 'resynch'> {
  let step = setup.start();
  for (let sent = 0; 'send' in step; sent += 1) {
    if (sent === maxMessages) throw unexpected('too many messages');
    const answer = await answerTo(step.send, setup.connection(), link, wait);
    if (answer.kind === 'clear' && isResynch(answer.message)) return 'resynch';
    step = await setup.receive(answer);
  }
  return step;
}

/** What is sealed already goes out as it is: the setup makes chunks of what is too long. */
async function answerTo(wire: Wire, connection: Connection, link: Link, wait: Wait | undefined): Promise<Wire> {
  if (wire.kind === 'secured') return link(wire);
  return { kind: 'clear', message: await deliver(clearAsk(link), connection, wire.message, wait) };
}

const isResynch = (message: Uint8Array): boolean => message[1] === responseCode.error && message[2] === spdmError.requestResynch;
