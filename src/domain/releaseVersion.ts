import type { Decider } from './decider.ts';
import type { ImageKind } from './jobEvents.ts';
import { refuse } from './rules.ts';

/** A reservation: one version of a line's image belongs to one release, permanently. Stream `version-{line}-{image}-{version}`.
 *  NONE → RESERVED */

export type ReleaseVersionEvent = { readonly type: 'ReleaseVersionReserved'; readonly data: { readonly releaseId: string } };
export type ReleaseVersionCommand = { readonly type: 'ReserveReleaseVersion'; readonly version: string; readonly releaseId: string };
export type ReleaseVersionState = { readonly status: 'NONE' } | { readonly status: 'RESERVED'; readonly releaseId: string };

export const releaseVersionStream = (line: string, image: ImageKind, version: string): string => `version-${line}-${image}-${version}`;

/** @throws NusecError CONFLICT when another release has this version */
function decide({ version, releaseId }: ReleaseVersionCommand, state: ReleaseVersionState): readonly ReleaseVersionEvent[] {
  if (state.status === 'NONE') return [{ type: 'ReleaseVersionReserved', data: { releaseId } }];
  if (state.releaseId === releaseId) return [];
  return refuse('CONFLICT', `${version} of this line has other content: release ${state.releaseId}`);
}

function evolve(state: ReleaseVersionState, event: ReleaseVersionEvent): ReleaseVersionState {
  const isFirst = event.type === 'ReleaseVersionReserved' && state.status === 'NONE';
  return isFirst ? { status: 'RESERVED', releaseId: event.data.releaseId } : state;
}

export const releaseVersion: Decider<ReleaseVersionCommand, ReleaseVersionState, ReleaseVersionEvent> = {
  initialState: { status: 'NONE' },
  decide,
  evolve,
};
