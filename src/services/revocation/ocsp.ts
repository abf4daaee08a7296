import { fromBase64url, fromHex, toBase64url } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { IsoTime } from '../../domain/actor.ts';
import { authority, authorityStream } from '../../domain/authority.ts';
import type { EventType } from '../../domain/events.ts';
import { NusecError } from '../../errors.ts';
import { signer } from '../../keystore/signer.ts';
import { lru } from '../../lru.ts';
import { issueCertificate } from '../../pki/certificate.ts';
import { type OcspQuestion, readOcspRequest } from '../../pki/ocspRequest.ts';
import {
  buildOcspResponse,
  type CertStatus,
  certIdOf,
  issuerHashes,
  type OcspAnswer,
  type OcspFailure,
  type OcspSigner,
  ocspFailure,
  ocspSigner,
} from '../../pki/ocspResponse.ts';
import { type Certificate, parseCertificate } from '../../pki/parse.ts';
import { isRevocationReason } from '../../pki/revocationReasons.ts';
import { type CertificateRow, certificateQueries } from '../../projections/certificates.ts';
import { dayMs, hourMs, type Seconds, secondsOf } from '../../times.ts';
import { authorityOf } from '../authority/authority.ts';
import { type ActiveCa, caById, ensureSigningKey } from '../authority/issuingCa.ts';
import { backdatedIso, type Context, execute, nowIso } from '../base/context.ts';
import type { Revocations } from './revocations.ts';

/** An OCSPResponse, DER. `thisUpdate` ISO, now for what is refused; `maxAgeSeconds` 0: not to be kept. */
export type OcspReply = { readonly der: Uint8Array; readonly thisUpdate: string; readonly maxAgeSeconds: Seconds };

/** OCSP responder (RFC 6960; R86, RULE-16). Every authority has a delegated signer of its own, renewed by itself. Answers without a nonce are
 *  kept until half of their life is over or the certificate's status changes; answers with one are signed each time. */
export type Ocsp = {
  /** @param request DER as received @returns OCSPResponse DER, also for what it refuses, and how long it may be kept */
  respond(request: Uint8Array): Promise<OcspReply>;
  /** The answer for a certificate of ours, to be stapled to its handshakes; undefined when there is none. @param leaf DER */
  staple(leaf: Uint8Array): Promise<Uint8Array | undefined>;
  close(): Promise<void>;
};

const responseLifetimeMs = hourMs;
const maxKeptResponses = 50_000;
const maxKeptStatuses = 200_000;
/** Requests answered in parallel; further ones get tryLater. */
const maxInFlight = 1000;
const signerRenewalMs = 30 * dayMs;

const changesIssuers: ReadonlySet<EventType> = new Set([
  'IssuingCaEstablished',
  'IssuingCaActivated',
  'IssuingCaRetired',
  'IssuingCaCompromised',
  'RootCaRolled',
  'RootCaRetired',
]);

type Kept = { readonly certId: Uint8Array; readonly der: Uint8Array; readonly thisUpdate: string; readonly keepUntilMs: number };
type KnownStatus = { readonly icaId: string; readonly status: CertStatus };
type KnownIssuer = { readonly icaId: string; readonly certificate: Certificate };
/** `renewAtMs`: from when on the next signer is made, never for one that ends with its authority. */
type Signing = OcspSigner & { readonly notAfterMs: number; readonly renewAtMs: number };

export async function startOcsp(ctx: Context, revocations: Revocations): Promise<Ocsp> {
  const queries = certificateQueries(ctx.reads.db);
  const kept = lru<Kept>(maxKeptResponses);
  const statuses = lru<KnownStatus>(maxKeptStatuses);
  const signers = new Map<string, Promise<Signing>>();
  let issuers = await knownIssuers(ctx);
  let changes = 0;
  revocations.onChange(({ serialHex }) => {
    changes += 1;
    kept.delete(serialHex);
    statuses.delete(serialHex);
  });
  const stream = authorityStream(ctx.project);
  const follower = ctx.followers.follow('OCSP', ctx.store.seen(), async events => {
    if (!events.some(event => event.stream === stream && changesIssuers.has(event.type))) return;
    issuers = await knownIssuers(ctx);
    signers.clear();
    kept.clear();
    statuses.clear();
  });

  const signerOf = async (icaId: string): Promise<Signing> => {
    const known = await signers.get(icaId);
    if (known !== undefined && known.renewAtMs > ctx.clock().getTime()) return known;
    const making = ocspSignerOf(ctx, icaId);
    signers.set(icaId, making);
    making.catch(() => signers.delete(icaId));
    return making;
  };
  /** Its holder may ask sooner than the read model has it. */
  const newlyIssued = async (serialHex: string): Promise<CertificateRow | undefined> => {
    await ctx.reads.waitFor(await ctx.store.head(), { projections: ['certificates'] });
    return queries.bySerial(serialHex);
  };
  const statusOf = async ({ serialHex }: OcspQuestion, icaId: string): Promise<CertStatus> => {
    const known = statuses.get(serialHex);
    if (known !== undefined) return known.icaId === icaId ? known.status : unknown;
    const before = changes;
    const row = (await queries.bySerial(serialHex)) ?? (await newlyIssued(serialHex));
    if (row === undefined) return unknown;
    const status = statusOfRow(row);
    if (status.status === 'good' && revocations.isRevoked(serialHex))
      throw new NusecError('PROJECTION_BEHIND', `the inventory does not have the revocation of ${serialHex} yet`);
    if (before === changes) statuses.set(serialHex, { icaId: row.ica_id, status });
    return row.ica_id === icaId ? status : unknown;
  };
  let inFlight = 0;
  const answer = async (questions: readonly OcspQuestion[], nonce: Uint8Array | undefined) => {
    const nowMs = Math.floor(ctx.clock().getTime() / 1000) * 1000;
    const [first] = questions;
    const known = nonce === undefined && questions.length === 1 && first ? kept.get(first.serialHex) : undefined;
    if (first && known && known.keepUntilMs > nowMs && Buffer.compare(known.certId, first.certId) === 0) return known;
    const [issuer, ...others] = new Set(questions.map(question => issuers.get(issuerKey(question))));
    if (issuer === undefined || others.length > 0) return undefined;
    const before = changes;
    const signing = await signerOf(issuer.icaId);
    const answers: OcspAnswer[] = [];
    for (const question of questions) answers.push({ certId: question.certId, ...(await statusOf(question, issuer.icaId)) });
    const endMs = Math.min(nowMs + responseLifetimeMs, signing.notAfterMs);
    const producedAt = new Date(nowMs).toISOString();
    const times = { producedAt, thisUpdate: backdatedIso(ctx), nextUpdate: new Date(endMs).toISOString() };
    const der = await buildOcspResponse({ answers, ...times, nonce }, signing);
    const made: Kept = { certId: first?.certId ?? der, der, thisUpdate: times.thisUpdate, keepUntilMs: nowMs + (endMs - nowMs) / 2 };
    // An unknown certificate may be issued at any moment; and what changed while we signed must not be kept.
    const keepable = nonce === undefined && questions.length === 1 && answers[0]?.status !== 'unknown' && before === changes;
    if (first && keepable) kept.set(first.serialHex, made);
    return nonce === undefined && answers.every(({ status }) => status !== 'unknown') ? made : { ...made, keepUntilMs: nowMs };
  };

  const failure = (why: OcspFailure): OcspReply => ({ der: ocspFailure(why), thisUpdate: nowIso(ctx), maxAgeSeconds: 0 });

  return {
    async respond(request) {
      if (inFlight >= maxInFlight || !revocations.isKnown()) return failure('tryLater');
      inFlight += 1;
      try {
        const { questions, nonce } = readOcspRequest(request);
        const made = await answer(questions, nonce);
        if (made === undefined) return failure('unauthorized');
        const { der, thisUpdate } = made;
        return { der, thisUpdate, maxAgeSeconds: Math.max(0, secondsOf(made.keepUntilMs - ctx.clock().getTime())) };
      } catch (error) {
        if (error instanceof NusecError && error.code === 'OCSP_MALFORMED') return failure('malformedRequest');
        ctx.log.error({ error: String(error) }, 'OCSP not answered');
        return failure('tryLater');
      } finally {
        inFlight -= 1;
      }
    },
    async staple(leaf) {
      const { serialHex, issuerDer, aki } = parseCertificate(leaf);
      const issuer = [...issuers.values()].find(({ certificate: { subjectDer, ski } }) => same(subjectDer, issuerDer) && same(ski, aki));
      if (issuer === undefined || !revocations.isKnown()) return undefined;
      const hashes = issuerHashes(issuer.certificate, 'sha1');
      const certId = certIdOf(issuer.certificate, fromHex(serialHex));
      const question = { certId, hash: 'sha1', issuerNameHash: hashes.name, issuerKeyHash: hashes.key, serialHex } as const;
      return (await answer([question], undefined))?.der;
    },
    close: () => follower.close(),
  };
}

const unknown = { status: 'unknown' } as const;

function statusOfRow({ reason, revoked_at: revokedAt }: CertificateRow): CertStatus {
  if (reason === null || revokedAt === null) return { status: 'good' };
  return { status: 'revoked', revokedAt, reason: isRevocationReason(reason) ? reason : 'unspecified' };
}

const same = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a !== undefined && b !== undefined && Buffer.compare(a, b) === 0;

const issuerKey = ({ hash, issuerNameHash, issuerKeyHash }: Pick<OcspQuestion, 'hash' | 'issuerNameHash' | 'issuerKeyHash'>): string =>
  `${hash} ${issuerNameHash} ${issuerKeyHash}`;

/** Authorities whose certificates may be asked for, by name and key under both hashes: issuing CAs, and roots for the issuing CAs and
 *  cross-certificates under them. What a compromised one issued is not vouched for. */
async function knownIssuers(ctx: Context): Promise<ReadonlyMap<string, KnownIssuer>> {
  const { issuingCas, roots } = await authorityOf(ctx);
  const good = issuingCas.filter(({ status }) => status === 'ACTIVE' || status === 'RETIRED');
  const known = new Map<string, KnownIssuer>();
  for (const { icaId, certificate } of [...good, ...roots.map(root => ({ ...root, icaId: root.rootId }))]) {
    const issuer = { icaId, certificate: parseCertificate(fromBase64url(certificate)) };
    for (const hash of ['sha1', 'sha256'] as const) {
      const { name, key } = issuerHashes(issuer.certificate, hash);
      known.set(issuerKey({ hash, issuerNameHash: name, issuerKeyHash: key }), issuer);
    }
  }
  return known;
}

/** The newest signer of an authority, or the next one when it is near its end. */
async function ocspSignerOf(ctx: Context, icaId: string): Promise<Signing> {
  const authorities = await authorityOf(ctx);
  const ca = await caById(ctx, authorities, icaId);
  const known = authorities.ocspSigners.find(candidate => candidate.icaId === icaId);
  const usable = known !== undefined && renewalOf(known.notAfter, ca.certificate.notAfter) > ctx.clock().getTime();
  const facts = usable ? known : await establishSigner(ctx, ca, known?.keyId);
  return {
    ...ocspSigner(parseCertificate(fromBase64url(facts.certificate)), await signer(ctx.keystore, facts.keyId)),
    notAfterMs: Date.parse(facts.notAfter),
    renewAtMs: renewalOf(facts.notAfter, ca.certificate.notAfter),
  };
}

const renewalOf = (notAfter: IsoTime, authorityNotAfter: string): number =>
  Date.parse(notAfter) - (notAfter < authorityNotAfter ? signerRenewalMs : 0);

/** The key comes first, as with issuing CAs: a crash leaves an unused key. */
async function establishSigner(ctx: Context, { icaId, ...ca }: ActiveCa, previousKeyId = '0') {
  const keyId = `ocsp/${icaId}/${Number(previousKeyId.split('/').at(-1)) + 1}`;
  const publicKey = await ensureSigningKey(ctx, keyId);
  const issued = await issueCertificate(
    'ocspResponder',
    {
      publicKey,
      serial: ctx.randomBytes(16),
      notBefore: backdatedIso(ctx),
      issuer: ca.certificate,
      organization: ca.certificate.subject.organization ?? ctx.project,
      commonName: `${ctx.project} ${icaId} OCSP`,
    },
    ca.signer,
  );
  const { der, serialHex: serial, notAfter } = issued;
  const facts = { icaId, certificate: toBase64url(der), sha256: sha256Hex(der), keyId, serial, notAfter };
  await execute(ctx, authority, authorityStream(ctx.project), { type: 'EstablishOcspSigner', ...facts }, 'system:ocsp');
  return facts;
}
