import { z } from 'zod';
import { NusecError } from '../errors.ts';
import { base64Bytes } from './base64.ts';

/** The export of a log: JSON lines that anybody can read, and that prove themselves.
 *
 *  | line | content |
 *  |---|---|
 *  | first | what is exported, of which tree, and the subtrees in front of it |
 *  | one for each event | its fields, its hash and the hash before it in its stream; in a filtered export its path to the root |
 *  | last | how many events, the signed checkpoint over the tree, certificates of the log's key |  */

export const exportFormat = 'nusec-log-export/1';

/** A line with the largest event fits. */
export const maxExportLineBytes = 1024 * 1024;

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.number().int().min(0);
const names = z.array(z.string().max(256)).max(64);

/** Each is a list of which one must fit; a text that ends with * matches all that begin so. */
export const filterSchema = z.strictObject({ types: names.optional(), streams: names.optional(), by: names.optional() });
export type LogFilter = z.infer<typeof filterSchema>;

type Named = { readonly type: string; readonly stream: string; readonly by: string };

type Patterns = { readonly [Name in keyof LogFilter]: readonly string[] | undefined };

export const fitsFilter = ({ type, stream, by }: Named, filter: Patterns = {}): boolean =>
  isOneOf(type, filter.types) && isOneOf(stream, filter.streams) && isOneOf(by, filter.by);

const isOneOf = (text: string, patterns: readonly string[] | undefined): boolean =>
  patterns === undefined || patterns.some(pattern => (pattern.endsWith('*') ? text.startsWith(pattern.slice(0, -1)) : text === pattern));

const headSchema = z.strictObject({
  format: z.literal(exportFormat),
  origin: z.string(),
  /** Of the tree. */
  size: count,
  root: hash,
  /** Position before the first event. */
  after: count,
  /** Roots of the perfect subtrees of the first `after` leaves, the smallest first. */
  peaks: z.array(hash).max(64),
  /** Absent: every event from `after` up to `size`. */
  filter: filterSchema.optional(),
});
export type ExportHead = z.infer<typeof headSchema>;

const entrySchema = z.strictObject({
  position: count,
  stream: z.string(),
  revision: count,
  id: z.string(),
  type: z.string(),
  v: z.number(),
  at: z.string(),
  by: z.string(),
  cause: z.string().optional(),
  corr: z.string().optional(),
  data: z.record(z.string(), z.json()),
  previous: hash,
  hash,
  path: z.array(hash).max(64).optional(),
});
export type ExportEntry = z.infer<typeof entrySchema>;

const endSchema = z.strictObject({
  events: count,
  checkpoint: z.string(),
  /** DER, base64. */
  logCertificates: z.array(base64Bytes).max(16),
});
export type ExportEnd = z.infer<typeof endSchema>;

export const readHead = (line: string): ExportHead => read(line, headSchema, 'first line');
export const readEntry = (line: string): ExportEntry => read(line, entrySchema, 'line of an event');
export const readEnd = (line: string): ExportEnd => read(line, endSchema, 'last line');

/** @throws NusecError EVIDENCE_MALFORMED */
function read<Value>(line: string, schema: z.ZodType<Value>, what: string): Value {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (cause) {
    throw new NusecError('EVIDENCE_MALFORMED', `a ${what} of the export is not JSON: was the file cut off?`, { cause });
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new NusecError('EVIDENCE_MALFORMED', `a ${what} of the export is not as it should be: ${parsed.error.issues[0]?.path.join('.')}`);
}
