import { encodeCertificateChain } from '../certchain.ts';
import { hashOf } from '../signature.ts';
import { type CertSlot, type Exchange, invalidRequest, negotiated } from './state.ts';

/** The responder's certificate slots. */

/** @throws Refusal InvalidRequest for a slot without certificates */
export function slotOf({ settings }: Exchange, slot: number): CertSlot {
  const cert = settings.slots[slot];
  if (!cert) throw invalidRequest();
  return cert;
}

export function chainHash(exchange: Exchange, cert: CertSlot): Uint8Array {
  return hashOf(negotiated(exchange.state).hash, chainOf(exchange, cert));
}

/** The certificate chain structure of a slot. */
export function chainOf({ state }: Exchange, cert: CertSlot): Uint8Array {
  return encodeCertificateChain(state.version, negotiated(state).hash, cert.certificates);
}

export function provisioned({ settings }: Exchange): readonly (readonly [number, CertSlot])[] {
  return settings.slots.flatMap((cert, slot) => (cert ? [[slot, cert] as const] : []));
}
