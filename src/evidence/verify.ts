import { sha256Hex } from '../digest.ts';
import { NusecError } from '../errors.ts';
import type { Checkpoint } from '../merkle/checkpoint.ts';
import { leafOfHash } from '../merkle/hashing.ts';
import { provenHead, streamKey } from '../merkle/headMap.ts';
import type { NoteKey } from '../merkle/note.ts';
import { verifyInclusion } from '../merkle/proofs.ts';
import { type Certificate, parseCertificate } from '../pki/parse.ts';
import { readerOf } from './disclosed.ts';
import { type Evidence, readEvidence } from './format.ts';
import { trustedCheckpoint } from './logCertificate.ts';
import { type ProvenWitness, requireWitnesses } from './witnessed.ts';

/** Checks an evidence file with nothing but a root certificate: no server, no database, no clock. */

export type ProvenEvent = {
  readonly stream: string;
  readonly revision: number;
  readonly type: string;
  readonly at: string;
  /** With the name of the person; `operator:erased` when they were erased. */
  readonly by: string;
  /** What people typed, by the name of the field. */
  readonly texts?: Readonly<Record<string, string>>;
};

/** What the file proves, given that the root is right. */
export type ProvenEvidence = {
  readonly uid: string;
  readonly origin: string;
  /** Events of the log that the checkpoint covers, and when it was signed. */
  readonly size: number;
  readonly time: string;
  /** Everything that happened to the device up to then, oldest first. */
  readonly events: readonly ProvenEvent[];
  readonly related: readonly ProvenEvent[];
  readonly blobs: number;
  readonly omitted: readonly string[];
  /** Of the keys that were asked for. */
  readonly witnesses: readonly ProvenWitness[];
};

const chainStart = '0'.repeat(64);
const uidStream = (uid: string): string => `device-${uid}`;

/** @param text the file @param roots trusted root certificates, DER @param witnessKeys of witnesses that all must have signed
 *  @throws NusecError EVIDENCE_MALFORMED, EVIDENCE_REFUSED (says what does not hold), CHECKPOINT_MALFORMED, CHECKPOINT_REFUSED, CERTIFICATE_MALFORMED */
export function verifyEvidence(text: string, roots: readonly Uint8Array[], witnessKeys: readonly NoteKey[] = []): ProvenEvidence {
  const evidence = readEvidence(text);
  const checkpoint = provenCheckpoint(evidence, roots.map(parseCertificate));
  const read = readerOf(evidence.disclosed);
  const events = historyOf(evidence, checkpoint, read);
  const related = evidence.related.map(each => relatedEvent(evidence, each, checkpoint, read));
  checkBlobs(evidence);
  return {
    uid: evidence.uid,
    origin: checkpoint.origin,
    size: checkpoint.size,
    time: checkpoint.time,
    events,
    related,
    blobs: Object.keys(evidence.blobs).length,
    omitted: evidence.omitted,
    witnesses: requireWitnesses(checkpoint, evidence.history.index, evidence.witnessed ?? [], witnessKeys),
  };
}

/** Root → certificate of the log's key → signature under the checkpoint. */
function provenCheckpoint(
  evidence: Evidence,
  roots: readonly Certificate[],
): Checkpoint & { readonly time: string; readonly heads: string } {
  const certificates = evidence.logCertificates.map(der => new Uint8Array(Buffer.from(der, 'base64')));
  const { time, heads, ...tree } = trustedCheckpoint(evidence.checkpoint, certificates, roots);
  if (heads === undefined) throw refused('the checkpoint names no heads of streams');
  return { ...tree, time, heads };
}

/** Every event follows from the one before; the newest is in the log, and is the newest of its stream. */
function historyOf(
  { uid, history }: Evidence,
  { size, root, heads }: Checkpoint & { readonly heads: string },
  read: Reader,
): readonly ProvenEvent[] {
  const { stream, events, index, path } = history;
  if (stream !== uidStream(uid)) throw refused(`the stream ${stream} is not that of device ${uid}`);
  let hash = chainStart;
  const proven = events.map((text, revision) => {
    hash = sha256Hex(Buffer.from(hash + text));
    return eventOf(text, read, stream, revision);
  });
  if (!verifyInclusion(leafOfHash(hash), index, size, path, root)) throw refused('the history is not in the log of the checkpoint');
  const leaf = { key: streamKey(stream), revision: events.length - 1, hash };
  if (provenHead(heads, stream, { siblings: history.heads, leaf }) !== leaf)
    throw refused('the history is not shown to be complete: the checkpoint has another newest event of this device');
  return proven;
}

function relatedEvent(
  { uid }: Evidence,
  { previous, event, index, path }: Evidence['related'][number],
  { size, root }: Checkpoint,
  read: Reader,
): ProvenEvent {
  const hash = sha256Hex(Buffer.from(previous + event));
  if (!verifyInclusion(leafOfHash(hash), index, size, path, root)) throw refused('a related event is not in the log of the checkpoint');
  if (!event.includes(uid)) throw refused('a related event does not name the device');
  return eventOf(event, read);
}

type Reader = ReturnType<typeof readerOf>;

function eventOf(text: string, read: Reader, stream?: string, revision?: number): ProvenEvent {
  const fields = fieldsOf(text);
  const [ofStream, ofRevision, id, type, , at, by, , , data] = fields;
  if ((stream !== undefined && ofStream !== stream) || (revision !== undefined && ofRevision !== revision))
    throw refused('an event is of another stream or place than the file says');
  return {
    stream: String(ofStream),
    revision: Number(ofRevision),
    type: String(type),
    at: String(at),
    ...read({ id: String(id), by: String(by), data }),
  };
}

function fieldsOf(text: string): readonly unknown[] {
  try {
    const fields: unknown = JSON.parse(text);
    if (Array.isArray(fields) && fields.length === 10) return fields;
  } catch {
    // Said below.
  }
  throw new NusecError('EVIDENCE_MALFORMED', 'an event is not the text of an event');
}

/** Each blob is what one of the proven events names. */
function checkBlobs({ history, related, blobs }: Evidence): void {
  const texts = [...history.events, ...related.map(({ event }) => event)];
  for (const [sha256, content] of Object.entries(blobs)) {
    if (sha256Hex(Buffer.from(content, 'base64')) !== sha256) throw refused(`the content ${sha256} is not what its hash says`);
    if (!texts.some(text => text.includes(sha256))) throw refused(`no event names the content ${sha256}`);
  }
}

const refused = (detail: string): NusecError => new NusecError('EVIDENCE_REFUSED', detail);
