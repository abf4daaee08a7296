import { NusecError } from '../errors.ts';
import type { Hash } from './hashing.ts';
import { type NoteSignature, parseSignatureLines } from './note.ts';

/** What a log and a witness say to one another (C2SP tlog-witness, add-checkpoint).
 *
 *  | part of the request | form |
 *  |---|---|
 *  | line 1 | `old ` size that the witness has cosigned last |
 *  | lines | hashes of the consistency proof, base64, at most 63 |
 *  | empty line | |
 *  | rest | the checkpoint, a signed note |  */

const maxProofLines = 63;

export function addCheckpointRequest(oldSize: number, proof: readonly Hash[], note: string): string {
  if (proof.length > maxProofLines) throw new NusecError('CHECKPOINT_REFUSED', 'the consistency proof is too long for a witness');
  const lines = proof.map(hash => Buffer.from(hash, 'hex').toString('base64'));
  return `${[`old ${oldSize}`, ...lines].join('\n')}\n\n${note}`;
}

/** behind: the witness has cosigned another size last · unlike: it has seen a log that does not go with this one · unknown: it does not know the
 *  log, or its key · busy: it does not answer so now */
export type WitnessAnswer =
  | { readonly kind: 'cosigned'; readonly signatures: readonly NoteSignature[] }
  | { readonly kind: 'behind'; readonly size: number }
  | { readonly kind: 'unlike' | 'unknown' | 'busy'; readonly detail: string };

/** @param contentType of the answer, lower case */
export function readAnswer(status: number, contentType: string, body: string): WitnessAnswer {
  switch (status) {
    case 200:
      return cosigned(body);
    case 409:
      return conflict(contentType, body);
    case 422:
      return { kind: 'unlike', detail: 'the log does not go on from what the witness has cosigned' };
    case 403:
      return { kind: 'unknown', detail: 'the witness knows the log under another key' };
    case 404:
      return { kind: 'unknown', detail: 'the witness does not know this log' };
    default:
      return { kind: 'busy', detail: `the witness answers ${status}` };
  }
}

function cosigned(body: string): WitnessAnswer {
  try {
    return { kind: 'cosigned', signatures: parseSignatureLines(body) };
  } catch {
    return { kind: 'busy', detail: 'the answer of the witness is not a list of signatures' };
  }
}

/** With a size: the witness is at another one. Without: it has another root for the same size. */
function conflict(contentType: string, body: string): WitnessAnswer {
  const size = /^(0|[1-9][0-9]{0,15})\n$/.exec(body)?.[1];
  if (size !== undefined && contentType.startsWith('text/x.tlog.size')) return { kind: 'behind', size: Number(size) };
  return { kind: 'unlike', detail: 'the witness has cosigned another log of this size' };
}
