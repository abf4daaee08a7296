import { NusecError } from '../../errors.ts';
import { mechanism, sessionFlags, userType } from './constants.ts';
import { type Cryptoki, CryptokiError, createBuffer, loadCryptoki, ulongBytes } from './cryptoki.ts';
import { createPool, type SessionPool } from './pool.ts';
import type { Session } from './session.ts';

/** A token that is there and logged in to. Once it is lost, this process has no use any more: see `isLost`. */

export type TokenOptions = {
  /** The vendor's shared library. */
  readonly module: string;
  /** Label of the token, at most 32 bytes. */
  readonly label: string;
  readonly pin: string;
  readonly sessions: number;
};

export type Token = {
  readonly pool: SessionPool;
  /** The mechanism for AES key wrap with padding. */
  readonly keyWrap: number;
  /** @throws CryptokiError when it is gone */
  check(): void;
};

/** CK_TOKEN_INFO: label of 32 bytes first, padded with blanks; 208 bytes in all, and some to spare. */
const labelBytes = 32;
const tokenInfoBytes = 256;
const maxSlots = 64;
const maxMechanisms = 512;
const needed = ['sha256', 'sha256Hmac', 'ecKeyPairGen', 'ecdsa', 'ecdh1Derive', 'aesKeyGen', 'aesCbcEncryptData'] as const;

/** @throws KEYSTORE_UNAVAILABLE (no token of this label), KEYSTORE_WRONG_PASSPHRASE, KEYSTORE_LOCKED (PIN locked),
 *  BAD_REQUEST (no module, or the token lacks a mechanism), CryptokiError */
export async function openToken(options: TokenOptions): Promise<Token> {
  const cryptoki = await loadCryptoki(options.module);
  const slot = findSlot(cryptoki, options.label);
  const keyWrap = keyWrapMechanism(mechanismsOf(cryptoki, slot), options.label);
  const sessions = Array.from({ length: options.sessions }, () => openSession(cryptoki, slot));
  login(sessions[0] as Session, options.pin);
  const check = (): void => cryptoki.call('C_GetTokenInfo', slot, createBuffer(tokenInfoBytes));
  return { pool: createPool(sessions), keyWrap, check };
}

/** Whether an answer says that sessions, handles or the token itself are gone. A fresh process finds out what is there now. */
export const isLost = (error: unknown): boolean => error instanceof CryptokiError && lostAnswers.has(error.returnValue);

/** SLOT_ID_INVALID, GENERAL_ERROR, FUNCTION_FAILED, DEVICE_ERROR, DEVICE_REMOVED, KEY_HANDLE_INVALID, OBJECT_HANDLE_INVALID, SESSION_CLOSED,
 *  SESSION_HANDLE_INVALID, TOKEN_NOT_PRESENT, TOKEN_NOT_RECOGNIZED, USER_NOT_LOGGED_IN, CRYPTOKI_NOT_INITIALIZED. */
const lostAnswers: ReadonlySet<number> = new Set([0x3, 0x5, 0x6, 0x30, 0x32, 0x60, 0x82, 0xb0, 0xb3, 0xe0, 0xe1, 0x101, 0x190]);

function findSlot(cryptoki: Cryptoki, label: string): bigint {
  const [list, count] = [createBuffer(maxSlots * ulongBytes), createBuffer(ulongBytes)];
  count.writeBigUInt64LE(BigInt(maxSlots));
  cryptoki.call('C_GetSlotList', 1, list, count);
  const slots = Array.from({ length: Number(count.readBigUInt64LE()) }, (_, index) => list.readBigUInt64LE(index * ulongBytes));
  const matching = slots.filter(slot => labelOf(cryptoki, slot) === label);
  if (matching.length > 1) throw new NusecError('KEYSTORE_UNAVAILABLE', `there are ${matching.length} tokens with the label ${label}`);
  const [slot] = matching;
  if (slot === undefined) throw new NusecError('KEYSTORE_UNAVAILABLE', `there is no token with the label ${label}`);
  return slot;
}

function labelOf(cryptoki: Cryptoki, slot: bigint): string | undefined {
  const info = createBuffer(tokenInfoBytes);
  try {
    cryptoki.call('C_GetTokenInfo', slot, info);
  } catch (error) {
    if (isLost(error)) return undefined;
    throw error;
  }
  return info.toString('utf8', 0, labelBytes).trimEnd();
}

function mechanismsOf(cryptoki: Cryptoki, slot: bigint): ReadonlySet<number> {
  const [list, count] = [createBuffer(maxMechanisms * ulongBytes), createBuffer(ulongBytes)];
  count.writeBigUInt64LE(BigInt(maxMechanisms));
  cryptoki.call('C_GetMechanismList', slot, list, count);
  return new Set(Array.from({ length: Number(count.readBigUInt64LE()) }, (_, index) => Number(list.readBigUInt64LE(index * ulongBytes))));
}

/** What custody holds stays readable when an update of the token adds the newer name: the older one comes first. */
function keyWrapMechanism(known: ReadonlySet<number>, label: string): number {
  const lacking = needed.find(name => !known.has(mechanism[name]));
  if (lacking) throw new NusecError('BAD_REQUEST', `the token ${label} lacks the mechanism ${lacking}`);
  const wrap = [mechanism.aesKeyWrapPad, mechanism.aesKeyWrapKwp].find(type => known.has(type));
  if (wrap === undefined) throw new NusecError('BAD_REQUEST', `the token ${label} lacks AES key wrap with padding`);
  return wrap;
}

function openSession(cryptoki: Cryptoki, slot: bigint): Session {
  const handle = createBuffer(ulongBytes);
  cryptoki.call('C_OpenSession', slot, sessionFlags, null, null, handle);
  return { cryptoki, handle: handle.readBigUInt64LE() };
}

const pinRefused: ReadonlySet<number> = new Set([0xa0, 0xa1, 0xa2]);
const pinLocked = 0xa4;

/** One login serves all sessions of the process (v2.40 §5.6). */
function login({ cryptoki, handle }: Session, pin: string): void {
  const bytes = Buffer.from(new TextEncoder().encode(pin));
  try {
    cryptoki.call('C_Login', handle, userType, bytes, bytes.length);
  } catch (error) {
    if (!(error instanceof CryptokiError)) throw error;
    if (pinRefused.has(error.returnValue)) throw new NusecError('KEYSTORE_WRONG_PASSPHRASE', 'the token does not take this PIN');
    if (error.returnValue === pinLocked) throw new NusecError('KEYSTORE_LOCKED', 'the PIN of the token is locked');
    throw error;
  } finally {
    bytes.fill(0);
  }
}
