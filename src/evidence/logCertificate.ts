import { NusecError } from '../errors.ts';
import { type Checkpoint, readCheckpoint } from '../merkle/checkpoint.ts';
import { ecdsaNoteKey, parseNote, verifiedBy } from '../merkle/note.ts';
import { isSignedBy } from '../pki/chain.ts';
import { oids } from '../pki/oids.ts';
import { type Certificate, parseCertificate } from '../pki/parse.ts';

/** From a root certificate to a checkpoint: root → certificate of the log's key → signature under the checkpoint. */

/** @param note signed note @param certificates of the log's key, DER; those that no root has signed count for nothing
 *  @throws NusecError EVIDENCE_REFUSED (no trusted root certifies the key, or the key has not signed), CHECKPOINT_MALFORMED, CHECKPOINT_REFUSED,
 *  CERTIFICATE_MALFORMED */
export function trustedCheckpoint(
  note: string,
  certificates: readonly Uint8Array[],
  roots: readonly Certificate[],
): Checkpoint & { readonly time: string } {
  const parsed = parseNote(note);
  const { time, ...tree } = readCheckpoint(parsed.text);
  if (time === undefined) throw refused('the checkpoint names no time');
  const trusted = certificates
    .map(parseCertificate)
    .filter(each => isLogCertificate(each, time) && roots.some(root => root.isCa && isSignedBy(each, root)));
  if (trusted.length === 0) throw refused('no trusted root certifies the key of the log');
  const keys = trusted.map(({ spki }) => ecdsaNoteKey(tree.origin, spki));
  if (verifiedBy(parsed, keys).length === 0) throw refused('the checkpoint is not signed by the key of the log');
  return { ...tree, time };
}

/** A clock that was set back dates a checkpoint before the certificate of its key, which takes nothing from the signature. */
const isLogCertificate = ({ isCa, eku = [], keyUsage, notAfter }: Certificate, time: string): boolean =>
  !isCa && eku.includes(oids.logSigning) && keyUsage?.digitalSignature === true && time <= notAfter;

const refused = (detail: string): NusecError => new NusecError('EVIDENCE_REFUSED', detail);
