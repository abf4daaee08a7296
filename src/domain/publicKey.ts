import type { Decider } from './decider.ts';
import { refuse } from './rules.ts';

/** A reservation: one public key belongs to one holder, permanently (I4, T26). Stream `pk-{sha256}` of the SubjectPublicKeyInfo.
 *  NONE → RESERVED */

export type KeyHolderKind = 'device' | 'programmer' | 'gateway';

/** `uid` of the chip, or the gateway's id. A retried unit keeps its key under a new registration id, so `objId` only informs. */
export type KeyHolder = { readonly kind: KeyHolderKind; readonly uid: string; readonly objId?: string };

export type PublicKeyEvent = { readonly type: 'PublicKeyReserved'; readonly data: KeyHolder };
export type PublicKeyCommand = { readonly type: 'ReservePublicKey' } & KeyHolder;
export type PublicKeyState = { readonly status: 'NONE' } | { readonly status: 'RESERVED'; readonly holder: KeyHolder };

export const publicKeyStream = (sha256Hex: string): string => `pk-${sha256Hex}`;

/** @throws NusecError WEAK_OR_CLONED_KEY when another holder has this key */
function decide({ type: _, ...holder }: PublicKeyCommand, state: PublicKeyState): readonly PublicKeyEvent[] {
  if (state.status === 'NONE') return [{ type: 'PublicKeyReserved', data: holder }];
  const same = state.holder.kind === holder.kind && state.holder.uid === holder.uid;
  return same ? [] : refuse('WEAK_OR_CLONED_KEY', 'this public key belongs to another holder');
}

function evolve(state: PublicKeyState, event: PublicKeyEvent): PublicKeyState {
  return event.type === 'PublicKeyReserved' && state.status === 'NONE' ? { status: 'RESERVED', holder: event.data } : state;
}

export const publicKey: Decider<PublicKeyCommand, PublicKeyState, PublicKeyEvent> = { initialState: { status: 'NONE' }, decide, evolve };
