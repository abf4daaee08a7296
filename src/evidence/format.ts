import { z } from 'zod';
import { NusecError } from '../errors.ts';
import { base64Bytes } from './base64.ts';
import { disclosedSchema } from './disclosed.ts';
import { witnessedSchema } from './witnessed.ts';

/** The evidence file of a device: JSON, every hash lower-case hex, every byte string base64. What each part proves is in docs/evidence.md. */

export const evidenceFormat = 'nusec-evidence/1';
/** A file with the attestations of many years; larger ones are refused before they are read as JSON. */
const maxEvidenceBytes = 64 * 1024 * 1024;
const maxEvents = 100_000;
const maxPathHashes = 64;
export const maxWitnesses = 8;

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const bytes = base64Bytes;
const path = z.array(hash).max(maxPathHashes);
/** Text of an event as it is hashed: canonical JSON of [stream, revision, id, type, v, at, by, cause, corr, data]. */
const eventText = z.string().max(512 * 1024);

const evidenceSchema = z.strictObject({
  format: z.literal(evidenceFormat),
  uid: z.string().regex(/^[0-9a-f]{32}$/),
  /** Signed note. */
  checkpoint: z.string(),
  /** Of the log's key, DER, by each root. */
  logCertificates: z.array(bytes).max(16),
  /** The device's own stream, from its first event on. */
  history: z.strictObject({
    stream: z.string(),
    events: z.array(eventText).min(1).max(maxEvents),
    /** Leaf of the newest event, and its path to the root of the checkpoint. */
    index: z.number().int().min(0),
    path,
    /** Hashes beside the way from the root of the map of stream heads to this stream. */
    heads: z.array(hash).max(256),
  }),
  /** Events of other streams that name the device, each proven by itself. */
  related: z.array(z.strictObject({ previous: hash, event: eventText, index: z.number().int().min(0), path })).max(maxEvents),
  /** Certificates, receipts, attestation evidence …, by the SHA-256 that the events name. */
  blobs: z.record(hash, bytes),
  /** SHA-256 of what is named and not in the file: too large, or no longer there. */
  omitted: z.array(hash),
  /** Whom pseudonyms in the events stand for, and what opens their texts. Files of earlier versions have none. */
  disclosed: disclosedSchema.optional(),
  /** What witnesses have signed of the log. */
  witnessed: z.array(witnessedSchema).max(maxWitnesses).optional(),
});
export type Evidence = z.infer<typeof evidenceSchema>;

/** @throws NusecError EVIDENCE_MALFORMED */
export function readEvidence(text: string): Evidence {
  if (text.length > maxEvidenceBytes) throw new NusecError('EVIDENCE_MALFORMED', `evidence has at most ${maxEvidenceBytes} bytes`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new NusecError('EVIDENCE_MALFORMED', 'the evidence is not JSON', { cause });
  }
  const parsed = evidenceSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new NusecError(
    'EVIDENCE_MALFORMED',
    `the evidence is not of the form ${evidenceFormat}: ${parsed.error.issues[0]?.path.join('.')}`,
  );
}
