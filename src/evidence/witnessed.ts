import { z } from 'zod';
import { NusecError } from '../errors.ts';
import { type Checkpoint, readCheckpoint } from '../merkle/checkpoint.ts';
import { cosignedAt } from '../merkle/cosignature.ts';
import { type NoteKey, parseNote, verifiedBy } from '../merkle/note.ts';
import { verifyConsistency } from '../merkle/proofs.ts';

/** What witnesses have signed of the log that an evidence file is from: so that one need not trust the key of the log alone. */

/** A checkpoint that witnesses have cosigned, and the proof that it and the checkpoint of the file are of one log. */
export const witnessedSchema = z.strictObject({ note: z.string(), consistency: z.array(z.string().regex(/^[0-9a-f]{64}$/)).max(64) });
export type Witnessed = z.infer<typeof witnessedSchema>;

/** @property size events that the log had, and when the witness has signed so */
export type ProvenWitness = { readonly name: string; readonly size: number; readonly time: string };

/** @param index of the newest event, which each witness must have seen in the log
 *  @throws NusecError EVIDENCE_REFUSED when there is nothing of one of the keys, CHECKPOINT_MALFORMED, CHECKPOINT_REFUSED */
export function requireWitnesses(
  checkpoint: Checkpoint,
  index: number,
  witnessed: readonly Witnessed[],
  keys: readonly NoteKey[],
): readonly ProvenWitness[] {
  return keys.map(key => {
    const [found] = witnessed.flatMap(each => witnessedBy(checkpoint, index, each, key));
    if (found === undefined)
      throw new NusecError('EVIDENCE_REFUSED', `${key.name} has not signed a log with the newest event of this history`);
    return found;
  });
}

function witnessedBy(checkpoint: Checkpoint, index: number, { note, consistency }: Witnessed, key: NoteKey): readonly ProvenWitness[] {
  const parsed = parseNote(note);
  const [signed] = verifiedBy(parsed, [key]);
  const seen = readCheckpoint(parsed.text);
  const [first, second] = seen.size <= checkpoint.size ? [seen, checkpoint] : [checkpoint, seen];
  const isOfThisLog = seen.origin === checkpoint.origin && verifyConsistency(first.size, first.root, second.size, second.root, consistency);
  if (signed === undefined || !isOfThisLog || seen.size <= index) return [];
  return [{ name: key.name, size: seen.size, time: new Date(Number(cosignedAt(signed.signature)) * 1000).toISOString() }];
}
