import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromBase64url } from '../../bytes.ts';
import type { EventType } from '../../domain/events.ts';
import { logKeyStream } from '../../domain/logKey.ts';
import { NusecError } from '../../errors.ts';
import { storedBodies, visitTypes } from '../../eventstore/storedBodies.ts';
import { type StoreVerdict, verifyStore } from '../../eventstore/verify.ts';
import { trustedCheckpoint } from '../../evidence/logCertificate.ts';
import { type Checkpoint, noRevocations, readCheckpoint, withRevocation } from '../../merkle/checkpoint.ts';
import { type NoteKey, parseNote, verifiedBy } from '../../merkle/note.ts';
import { type Certificate, parseCertificate } from '../../pki/parse.ts';
import { changesRevocation } from '../../projections/certificates.ts';
import { type CheckpointFile, checkpointFile, checkpointsIn, cosignedIn } from './checkpointFiles.ts';
import { historyIn } from './checkpointHistory.ts';
import { cosignedFolder } from './witness.ts';

/** Judges the log of a data folder without its keystore: every event, the tree over them, and every checkpoint that can be found, each of which must
 *  be signed by the key that a root certifies for it. */

export type LogPlaces = {
  readonly dataDir: string;
  /** Folders of witnesses. */
  readonly witnesses: readonly string[];
  /** Trusted root certificates, DER. */
  readonly roots: readonly Uint8Array[];
  /** Keys of witnesses whose cosignatures count. */
  readonly witnessKeys: readonly NoteKey[];
};

/** A checkpoint that this log signed.
 *  @property cosignedBy witnesses whose signature under it is valid */
export type KnownCheckpoint = {
  readonly file: string;
  readonly size: number;
  readonly time: string;
  readonly cosignedBy: readonly string[];
};
export type LogVerdict = StoreVerdict & {
  readonly checkpoints: readonly KnownCheckpoint[];
  /** Checkpoints that count for nothing, or are missing, and why: each is a fault of its own. */
  readonly refused: readonly { readonly file: string; readonly reason: string }[];
};

/** @throws NusecError NOT_FOUND (no log there), STORE_DAMAGED (not an event store), CERTIFICATE_MALFORMED */
export function judgeLog({ dataDir, witnesses, roots, witnessKeys }: LogPlaces): LogVerdict {
  const file = join(dataDir, 'events.db');
  if (!existsSync(file)) throw new NusecError('NOT_FOUND', `${dataDir} has no event log: is it the data folder of a server?`);
  // Before the log: what it is held against must not be newer than it.
  const folders = [dataDir, ...witnesses];
  const found = [...folders.flatMap(historyIn), ...folders.flatMap(checkpointsIn), ...cosignedIn(cosignedFolder(dataDir))];
  const certificates = logCertificatesIn(file);
  const trusted = roots.map(parseCertificate);
  const judged = found.map(each => judge(each, certificates, trusted, witnessKeys));
  const signed = judged.filter(each => 'root' in each);
  const unsigned = judged.filter(each => 'reason' in each);
  const newest = checkpointFile(dataDir);
  // The key is certified when the first checkpoint is signed.
  if (certificates.length > 0 && !existsSync(newest)) unsigned.push({ file: newest, reason: 'it is missing' });
  const verdict = verifyStore(file, signed);
  const refused = verdict.ok ? [...unsigned, ...otherRevocations(file, signed)] : unsigned;
  const faults = refused.map(each => ({
    ...each,
    reason: lackIn(each, verdict.ok ? verdict.events : Number.POSITIVE_INFINITY, certificates.length > 0) ?? each.reason,
  }));
  return { ...verdict, refused: faults, checkpoints: signed.map(({ file, size, time, cosignedBy }) => ({ file, size, time, cosignedBy })) };
}

/** A log that was cut off before its key was certified: then no signature can be checked, and the size alone tells. */
function lackIn({ size = 0 }: Refused, events: number, isKeyCertified: boolean): string | undefined {
  if (isKeyCertified || size <= events) return undefined;
  return `it covers ${size} events, and the log has ${events}: its end was cut off, or an old backup was put back`;
}

type Signed = KnownCheckpoint & Pick<Checkpoint, 'root' | 'revocations'>;
type Refused = { readonly file: string; readonly reason: string /** Events it covers, as it says. */; readonly size?: number };

function judge(
  { file, note }: CheckpointFile,
  certificates: readonly Uint8Array[],
  roots: readonly Certificate[],
  witnessKeys: readonly NoteKey[],
): Signed | Refused {
  try {
    const { size, root, time, revocations } = trustedCheckpoint(note, certificates, roots);
    const cosignedBy = verifiedBy(parseNote(note), witnessKeys).map(({ key }) => key.name);
    return { file, size, root, time, cosignedBy, ...(revocations !== undefined && { revocations }) };
  } catch (error) {
    if (!(error instanceof NusecError)) throw error;
    const size = sizeOf(note);
    return { file, reason: error.message, ...(size !== undefined && { size }) };
  }
}

function sizeOf(note: string): number | undefined {
  try {
    return readCheckpoint(parseNote(note).text).size;
  } catch {
    return undefined;
  }
}

/** Checkpoints whose mark of all revocations is not what the events give. */
function otherRevocations(file: string, signed: readonly Signed[]): readonly Refused[] {
  const bySize = Map.groupBy(
    signed.filter(({ revocations }) => revocations !== undefined),
    ({ size }) => size,
  );
  const refused: Refused[] = [];
  let mark = noRevocations;
  const last = [...bySize.keys()].reduce((most, size) => Math.max(most, size), 0);
  visitTypes(file, last, (position, type, hash) => {
    if (changesRevocation(type as EventType)) mark = withRevocation(mark, hash);
    for (const each of bySize.get(position) ?? [])
      if (each.revocations?.count !== mark.count || each.revocations.hash !== mark.hash)
        refused.push({ file: each.file, reason: `it names ${each.revocations?.count} revocations that are not those of the log` });
  });
  return refused;
}

/** As the log itself has them; they are checked against the root. */
function logCertificatesIn(file: string): readonly Uint8Array[] {
  return storedBodies(file, logKeyStream).flatMap(([type, , , , , , data]) => {
    const { certificate } = data as { readonly certificate?: unknown };
    return type === ('LogKeyCertified' satisfies EventType) && typeof certificate === 'string' ? [fromBase64url(certificate)] : [];
  });
}

/** The last resort: the root that the project wrote beside its log when it was made. A person who can write there can replace it. */
export function ownRoot(dataDir: string): string | undefined {
  const file = join(dataDir, 'root.pem');
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}
