import { type CertSlot, type CertSlots, chainDigest, slotsFor } from '../certSlot.ts';
import { capability, provisionedSlotInAnswer } from '../constants.ts';
import { slotInAnswer } from '../messages/challenge.ts';
import type { KeyUse } from '../messages/digests.ts';
import { hashOf } from '../signature.ts';
import { type Exchange, invalidRequest, negotiated, ownCapabilities } from './state.ts';

/** The responder's certificate slots. */

/** @throws Refusal InvalidRequest for a slot without certificates */
export function slotOf(exchange: Exchange, slot: number): CertSlot {
  const cert = slotsOf(exchange)[slot];
  if (!cert) throw invalidRequest();
  return cert;
}

/** What signs: the key of a slot, or the one that the requester knows. */
export type Signer = {
  readonly sign: CertSlot['sign'];
  /** Hash of the chain structure, or of the key. */
  readonly digest: Uint8Array;
  /** As answers name it. */
  readonly slot: number;
  readonly isSlot: boolean;
};

/** @param slot as requests name it: 0xFF, in GET_MEASUREMENTS 0xF, for the key without a certificate
 *  @throws Refusal InvalidRequest also when its key is for other uses, which multi-key connections announce */
export function signerOf(exchange: Exchange, slot: number, use: KeyUse): Signer {
  if (slotInAnswer(slot) === provisionedSlotInAnswer) return provisioned(exchange);
  const cert = slotOf(exchange, slot);
  if (negotiated(exchange.state).multiKey && cert.keyPair && (cert.keyPair.keyUsage & use) === 0) throw invalidRequest();
  return { sign: cert.sign, digest: chainHash(exchange, cert), slot, isSlot: true };
}

function provisioned(exchange: Exchange): Signer {
  const { provisionedKey } = exchange.settings;
  if (!provisionedKey || !(ownCapabilities(exchange).flags & capability.publicKeyId)) throw invalidRequest();
  const digest = hashOf(negotiated(exchange.state).hash, provisionedKey.publicKey);
  return { sign: provisionedKey.sign, digest, slot: provisionedSlotInAnswer, isSlot: false };
}

export const slotsOf = ({ settings, state }: Exchange): CertSlots => slotsFor(settings.slots, negotiated(state));

export const chainContext = ({ state }: Exchange) => ({ version: state.version, hash: negotiated(state).hash });

const chainHash = (exchange: Exchange, cert: CertSlot): Uint8Array => chainDigest(chainContext(exchange), cert);
