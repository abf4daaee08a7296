import { NusecError } from '../errors.ts';
import { readCsaf } from './csaf.ts';
import { jsonOf } from './json.ts';
import { readOsv } from './osv.ts';
import type { VulnerabilityNote } from './vulnerabilityNote.ts';

/** Vulnerability notes: CSAF 2.0 (ISO/IEC 20153) and OSV (ossf.github.io/osv-schema), as JSON. */

const maxAffected = 500;
/** Versions and ranges of one component. */
const maxVersions = 5000;
const maxTextChars = 200;

/** Reads and checks a note. @throws NusecError NOTE_REFUSED with what is wrong */
export function readNote(bytes: Uint8Array): VulnerabilityNote {
  const { value } = jsonOf(bytes, refuse);
  const note = 'document' in value ? readCsaf(value, refuse) : readOsv(value, refuse);
  const { affected } = note;
  if (affected.length === 0) refuse('it names no affected component');
  if (affected.length > maxAffected) refuse(`it names more than ${maxAffected} components`);
  if (affected.some(({ versions, ranges }) => versions.length + ranges.length > maxVersions))
    refuse(`it names more than ${maxVersions} versions of a component`);
  return { ...note, title: note.title.slice(0, maxTextChars) };
}

function refuse(why: string): never {
  throw new NusecError('NOTE_REFUSED', `the vulnerability note is refused: ${why}`);
}
