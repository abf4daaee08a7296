import { createPublicKey } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { NusecError } from '../errors.ts';
import { type NamedReference, type ProvenAttestation, verifyAttestationProof } from '../evidence/attestationProof.ts';
import { decodeCorim, encodeAttestationResult, encodeCorim } from '../evidence/rats.ts';
import { fromPem } from '../pki/pem.ts';
import { secondsOf } from '../times.ts';
import { readText } from './client.ts';
import { print, record, styled, table } from './output.ts';
import { requireKindOf } from './proofFiles.ts';

/** `nusec evidence verify`: one attestation, with the root certificate alone. */

export type VerifyEvidence = {
  readonly trust: string;
  readonly at?: string;
  readonly reference?: string;
  readonly publicKey?: string;
  readonly corim?: string;
  readonly eat?: string;
  readonly json?: boolean;
};

export async function verifyAttestation(file: string, options: VerifyEvidence): Promise<void> {
  const text = readText(file, 'attestation');
  requireKindOf('nusec evidence verify', file, text);
  const roots = fromPem('CERTIFICATE', readText(options.trust, 'root certificate'));
  const { at, publicKey, reference } = options;
  if (at !== undefined && Number.isNaN(Date.parse(at)))
    throw new NusecError('BAD_REQUEST', `${at} is no time, such as 2026-11-29T10:00:00Z`);
  const references = reference === undefined ? undefined : wanted(reference, namedIn(text));
  const proven = await verifyAttestationProof(text, {
    roots,
    ...(at !== undefined && { at }),
    ...(references && { references }),
    ...(publicKey !== undefined && { publicKey: keyIn(publicKey) }),
  });
  if (options.corim !== undefined) writeFileSync(options.corim, encodeCorim(lineOf(text), references ?? namedIn(text)));
  if (options.eat !== undefined) writeFileSync(options.eat, encodeAttestationResult(proven, secondsOf(Date.now())));
  print(options, proven, shown(proven));
  if (proven.result !== 'passed') process.exitCode = 1;
}

function keyIn(file: string) {
  const [der] = fromPem('PUBLIC KEY', readText(file, 'public key'));
  return createPublicKey({ key: Buffer.from(der ?? []), format: 'der', type: 'spki' });
}

/** The file was not verified yet: what is wrong with it, verifyAttestationProof says. */
function fieldsOf(text: string): { readonly line?: unknown; readonly references?: unknown } {
  try {
    return (JSON.parse(text) ?? {}) as object;
  } catch {
    return {};
  }
}
const namedIn = (text: string): readonly NamedReference[] => {
  const { references } = fieldsOf(text);
  return Array.isArray(references) ? (references as readonly NamedReference[]) : [];
};
const lineOf = (text: string): string => String(fieldsOf(text).line ?? '');

/** A CoRIM file, or those of the values in the file that are of this release (id or version). */
function wanted(reference: string, named: readonly NamedReference[]): readonly NamedReference[] {
  if (existsSync(reference)) return decodeCorim(new Uint8Array(readFileSync(reference)));
  const found = named.filter(({ releaseId, version }) => releaseId === reference || version === reference);
  if (found.length === 0) throw new NusecError('NOT_FOUND', `${reference} is no CoRIM file, and no release that the attestation names`);
  return found;
}

function shown({ result, flaws, uid, at, nonceHex, certificates, negotiated, token, measurements }: ProvenAttestation): string {
  const [leaf, ...issuers] = certificates;
  const facts = record({
    device: uid,
    'attested at': at,
    nonce: nonceHex,
    certificate: leaf ? `${leaf.serialHex}, valid until ${leaf.notAfter}` : 'none: known by its public key',
    'issued by': issuers.map(({ subject }) => subject).join(' under '),
    ...(negotiated && { SPDM: `${negotiated.version}, ${negotiated.signature}, ${negotiated.hash}, slot ${negotiated.slot}` }),
    ...(token && {
      token: `${token.profile}, ${token.algorithm}, life cycle ${token.lifeCycle}, implementation ${token.implementationId}`,
    }),
  });
  const rows = measurements.map(({ index, name, judgement, reference, value }) => [
    index,
    name,
    judgement,
    reference ? `${reference.version ?? ''} ${reference.releaseId ?? ''}`.trim() : '',
    value,
  ]);
  const head = result === 'passed' ? styled('green', 'passed') : `${styled('red', 'failed')}: ${flaws.join('; ')}`;
  return `${head}\n${facts}\n\n${table(['INDEX', 'MEASUREMENT', 'JUDGEMENT', 'REFERENCE', 'VALUE'], rows)}`;
}
