import { utf8 } from '../../../src/bytes.ts';
import type { Evidence } from '../../../src/spdm/evidence.ts';
import { runAttestation } from '../../../src/spdm/requester/run.ts';
import { responderOf, type Unit } from '../../gateway/fieldKit.ts';
import { makeKey } from '../../pki/support.ts';
import { goodManners } from './fieldBench.ts';
import type { Bend } from './gatewayBench.ts';

/** What a gateway can lie with that has the device on its wire and a key of its own. */

export const flipped = (bytes: Uint8Array, at: number): Uint8Array =>
  bytes.map((byte, i) => (i === (at + bytes.length) % bytes.length ? byte ^ 1 : byte));
export const lastOf = (messages: readonly Uint8Array[], change: (bytes: Uint8Array) => Uint8Array): Uint8Array[] => [
  ...messages.slice(0, -1),
  change(messages.at(-1)!),
];
/** Evidence of this device that is asked for less than everything. */
async function lesser(
  unit: Unit,
  nonce: Uint8Array,
  options: { readonly measurements?: number | 'none'; readonly raw?: boolean },
): Promise<Evidence> {
  const responder = responderOf(unit, goodManners(unit));
  return runAttestation({ nonce, raw: true, ...options }, async wire => (await responder.handle(wire))!);
}

/** Each makes a gateway out of the device that it lies about, and of another device. */
export const lies: Readonly<Record<string, (unit: Unit, other: Unit) => Bend>> = {
  'a bit of CHALLENGE_AUTH flipped':
    () =>
    ({ evidence }) => ({ evidence: { ...evidence, exchange: lastOf(evidence.exchange, b => flipped(b, -1)) } }),
  'a bit of the signature of MEASUREMENTS flipped':
    () =>
    ({ evidence }) => ({
      evidence: { ...evidence, measurements: lastOf(evidence.measurements, b => flipped(b, -1)) },
    }),
  'a measurement changed':
    () =>
    ({ evidence }) => ({
      evidence: { ...evidence, measurements: lastOf(evidence.measurements, b => flipped(b, 20)) },
    }),
  'no measurements':
    unit =>
    async ({ nonce }) => ({ evidence: await lesser(unit, nonce, { measurements: 'none' }) }),
  'one measurement instead of all':
    unit =>
    async ({ nonce }) => ({ evidence: await lesser(unit, nonce, { measurements: 1 }) }),
  'digests instead of raw values':
    unit =>
    async ({ nonce }) => ({ evidence: await lesser(unit, nonce, { raw: false }) }),
  'evidence for a nonce of its own': unit => async () => ({ evidence: await lesser(unit, new Uint8Array(32), {}) }),
  'evidence of another device':
    (_, other) =>
    async ({ nonce }) => ({ evidence: await lesser(other, nonce, {}) }),
  'what is no evidence': () => () => ({ bytes: utf8('all is well') }),
  'a session in the place of an attestation':
    () =>
    ({ evidence }) => ({ evidence: { ...evidence, kind: 'session' } }),
  'a verdict signed by another key': () => () => ({ key: makeKey() }),
  'a verdict for another nonce': () => () => ({ verdict: { nonce: new Uint8Array(16) } }),
  'a verdict about another device': () => () => ({ verdict: { uid: new Uint8Array(16) } }),
  'a verdict about another transcript': () => () => ({ verdict: { transcriptSha256: new Uint8Array(32) } }),
  'a verdict of 1970': () => () => ({ verdict: { timeSeconds: 1 } }),
  'a verdict by no trust bundle': () => () => ({ verdict: { bundleVersion: 0 } }),
  'a verdict by a trust bundle that never was': () => () => ({ verdict: { bundleVersion: 0xffff_ffff } }),
  'a verdict in the name of another gateway': () => () => ({ verdict: { gateway: 'somebody' } }),
};
