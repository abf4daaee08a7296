import { fromHex, toHex } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor, IsoTime } from '../../domain/actor.ts';
import type { CaUse } from '../../domain/authorityEvents.ts';
import { requireActiveCa } from '../../domain/authorityState.ts';
import { type CertifiedKind, certification, certificationStream, type Intent } from '../../domain/certification.ts';
import { listIdOf, partitionFact } from '../../domain/crlList.ts';
import { type KeyHolder, publicKey, publicKeyStream } from '../../domain/publicKey.ts';
import { NusecError } from '../../errors.ts';
import { inLine } from '../../eventstore/stateCache.ts';
import { issueCertificate } from '../../pki/certificate.ts';
import { type RequestInfo, requirePossession, type UnprovenRequest } from '../../pki/csr.ts';
import { endOfLife, issuingEndsMs, leafLifetimes } from '../../pki/lifetimes.ts';
import type { NameFields } from '../../pki/names.ts';
import type { Certificate } from '../../pki/parse.ts';
import { type ProfileFields, profiles } from '../../pki/profiles.ts';
import { type Authorities, authorityOf, crlUrlOf, parsedAuthority } from '../authority/authority.ts';
import { canSign, chainOf, signingCa, stillSigns } from '../authority/issuingCa.ts';
import { backdatedIso, type Condition, type Context, execute, oneCommit, stateOf } from '../base/context.ts';
import { openPartition } from '../revocation/crlPartitions.ts';

/** Intent, signature, result: one commit, before anything leaves the server (docs/decisions/044). Killed before it, there is no certificate; after it, the
 *  same request gives the same one. An intent without a result, as earlier versions left it when they were killed, is used first. */

/** A certificate as its subject's stream has it. */
export type CertificateFacts = {
  readonly serial: string;
  readonly certificateSha256: string;
  readonly publicKeySha256: string;
  readonly icaId: string;
  readonly notAfter: IsoTime;
  readonly crlPartition?: number;
};

type LeafProfile = 'device' | 'programmer' | 'gateway' | 'ldevid';

type Common = 'publicKey' | 'serial' | 'notBefore' | 'notAfter' | 'issuer' | 'crlUrl' | 'organization';

/** Where it is recorded what is about to be signed. */
export type Intents = {
  /** The recorded intent for this key that has no result. @param ctx here and below: of the commit that it belongs to */
  readonly atHand: (ctx: Context, publicKeySha256: string) => Promise<Intent | undefined>;
  /** @returns what is recorded, which is another's if that was faster */
  readonly record: (ctx: Context, wanted: Intent) => Promise<Intent>;
  /** The intent gets no result: its authority signs no more. */
  readonly drop: (ctx: Context, serial: string) => Promise<void>;
};

export type Wish<Profile extends LeafProfile> = {
  readonly profile: Profile;
  readonly use: CaUse;
  readonly line?: string;
  /** PKCS#10 that was judged. */
  readonly csr: Uint8Array;
  readonly request: RequestInfo | UnprovenRequest;
  readonly fields: Omit<ProfileFields[Profile], Common>;
  readonly by: Actor;
  /** To whom the key belongs permanently (I4). */
  readonly holder: KeyHolder;
  /** As Intent. */
  readonly agreed?: boolean;
  /** The certificate of this key that is recorded and not due for renewal, looked up again each time. */
  readonly current: (ctx: Context) => Promise<CertificateFacts | undefined>;
  readonly intents: Intents;
  /** Records the result in the subject's stream, while the condition holds.
   *  @returns what is recorded under this serial, which is another's result if that was faster */
  readonly record: (ctx: Context, facts: CertificateFacts, condition: Condition) => Promise<CertificateFacts>;
};

/** A certificate, its issuing CA and their root, DER. */
export type Enrolment = { readonly certificate: Uint8Array; readonly ica: Uint8Array; readonly root: Uint8Array };

/** The subject that a certificate of this profile has: a request may name all of it. */
export function subjectOf<Profile extends LeafProfile>(
  ctx: Context,
  { root }: Authorities,
  profile: Profile,
  fields: Omit<ProfileFields[Profile], Common>,
): NameFields {
  const organization = parsedAuthority(root.certificate).subject.organization ?? ctx.project;
  return profiles[profile].subject({ ...fields, organization } as unknown as ProfileFields[Profile]);
}

/** Issues the certificate of a machine, or gives the present one: one path for all kinds. That the issuing CA was not compromised meanwhile is
 *  compared when it is stored (I10). Requests for one key wait for each other. Whoever is refused leaves nothing in the log: a machine may ask again and
 *  again, with another key each time.
 *  @throws NusecError CA_NOT_ACTIVE, CERTIFICATE_EXPIRED (the issuing CA), WEAK_OR_CLONED_KEY, and what `record`, the keystore and the event store throw */
export async function issueLeaf<Profile extends LeafProfile>(
  ctx: Context,
  authorities: Authorities,
  wish: Wish<Profile>,
): Promise<Enrolment> {
  const publicKeySha256 = sha256Hex(wish.request.publicKey);
  return inLine(ctx.store, `issuing-${publicKeySha256}`, () =>
    oneCommit(ctx, async (together, forget) => {
      const possession = possessionOf(wish.request, forget);
      try {
        return await issueIn(together, ctx, authorities, wish, publicKeySha256, possession);
      } catch (error) {
        possession.require();
        forget();
        throw error;
      }
    }),
  );
}

/** Whether who asks has the key. It turns out when the certificate is signed: who is answered or refused earlier has to have shown it first. */
function possessionOf(request: RequestInfo | UnprovenRequest, forget: () => void) {
  let isProven = !('proof' in request);
  return {
    note(): void {
      isProven = true;
    },
    /** Nothing stays of what was decided for who has not. @throws NusecError CSR_SIGNATURE, KEY_REFUSED */
    require(): void {
      if (isProven || !('proof' in request)) return;
      try {
        requirePossession(request.proof);
      } catch (error) {
        forget();
        throw error;
      }
      isProven = true;
    },
  };
}

async function issueIn<Profile extends LeafProfile>(
  together: Context,
  ctx: Context,
  authorities: Authorities,
  wish: Wish<Profile>,
  publicKeySha256: string,
  possession: ReturnType<typeof possessionOf>,
): Promise<Enrolment> {
  const known = await wish.current(together);
  if (known !== undefined) {
    possession.require();
    return enrolmentOf(ctx, authorities, known);
  }
  const atHand = await usableIntent(together, wish.intents, authorities, publicKeySha256);
  await reserveKey(together, publicKeySha256, wish.holder, wish.by);
  const intent = atHand ?? (await wish.intents.record(together, await newIntent(together, authorities, wish, publicKeySha256)));
  const der = await signLeaf(ctx, authorities, wish, intent);
  possession.note();
  const { serial, icaId, notAfter, crlPartition } = intent;
  const certificateSha256 = sha256Hex(der);
  const facts = { serial, certificateSha256, publicKeySha256, icaId, notAfter, ...partitionFact(crlPartition) };
  // The intent itself is closed when the next one is due.
  const recorded = await wish.record(together, facts, stillSigns(ctx, icaId));
  if (recorded.certificateSha256 !== certificateSha256) return enrolmentOf(ctx, authorities, recorded);
  await together.blobs.put(der);
  return { certificate: der, ...chainOf(authorities, icaId) };
}

async function signLeaf<Profile extends LeafProfile>(
  ctx: Context,
  authorities: Authorities,
  { profile, request, fields }: Wish<Profile>,
  intent: Intent,
): Promise<Uint8Array> {
  const { serial, icaId, notBefore, notAfter } = intent;
  const ca = await signingCa(ctx, authorities, icaId);
  const common = {
    publicKey: request.publicKey,
    serial: fromHex(serial),
    notBefore,
    notAfter,
    issuer: ca.certificate,
    crlUrl: crlUrlOf(ctx, listIdOf(intent)),
    organization: ca.certificate.subject.organization ?? ctx.project,
  };
  const signer = 'proof' in request ? ca.signer.whenProven(request.proof) : ca.signer;
  return (await issueCertificate(profile, { ...common, ...fields } as unknown as ProfileFields[Profile], signer)).der;
}

/** The intent at hand; one under an authority that signs no more gives way, as far as its stream allows. */
async function usableIntent(
  ctx: Context,
  intents: Intents,
  authorities: Authorities,
  publicKeySha256: string,
): Promise<Intent | undefined> {
  const intent = await intents.atHand(ctx, publicKeySha256);
  if (intent === undefined || canSign(authorities, intent.icaId)) return intent;
  await intents.drop(ctx, intent.serial);
  return undefined;
}

/** A recorded certificate with its chain. Another process may have recorded it under an issuing CA that came after `authorities`. */
async function enrolmentOf(ctx: Context, authorities: Authorities, { icaId, certificateSha256 }: CertificateFacts): Promise<Enrolment> {
  const isKnown = authorities.issuingCas.some(ca => ca.icaId === icaId);
  const chain = chainOf(isKnown ? authorities : await authorityOf(ctx), icaId);
  return { certificate: await ctx.blobs.get(certificateSha256), ...chain };
}

/** A key that is reserved for what is recorded with it: both in one commit, or neither. @throws NusecError WEAK_OR_CLONED_KEY, and what `record` throws */
export const reservingKey = (
  ctx: Context,
  publicKeySha256: string,
  holder: KeyHolder,
  by: Actor,
  record: (together: Context) => Promise<unknown>,
): Promise<void> =>
  oneCommit(ctx, async (together, forget) => {
    try {
      await reserveKey(together, publicKeySha256, holder, by);
      await record(together);
    } catch (error) {
      forget();
      throw error;
    }
  });

/** Reserves a public key for its holder. @throws NusecError WEAK_OR_CLONED_KEY (T26) */
async function reserveKey(ctx: Context, publicKeySha256: string, holder: KeyHolder, by: Actor): Promise<void> {
  await execute(ctx, publicKey, publicKeyStream(publicKeySha256), { type: 'ReservePublicKey', ...holder }, by);
}

/** The intents of one subject in a stream of their own. @param subject UID or gateway id
 *  @param isRecorded whether the subject's stream has this certificate: an intent that got that far is done */
export function certificationIntents(
  kind: CertifiedKind,
  subject: string,
  by: Actor,
  isRecorded: (ctx: Context, serial: string) => Promise<boolean>,
): Intents {
  const stream = certificationStream(kind, subject);
  const drop = async (ctx: Context, serial: string): Promise<void> =>
    void (await execute(ctx, certification, stream, { type: 'FinishIntent', serial }, by));
  return {
    drop,
    async atHand(ctx, publicKeySha256) {
      const state = await stateOf(ctx, certification, stream);
      if (state.status !== 'PENDING') return undefined;
      const { intent } = state;
      if (!(await isRecorded(ctx, intent.serial))) return intent.publicKeySha256 === publicKeySha256 ? intent : undefined;
      await drop(ctx, intent.serial);
      return undefined;
    },
    async record(ctx, wanted) {
      const { state } = await execute(ctx, certification, stream, { type: 'IntendCertificate', ...wanted }, by);
      return state.status === 'PENDING' ? state.intent : wanted;
    },
  };
}

/** What will be signed: serial number and validity, within the authority's own (I15).
 *  @throws NusecError CA_NOT_ACTIVE too when the authority has not enough of its own life left to issue */
async function newIntent(
  ctx: Context,
  authorities: Authorities,
  { profile, use, line, csr, agreed }: Pick<Wish<LeafProfile>, 'profile' | 'use' | 'line' | 'csr' | 'agreed'>,
  publicKeySha256: string,
): Promise<Intent> {
  const active = requireActiveCa(authorities, use, line);
  const { icaId } = active;
  const certificate = parsedAuthority(active.certificate);
  requireIssuing(ctx, icaId, certificate, profile);
  const backdated = backdatedIso(ctx);
  const notBefore = backdated < certificate.notBefore ? certificate.notBefore : backdated;
  const serial = ctx.randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  const wanted = new Date(endOfLife(Date.parse(notBefore), leafLifetimes[profile])).toISOString();
  const notAfter = wanted < certificate.notAfter ? wanted : certificate.notAfter;
  const more = { ...partitionFact(await openPartition(ctx, icaId)), ...(agreed === true && { agreed }) };
  return { serial: toHex(serial), csrSha256: sha256Hex(csr), publicKeySha256, icaId, notBefore, notAfter, ...more };
}

function requireIssuing(ctx: Context, icaId: string, certificate: Certificate, profile: LeafProfile): void {
  const endsMs = issuingEndsMs(certificate, profile);
  if (ctx.clock().getTime() < endsMs) return;
  const since = new Date(endsMs).toISOString();
  throw new NusecError(
    'CA_NOT_ACTIVE',
    `${icaId} ends ${certificate.notAfter} and issues no ${profile} certificates since ${since}: roll it`,
  );
}
