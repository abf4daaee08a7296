import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';

/** Reads of a ClientHello whether it brings a session ticket of ours: a machine that was here before is let in before one that nobody knows. Nothing is
 *  granted for it but a place in the line; TLS judges the ticket itself. */

/** Lengths and offsets in bytes (RFC 8446 §5.1 record, §4 handshake message, §4.1.2 ClientHello). */
const recordHead = 5;
const handshakeHead = 4;
const versionAndRandom = 2 + 32;
/** ExtensionType pre_shared_key (RFC 8446 §4.2). */
const preSharedKey = 41;

/** The first PSK identity (RFC 8446 §4.2.11) of a ClientHello; undefined when there is none, or it cannot be read.
 *  @param record the first TLS record, whole */
export function ticketIn(record: Uint8Array): Uint8Array | undefined {
  try {
    return firstIdentity(record);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function firstIdentity(record: Uint8Array): Uint8Array | undefined {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  let at = recordHead + handshakeHead + versionAndRandom;
  at += 1 + view.getUint8(at);
  at += 2 + view.getUint16(at);
  at += 1 + view.getUint8(at);
  const end = at + 2 + view.getUint16(at);
  at += 2;
  while (at + 4 <= end) {
    const [type, length] = [view.getUint16(at), view.getUint16(at + 2)];
    at += 4;
    if (type !== preSharedKey) {
      at += length;
      continue;
    }
    const identityBytes = view.getUint16(at + 2);
    const identity = record.subarray(at + 4, at + 4 + identityBytes);
    return identity.length === identityBytes ? identity : undefined;
  }
  return undefined;
}

const nameBytes = 16;
const hmacKeyBytes = 16;
const macBytes = 32;

/** What tickets of ours are recognised by. */
export type TicketSeal = { readonly name: Uint8Array; readonly hmacKey: KeyObject };

/** Made once for many tickets: a key object is most of what an HMAC of a ticket costs.
 *  @param ticketKeys name[16] ‖ HMAC key[16] ‖ AES key[16] */
export const ticketSealOf = (ticketKeys: Uint8Array): TicketSeal => ({
  name: ticketKeys.slice(0, nameBytes),
  hmacKey: createSecretKey(ticketKeys.subarray(nameBytes, nameBytes + hmacKeyBytes)),
});

/** Whether a ticket was sealed under these keys: its name, and its HMAC-SHA-256 over all that is before it (RFC 5077 §4). */
export function isOurTicket(ticket: Uint8Array, { name, hmacKey }: TicketSeal): boolean {
  if (ticket.length <= nameBytes + macBytes) return false;
  if (!timingSafeEqual(ticket.subarray(0, nameBytes), name)) return false;
  const mac = createHmac('sha256', hmacKey).update(ticket.subarray(0, -macBytes)).digest();
  return timingSafeEqual(mac, ticket.subarray(-macBytes));
}
