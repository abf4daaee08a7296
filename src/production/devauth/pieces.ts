import { concat, equalBytes } from '../../bytes.ts';
import { sha256 } from '../../digest.ts';
import type { DevAuthRequest } from './commands.ts';
import { DevAuthError } from './error.ts';
import type { PutType } from './identity.ts';

/** The device's side of PUT: pieces in order, hash checked before anything counts as stored. */

export type Pieces = { readonly type: PutType; readonly totalBytes: number; readonly sha256: Uint8Array; readonly received: Uint8Array };

/** Takes one piece. A piece at offset 0 starts again.
 *  @returns the state to keep, the offset to answer, and the object when it is whole
 *  @throws DevAuthError bad-arg when the piece does not follow, or the complete value does not have its hash */
export function takePiece(
  pieces: Pieces | undefined,
  { type, offset, totalBytes, data, sha256: announced }: DevAuthRequest<'put'>,
): { readonly pieces?: Pieces; readonly nextOffset: number; readonly object?: Uint8Array } {
  const before = announced ? { type, totalBytes, sha256: announced, received: new Uint8Array() } : pieces;
  if (before?.type !== type || before.totalBytes !== totalBytes || before.received.length !== offset) throw new DevAuthError('bad-arg');
  const received = concat(before.received, data);
  const nextOffset = received.length;
  if (nextOffset < totalBytes) return { pieces: { ...before, received }, nextOffset };
  if (!equalBytes(sha256(received), before.sha256)) throw new DevAuthError('bad-arg');
  return { nextOffset, object: received };
}
