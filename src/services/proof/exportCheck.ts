import { NusecError } from '../../errors.ts';
import { encodeBody } from '../../eventstore/envelope.ts';
import { chainHash, chainStart } from '../../eventstore/hashchain.ts';
import type { JsonObject } from '../../eventstore/port.ts';
import { trustedCheckpoint } from '../../evidence/logCertificate.ts';
import { type ExportEntry, type ExportHead, fitsFilter, type LogFilter, readEnd, readEntry, readHead } from '../../evidence/logExport.ts';
import { createCompactRange } from '../../merkle/compactRange.ts';
import { leafOfHash } from '../../merkle/hashing.ts';
import { verifyInclusion } from '../../merkle/proofs.ts';
import { parseCertificate } from '../../pki/parse.ts';

/** Checks an exported log line by line with nothing but a root certificate: no server, no database, no clock. */

/** What the file proves, given that the root is right. */
export type ProvenExport = {
  readonly origin: string;
  /** Events of the log that the checkpoint covers, and when it was signed. */
  readonly size: number;
  readonly time: string;
  readonly after: number;
  readonly events: number;
  /** Absent: the file has every event from `after` up to `size`. */
  readonly filter?: LogFilter;
};

/** @param lines of the file, without their ends @param roots trusted root certificates, DER
 *  @throws NusecError EVIDENCE_MALFORMED, EVIDENCE_REFUSED (names the event that does not hold), CHECKPOINT_MALFORMED, CHECKPOINT_REFUSED,
 *  CERTIFICATE_MALFORMED */
export async function verifyExport(lines: AsyncIterable<string>, roots: readonly Uint8Array[]): Promise<ProvenExport> {
  let head: ExportHead | undefined;
  let check: EntryCheck | undefined;
  let held: string | undefined;
  for await (const line of lines) {
    if (head === undefined) {
      head = readHead(line);
      check = head.filter === undefined ? checkAll(head) : checkEach(head);
      continue;
    }
    // The last line is known by having none behind it.
    if (held !== undefined) check?.entry(readEntry(held));
    held = line;
  }
  if (head === undefined || check === undefined || held === undefined) throw new NusecError('EVIDENCE_MALFORMED', 'the export has no end');
  const { events, checkpoint, logCertificates } = readEnd(held);
  const certificates = logCertificates.map(der => new Uint8Array(Buffer.from(der, 'base64')));
  const { origin, size, root, time } = trustedCheckpoint(checkpoint, certificates, roots.map(parseCertificate));
  if (origin !== head.origin || size !== head.size || root !== head.root) throw refused('the checkpoint is of another tree');
  if (check.end() !== events) throw refused(`the export has ${check.end()} events, not ${events}`);
  return { origin, size, time, after: head.after, events, ...(head.filter !== undefined && { filter: head.filter }) };
}

/** @property end @returns how many events there were, when all of them hold */
type EntryCheck = { entry(entry: ExportEntry): void; end(): number };

/** Every event from `after` on: their leaves and what is in front of them give the root. */
function checkAll({ after, size, root, peaks }: ExportHead): EntryCheck {
  const range = createCompactRange(after, peaks);
  if (range === undefined) throw refused('the subtrees in front of the first event are too many or too few');
  const newest = new Map<string, { readonly revision: number; readonly hash: string }>();
  let position = after;
  return {
    entry(entry) {
      position += 1;
      if (entry.position !== position) throw refused(`the event at position ${position} is missing`);
      checkHash(entry);
      const { stream, revision, previous, hash } = entry;
      const before = newest.get(stream) ?? (after === 0 ? { revision: -1, hash: chainStart } : undefined);
      if (before !== undefined && (before.revision !== revision - 1 || before.hash !== previous))
        throw refused(`the event at position ${position} does not follow the one before it in ${stream}`);
      newest.set(stream, { revision, hash });
      range.add(leafOfHash(hash));
    },
    end() {
      if (position !== size) throw refused(`the events from position ${position + 1} to ${size} are missing`);
      if (range.root() !== root) throw refused('the events are not those of the checkpoint');
      return position - after;
    },
  };
}

/** Events that were chosen: each has its path to the root. That there are no others is not shown. */
function checkEach({ after, size, root, filter }: ExportHead): EntryCheck {
  let [count, newest] = [0, after];
  return {
    entry(entry) {
      const { position, hash, path = [] } = entry;
      checkHash(entry);
      if (position <= newest) throw refused(`the event at position ${position} is not in order`);
      if (!verifyInclusion(leafOfHash(hash), position - 1, size, path, root))
        throw refused(`the event at position ${position} is not in the log of the checkpoint`);
      if (!fitsFilter(entry, filter)) throw refused(`the event at position ${position} does not fit the filter`);
      newest = position;
      count += 1;
    },
    end: () => count,
  };
}

function checkHash({ position, stream, revision, id, previous, hash, data, ...event }: ExportEntry): void {
  const { cause, corr, type, v, at, by } = event;
  const named = { type, v, at, by, ...(cause !== undefined && { cause }), ...(corr !== undefined && { corr }), data: data as JsonObject };
  if (chainHash(previous, stream, revision, id, encodeBody(named)) !== hash)
    throw refused(`the event at position ${position} (stream ${stream}, revision ${revision}) is not what its hash says`);
}

const refused = (detail: string): NusecError => new NusecError('EVIDENCE_REFUSED', detail);
