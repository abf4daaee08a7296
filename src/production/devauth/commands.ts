import type { CodecType } from '../../cbor/schema.ts';
import { fwBegin, fwChunk, fwEnd } from './firmware.ts';
import { hello, keygen, otp, put, signCri } from './identity.ts';
import { attest, debugUnlock, lock, receipt, reset, wipe } from './state.ts';

/** All DevAuth commands by name. */
export const commands = {
  hello,
  keygen,
  signCri,
  put,
  otp,
  fwBegin,
  fwChunk,
  fwEnd,
  lock,
  receipt,
  reset,
  wipe,
  debugUnlock,
  attest,
} as const;

export type CommandName = keyof typeof commands;
export type DevAuthRequest<N extends CommandName> = CodecType<(typeof commands)[N]['request']>;
export type DevAuthResponse<N extends CommandName> = CodecType<(typeof commands)[N]['response']>;

/** @returns undefined when no command has this number */
export const commandNameOf = (id: number): CommandName | undefined =>
  (Object.keys(commands) as CommandName[]).find(name => commands[name].id === id);
