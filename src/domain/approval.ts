import { refuse } from './rules.ts';

/** Four eyes on a draft: the approval counts for one content, and comes from somebody who had no part in it (I16). */

/** What an approver approves. The caller hashes the text that the aggregate gives, since the domain computes no hashes. */
export type ApprovedContent = {
  /** The content as the aggregate writes it. */
  readonly text: string;
  /** SHA-256 of the text, hex: what the event keeps and people are shown. */
  readonly sha256: string;
  /** The hash that the approver saw; left out by those who approve whatever is there. */
  readonly seenSha256?: string | undefined;
};

/** @param present content of the aggregate now @throws NusecError CONFLICT when the approver looked at another one */
export function requireSameContent({ text, sha256, seenSha256 = sha256 }: ApprovedContent, present: string): void {
  if (text !== present || seenSha256 !== sha256) refuse('CONFLICT', 'the content has changed since it was looked at: look again');
}

/** Judges an approval, and gives what its event keeps of the content. @throws NusecError CONFLICT as requireSameContent */
export function contentOfApproval(content: ApprovedContent | undefined, present: string): { readonly contentSha256?: string } {
  if (content === undefined) return {};
  requireSameContent(content, present);
  return { contentSha256: content.sha256 };
}

/** Checks an approval before its content is executed. Approvals from before contents were kept have none.
 *  @param approvedSha256 as the approval kept it @throws NusecError FOUR_EYES_REQUIRED when the content is another one by now */
export function requireApproved(approvedSha256: string | undefined, sha256: string | undefined): void {
  if (approvedSha256 !== undefined && sha256 !== undefined && approvedSha256 !== sha256)
    refuse('FOUR_EYES_REQUIRED', 'the content is not what was approved: it has to be approved again');
}

/** @throws NusecError FOUR_EYES_REQUIRED for everybody who had a part in the draft */
export function requireNoContributor(contributors: readonly string[], by: string, what: string): void {
  if (contributors.includes(by)) refuse('FOUR_EYES_REQUIRED', `${what} needs a person who did not work on it; ${by} did`);
}

/** The contributors with one more. Events of older drafts do not name who made the change. */
export function withContributor(contributors: readonly string[], by: string | undefined): readonly string[] {
  return by === undefined || contributors.includes(by) ? contributors : [...contributors, by];
}
