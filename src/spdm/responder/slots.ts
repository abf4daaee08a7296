import { type CertSlot, chainDigest } from '../certslot.ts';
import { type Exchange, invalidRequest, negotiated } from './state.ts';

/** The responder's certificate slots. */

/** @throws Refusal InvalidRequest for a slot without certificates */
export function slotOf({ settings }: Exchange, slot: number): CertSlot {
  const cert = settings.slots[slot];
  if (!cert) throw invalidRequest();
  return cert;
}

export const chainContext = ({ state }: Exchange) => ({ version: state.version, hash: negotiated(state).hash });

export const chainHash = (exchange: Exchange, cert: CertSlot): Uint8Array => chainDigest(chainContext(exchange), cert);
