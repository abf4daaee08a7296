import { type CertSlot, type CertSlots, chainDigest, slotsFor } from '../certSlot.ts';
import type { KeyUse } from '../messages/digests.ts';
import { type Exchange, invalidRequest, negotiated } from './state.ts';

/** The responder's certificate slots. */

/** @throws Refusal InvalidRequest for a slot without certificates */
export function slotOf(exchange: Exchange, slot: number): CertSlot {
  const cert = slotsOf(exchange)[slot];
  if (!cert) throw invalidRequest();
  return cert;
}

/** The slot that signs. @throws Refusal InvalidRequest also when its key is for other uses, which multi-key connections announce */
export function signerOf(exchange: Exchange, slot: number, use: KeyUse): CertSlot {
  const cert = slotOf(exchange, slot);
  if (negotiated(exchange.state).multiKey && cert.keyPair && (cert.keyPair.keyUsage & use) === 0) throw invalidRequest();
  return cert;
}

export const slotsOf = ({ settings, state }: Exchange): CertSlots => slotsFor(settings.slots, negotiated(state));

export const chainContext = ({ state }: Exchange) => ({ version: state.version, hash: negotiated(state).hash });

export const chainHash = (exchange: Exchange, cert: CertSlot): Uint8Array => chainDigest(chainContext(exchange), cert);
