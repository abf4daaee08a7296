import { hash } from 'node:crypto';
import { pointOf } from '../ecKey.ts';
import type { Signer } from './certificate.ts';
import { contextPrimitive, tags } from './der.ts';
import { bitString, context, generalizedTime, integer, octetString, oid, sequence, tlv } from './derWriter.ts';
import { extension } from './extensions.ts';
import { signatureAlgorithms } from './keys.ts';
import { oids } from './oids.ts';
import { type RevocationReason, revocationReasons } from './revocationReasons.ts';

/** Builds OCSP responses (RFC 6960 §4.2), signed by a delegated responder whose certificate goes along. */

/** What is known of a certificate; `unknown` is a serial number that this authority never issued. Times are ISO. */
export type CertStatus =
  | { readonly status: 'good' | 'unknown' }
  | { readonly status: 'revoked'; readonly revokedAt: string; readonly reason: RevocationReason };

export type OcspAnswer = { readonly certId: Uint8Array } & CertStatus;

/** A responder, what stays the same in all its answers encoded. */
export type OcspSigner = {
  readonly signer: Signer;
  /** ResponderID byKey: SHA-1 of the key bits, as §4.2.1 prescribes; it only names, nothing rests on it. */
  readonly responderId: Uint8Array;
  /** The certs field. */
  readonly certificates: Uint8Array;
};

/** @param certificate of the profile `ocspResponder`; its key is the signer's */
export function ocspSigner(certificate: { readonly der: Uint8Array; readonly spki: Uint8Array }, signer: Signer): OcspSigner {
  const responderId = context(2, octetString(sha1(pointOf(certificate.spki))));
  return { signer, responderId, certificates: context(0, sequence(certificate.der)) };
}

export type OcspFields = {
  readonly answers: readonly OcspAnswer[];
  /** ISO: when it is signed; `thisUpdate` when not set. */
  readonly producedAt?: string;
  /** ISO: from when on it counts. */
  readonly thisUpdate: string;
  readonly nextUpdate: string;
  /** Repeated from the request (§4.4.1). */
  readonly nonce?: Uint8Array | undefined;
};

/** OCSPResponseStatus values without a body (§4.2.1). */
const failures = { malformedRequest: 1, internalError: 2, tryLater: 3, unauthorized: 6 } as const;
export type OcspFailure = keyof typeof failures;

/** @returns an unsigned OCSPResponse that only says why there is no answer (§2.3) */
export const ocspFailure = (why: OcspFailure): Uint8Array => sequence(Uint8Array.of(tags.enumerated, 1, failures[why]));

const successful = Uint8Array.of(tags.enumerated, 1, 0);
const basicType = oid(oids.ocspBasic);
const good = Uint8Array.of(contextPrimitive(0), 0);
const unknown = Uint8Array.of(contextPrimitive(2), 0);

/** @returns a signed OCSPResponse of type id-pkix-ocsp-basic */
export async function buildOcspResponse(fields: OcspFields, { signer, responderId, certificates }: OcspSigner): Promise<Uint8Array> {
  const algorithm = signatureAlgorithms[signer.algorithm];
  const data = sequence(
    responderId,
    generalizedTime(fields.producedAt ?? fields.thisUpdate),
    tlv(
      tags.sequence,
      fields.answers.map(answer => singleResponse(answer, fields)),
    ),
    ...(fields.nonce ? [context(1, sequence(extension('ocspNonce', false, octetString(fields.nonce))))] : []),
  );
  const signature = bitString(await signer.sign(data));
  const basic = sequence(data, algorithm, signature, certificates);
  return sequence(successful, context(0, sequence(basicType, octetString(basic))));
}

function singleResponse(answer: OcspAnswer, { thisUpdate, nextUpdate }: OcspFields): Uint8Array {
  return sequence(answer.certId, certStatus(answer), generalizedTime(thisUpdate), context(0, generalizedTime(nextUpdate)));
}

function certStatus(answer: CertStatus): Uint8Array {
  if (answer.status !== 'revoked') return answer.status === 'good' ? good : unknown;
  const { reason, revokedAt } = answer;
  const reasonField = reason === 'unspecified' ? [] : [context(0, Uint8Array.of(tags.enumerated, 1, revocationReasons[reason]))];
  return context(1, generalizedTime(revokedAt), ...reasonField);
}

const sha1 = (bytes: Uint8Array): Uint8Array => hash('sha1', bytes, 'buffer');

/** Hashes by which requests name an issuer, hex (§4.1.1: name DER, key bits without the BIT STRING's head). */
export function issuerHashes(issuer: { readonly subjectDer: Uint8Array; readonly spki: Uint8Array }, algorithm: 'sha1' | 'sha256') {
  return { name: hash(algorithm, issuer.subjectDer, 'hex'), key: hash(algorithm, pointOf(issuer.spki), 'hex') };
}

/** A CertID by SHA-1, for questions that the server asks itself (stapling). @param serial magnitude */
export function certIdOf(issuer: { readonly subjectDer: Uint8Array; readonly spki: Uint8Array }, serial: Uint8Array): Uint8Array {
  const algorithm = sequence(oid(oids.sha1), tlv(tags.null, []));
  return sequence(algorithm, octetString(sha1(issuer.subjectDer)), octetString(sha1(pointOf(issuer.spki))), integer(serial));
}
