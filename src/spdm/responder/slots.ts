import { type CertSlot, type CertSlots, chainDigest, slotsFor } from '../certslot.ts';
import { type Exchange, invalidRequest, negotiated } from './state.ts';

/** The responder's certificate slots. */

/** @throws Refusal InvalidRequest for a slot without certificates */
export function slotOf(exchange: Exchange, slot: number): CertSlot {
  const cert = slotsOf(exchange)[slot];
  if (!cert) throw invalidRequest();
  return cert;
}

export const slotsOf = ({ settings, state }: Exchange): CertSlots => slotsFor(settings.slots, negotiated(state));

export const chainContext = ({ state }: Exchange) => ({ version: state.version, hash: negotiated(state).hash });

export const chainHash = (exchange: Exchange, cert: CertSlot): Uint8Array => chainDigest(chainContext(exchange), cert);
