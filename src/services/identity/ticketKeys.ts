import { utf8 } from '../../bytes.ts';
import { ensureKey } from '../../keystore/ensureKey.ts';
import { hourMs } from '../../times.ts';
import type { Context } from '../base/context.ts';

/** Keys of the TLS session tickets (RFC 5077 §4), the same in every process of a project and after a restart: so a session resumes wherever the
 *  machine connects. They are derived from a key of the keystore and the present period, so the processes need not talk about them; a new period
 *  is a new key, and tickets of the one before are full handshakes again. Every resumption has a key exchange of its own (TLS 1.3, psk_dhe_ke),
 *  so what was said stays secret when a ticket key becomes known. */

const keyId = 'tls-tickets/1';
const periodMs = 8 * hourMs;
/** What Node takes: name[16] ‖ HMAC key[16] ‖ AES-128 key[16]. */
const ticketKeyBytes = 48;

/** By listener: a ticket of one is none at the other. 48 bytes each. */
export type TicketKeys = { readonly mqtt: Uint8Array; readonly https: Uint8Array };

/** @param apply called now, at each new period, and by `again` */
export async function startTicketKeys(ctx: Context, apply: (keys: TicketKeys) => void) {
  await ensureKey(ctx.keystore, keyId, 'AES-256');
  let keys: TicketKeys;
  let timer: NodeJS.Timeout | undefined;
  const renew = async (): Promise<void> => {
    const now = ctx.clock().getTime();
    const period = Math.floor(now / periodMs);
    timer = setTimeout(() => void renew().catch(onFailure), (period + 1) * periodMs - now).unref();
    keys = { mqtt: await derive(ctx, 'mqtt', period), https: await derive(ctx, 'https', period) };
    apply(keys);
  };
  const onFailure = (error: unknown): void => ctx.log.error({ error: String(error) }, 'the keys of TLS tickets were not renewed');
  await renew();
  return {
    /** After a listener got another certificate. */
    again: (): void => apply(keys),
    close: (): void => clearTimeout(timer),
  };
}

async function derive(ctx: Context, listener: string, period: number): Promise<Uint8Array> {
  const part = (number: number): Promise<Uint8Array> =>
    ctx.keystore.mac(keyId, utf8(`nusec TLS tickets v1 ${listener} ${period} ${number}`));
  const [name, secrets] = [await part(1), await part(2)];
  return Uint8Array.from([...name, ...secrets]).slice(0, ticketKeyBytes);
}
