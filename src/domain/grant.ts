import type { Decider } from './decider.ts';
import type { ImageKind } from './jobEvents.ts';
import { refuse } from './rules.ts';

/** A signed grant: which unit it is for and where its bytes are, so that a repeated request gets the very same ones (silence 2).
 *  Stream `grant-{grantId}`.  NONE → SIGNED; the image trailers made under it are remembered too. */

export type SignedGrant = {
  readonly jobId: string;
  readonly programmer: string;
  readonly uid: string;
  readonly objId: string;
  /** SHA-256 of the COSE message, hex; the message is a blob. */
  readonly grantSha256: string;
};
/** The signature area of an image for this unit: a blob, by its SHA-256. */
type Trailer = { readonly image: ImageKind; readonly imageHash: string; readonly trailerSha256: string };

export type GrantEvent =
  | { readonly type: 'GrantSigned'; readonly data: SignedGrant }
  | { readonly type: 'ImageSigned'; readonly data: Trailer };
export type GrantCommand = ({ readonly type: 'RecordGrant' } & SignedGrant) | ({ readonly type: 'RecordTrailer' } & Trailer);

export type GrantState =
  | { readonly status: 'NONE' }
  | (SignedGrant & { readonly status: 'SIGNED'; readonly trailers: { readonly [Image in ImageKind]?: Trailer } });

export const grantStream = (grantId: string): string => `grant-${grantId}`;

/** The first signature of a grant, and of an image under it, counts. */
function decide(command: GrantCommand, state: GrantState): readonly GrantEvent[] {
  if (command.type === 'RecordGrant') {
    const { type: _, ...data } = command;
    return state.status === 'NONE' ? [{ type: 'GrantSigned', data }] : [];
  }
  if (state.status === 'NONE') refuse('NOT_FOUND', 'there is no such grant');
  const { type: _, ...data } = command;
  return state.trailers[data.image]?.imageHash === data.imageHash ? [] : [{ type: 'ImageSigned', data }];
}

function evolve(state: GrantState, event: GrantEvent): GrantState {
  if (event.type === 'GrantSigned') return state.status === 'NONE' ? { ...event.data, status: 'SIGNED', trailers: {} } : state;
  if (state.status === 'NONE' || event.type !== 'ImageSigned') return state;
  return { ...state, trailers: { ...state.trailers, [event.data.image]: event.data } };
}

export const grant: Decider<GrantCommand, GrantState, GrantEvent> = { initialState: { status: 'NONE' }, decide, evolve };
