import { closeSync, createReadStream, openSync, readSync } from 'node:fs';
import { NusecError } from '../errors.ts';
import { exportFormat, maxExportLineBytes } from '../evidence/logExport.ts';
import { verifyEvidence } from '../evidence/verify.ts';
import { readWitnessKey } from '../merkle/cosignature.ts';
import { fromPem } from '../pki/pem.ts';
import { type ProvenExport, verifyExport } from '../services/proof/exportCheck.ts';
import { readText, requireFile } from './client.ts';
import { print, record, styled } from './output.ts';
import { requireKindOf } from './proofFiles.ts';

/** Checks the evidence file of a device, or an exported log, with a root certificate alone. */

export type VerifyOptions = { data?: string; trust?: string; witnessKey?: string[]; json?: boolean };

export async function verifyFile(file: string, trust: string, options: VerifyOptions): Promise<void> {
  const roots = fromPem('CERTIFICATE', readText(trust, 'root certificate'));
  if (isExport(file)) verifyExported(await verifyExport(linesOf(file), roots), options);
  else verifyEvidenceFile(file, roots, options);
}

/** The first line says so. */
function isExport(file: string): boolean {
  requireFile(file, 'file');
  const begin = Buffer.alloc(64);
  const opened = openSync(file, 'r');
  try {
    return begin.toString('latin1', 0, readSync(opened, begin)).startsWith(`{"format":"${exportFormat}"`);
  } finally {
    closeSync(opened);
  }
}

/** @throws NusecError EVIDENCE_MALFORMED when a line is too long */
async function* linesOf(file: string): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of createReadStream(file, 'utf8')) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > maxExportLineBytes) throw new NusecError('EVIDENCE_MALFORMED', `a line is longer than ${maxExportLineBytes} bytes`);
    yield* lines;
  }
  if (rest !== '') yield rest;
}

function verifyExported(proven: ProvenExport, options: VerifyOptions): void {
  const { events, after, size, time, filter, origin } = proven;
  const scope =
    filter === undefined
      ? `every event from position ${after + 1} to ${size}`
      : 'each is in the log; that no other fits the filter is not shown';
  const text = record({ events: `${events}: ${scope}`, ...(filter && { filter }), log: `${origin}, ${size} events, signed ${time}` });
  print(options, proven, `${styled('green', 'proven')}\n${text}`);
}

function verifyEvidenceFile(file: string, roots: readonly Uint8Array[], options: VerifyOptions): void {
  const keys = (options.witnessKey ?? []).map(readWitnessKey);
  const given = readText(file, 'evidence file');
  requireKindOf('nusec verify', file, given);
  const proven = verifyEvidence(given, roots, keys);
  const { uid, events, related, time, size, blobs, omitted } = proven;
  const newest = events.at(-1);
  const text = record({
    device: uid,
    events: `${events.length}, the newest ${newest?.type} of ${newest?.at}; nothing came later up to ${time}`,
    'of others': `${related.length} that name the device`,
    contents: `${blobs}${omitted.length === 0 ? '' : `, ${omitted.length} named and not in the file`}`,
    log: `${proven.origin}, ${size} events`,
    ...(keys.length > 0 && { witnesses: proven.witnesses.map(({ name, time }) => `${name} at ${time}`).join(', ') }),
  });
  print(options, proven, `${styled('green', 'proven')}\n${text}`);
}
