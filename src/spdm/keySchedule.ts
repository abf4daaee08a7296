import { concat, utf8 } from '../bytes.ts';
import { u16 } from './codec.ts';
import { expand, hmac } from './hkdf.ts';
import { hashOf } from './signature.ts';
import type { Aead, HashAlgorithm } from './suite.ts';

/** The key schedule of a session (DSP0274 §12): HKDF (RFC 5869) over the negotiated hash. */

export type Secrets = { readonly request: Uint8Array; readonly response: Uint8Array };
export type HandshakeSecrets = Secrets & { readonly handshake: Uint8Array };
export type DataSecrets = Secrets & { readonly master: Uint8Array; readonly exportMaster: Uint8Array };
export type TrafficKey = { readonly key: Uint8Array; readonly iv: Uint8Array };

/** What every derivation needs of a connection. */
export type ScheduleContext = { readonly version: number; readonly hash: HashAlgorithm };

/** @param dheSecret x coordinate of the shared point, or the ML-KEM secret  @param th1 hash of the transcript up to KEY_EXCHANGE_RSP */
export function handshakeSecrets(context: ScheduleContext, dheSecret: Uint8Array, th1: Uint8Array): HandshakeSecrets {
  return fromHandshakeSecret(context, hmac(context.hash, new Uint8Array(context.hash.hashBytes), dheSecret), th1);
}

/** The same from a pre-shared key; since 1.3 the salt is all ones. @param th1 hash of the transcript up to PSK_EXCHANGE_RSP without its verify data */
export function pskHandshakeSecrets(context: ScheduleContext, key: Uint8Array, th1: Uint8Array): HandshakeSecrets {
  const salt = new Uint8Array(context.hash.hashBytes).fill(context.version >= 0x13 ? 0xff : 0);
  return fromHandshakeSecret(context, hmac(context.hash, salt, key), th1);
}

function fromHandshakeSecret(context: ScheduleContext, handshake: Uint8Array, th1: Uint8Array): HandshakeSecrets {
  return {
    handshake,
    request: derive(context, handshake, 'req hs data', th1),
    response: derive(context, handshake, 'rsp hs data', th1),
  };
}

/** @param th2 hash of the transcript up to FINISH_RSP */
export function dataSecrets(context: ScheduleContext, handshake: Uint8Array, th2: Uint8Array): DataSecrets {
  const { hash } = context;
  const salt = derive(context, handshake, 'derived', none);
  const master = hmac(hash, salt, new Uint8Array(hash.hashBytes));
  return {
    master,
    request: derive(context, master, 'req app data', th2),
    response: derive(context, master, 'rsp app data', th2),
    exportMaster: derive(context, master, 'exp master', th2),
  };
}

/** HMAC(finished key of that side, transcript hash): ResponderVerifyData and RequesterVerifyData. */
export function verifyData(context: ScheduleContext, sideSecret: Uint8Array, transcriptHash: Uint8Array): Uint8Array {
  return hmac(context.hash, finishedKey(context, sideSecret), transcriptHash);
}

export function finishedKey(context: ScheduleContext, sideSecret: Uint8Array): Uint8Array {
  return derive(context, sideSecret, 'finished', none);
}

export function trafficKey(context: ScheduleContext, aead: Aead, sideSecret: Uint8Array): TrafficKey {
  return {
    key: derive(context, sideSecret, 'key', none, aead.keyBytes),
    iv: derive(context, sideSecret, 'iv', none, aead.ivBytes),
  };
}

/** The next secret of one direction after KEY_UPDATE. */
export function updatedSecret(context: ScheduleContext, sideSecret: Uint8Array): Uint8Array {
  return derive(context, sideSecret, 'traffic upd', none);
}

/** ExportMasterSecret of a live session with what is needed to derive from it. Secret: never stored, logged or sent. */
export type ExporterSecret = ScheduleContext & { readonly secret: Uint8Array };

/** A key both ends of a session can derive for another use, such as the encryption of firmware blocks.
 *  @param label names the use, at most 64 characters
 *  @param usage any bytes that bind the key (device, release …); they enter as their hash, so that label and usage cannot run into each other
 *  @returns HKDF-Expand(ExportMasterSecret, BinConcat(length, label, H(usage)), length) */
export function deriveExporterKey(exporter: ExporterSecret, label: string, usage: Uint8Array, lengthBytes: number): Uint8Array {
  return derive(exporter, exporter.secret, label, hashOf(exporter.hash, usage), lengthBytes);
}

/** The start of BinConcat (DSP0274 §12.1), which the context follows: u16 length ‖ "spdm1.2 " with the negotiated minor digit ‖ label. Made once for each. */
function labelled(version: number, lengthBytes: number, label: string): Uint8Array {
  const id = `${version & 0xf} ${lengthBytes} ${label}`;
  const known = labels.get(id) ?? concat(u16(lengthBytes), utf8(`spdm1.${version & 0xf} ${label}`));
  if (labels.size < maxLabels) labels.set(id, known);
  return known;
}

const labels = new Map<string, Uint8Array>();
const maxLabels = 256;
const none = new Uint8Array();

function derive(
  { hash, version }: ScheduleContext,
  secret: Uint8Array,
  label: string,
  transcriptHash: Uint8Array,
  lengthBytes = hash.hashBytes,
): Uint8Array {
  return expand(hash, secret, lengthBytes, labelled(version, lengthBytes, label), transcriptHash);
}
