import { sha256Hex } from '../../digest.ts';
import type { ApprovedContent } from '../../domain/approval.ts';

/** What an approver approves, from the text that the aggregate gives. @param seenSha256 of the content that the approver looked at */
export const approvedContent = (text: string, seenSha256?: string | undefined): ApprovedContent => ({
  text,
  sha256: sha256Hex(text),
  seenSha256,
});
