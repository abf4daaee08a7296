import type { Wire } from '../constants.ts';
import type { Evidence } from '../evidence.ts';
import { type AttestationOptions, continueAttestation, startAttestation } from './attestation.ts';
import { unexpected } from './connection.ts';
import { createSessionSetup, type EstablishedSession, type SessionSetupOptions } from './session-setup.ts';

/** The flows driven over a link that answers each message. Time-outs belong to the link. */

export type Link = (wire: Wire) => Promise<Wire>;

/** More messages than any flow needs: a certificate chain in the smallest portions. */
export const maxMessages = 1024;

/** @returns evidence, not yet verified: see `verifyEvidence` */
export async function runAttestation(
  options: Parameters<typeof startAttestation>[0] & Partial<AttestationOptions>,
  link: Link,
): Promise<Evidence> {
  let step = startAttestation(options);
  for (let sent = 0; 'send' in step; sent += 1) {
    if (sent === maxMessages) throw unexpected('too many messages');
    const answer = await link({ kind: 'clear', message: step.send });
    if (answer.kind !== 'clear') throw unexpected('a secured record without a session');
    step = continueAttestation(step.state, answer.message);
  }
  return step.evidence;
}

/** @returns the session with the responder authenticated, and the evidence of that */
export async function runSessionSetup(
  options: Parameters<typeof createSessionSetup>[0] & Partial<SessionSetupOptions>,
  link: Link,
): Promise<EstablishedSession> {
  const setup = createSessionSetup(options);
  let step = setup.start();
  for (let sent = 0; 'send' in step; sent += 1) {
    if (sent === maxMessages) throw unexpected('too many messages');
    step = await setup.receive(await link(step.send));
  }
  return step;
}
