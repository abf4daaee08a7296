import { equalBytes, fromBase64url } from '../../bytes.ts';
import { keyIdOf } from '../../cose/publicKey.ts';
import type { KeyResolver } from '../../cose/sign1.ts';
import { sha256Hex } from '../../digest.ts';
import { authority, authorityStream } from '../../domain/authority.ts';
import {
  type AuthorityState,
  type CreatedAuthority,
  type KnownIssuingCa,
  type KnownRoot,
  requireSigningKey,
} from '../../domain/authorityState.ts';
import type { SigningUse } from '../../domain/signingUse.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import { coseSignerOf, keyNameOf } from '../../keystore/signer.ts';
import { type Certificate, parseCertificate } from '../../pki/parse.ts';
import { remembered } from '../../pki/remembered.ts';
import type { Signer } from '../../production/signed.ts';
import { type Context, reader } from '../base/context.ts';

/** The project's authorities in use: who signs which certificate, which keys sign for which use, what machines trust. */

export const rootKeyId = 'root/1';

/** The authorities of an initialised project. Read once for each request and handed on: what one answer is built from does not change half-way. */
export type Authorities = CreatedAuthority & { readonly root: KnownRoot };

/** @throws NusecError STATE before `nusec init` */
export const authorityOf = (ctx: Context): Promise<Authorities> => authorityIn(reader(ctx), ctx.project);

/** @throws NusecError STATE before `nusec init` */
export async function authorityIn(read: Read, project: string): Promise<Authorities> {
  const state = await read(authority, authorityStream(project));
  if (!hasRoot(state)) throw new NusecError('STATE', 'the project is not initialised: run `nusec init`');
  return state;
}

const hasRoot = (state: AuthorityState): state is Authorities => state.status !== 'NONE' && state.root !== undefined;

/** The newest root. */
export const rootDer = ({ root }: Authorities): Uint8Array => fromBase64url(root.certificate);

const maxParsedAuthorities = 256;
/** Authorities are few: each is parsed once. */
export const parsedAuthority = remembered(maxParsedAuthorities, certificate => parseCertificate(fromBase64url(certificate)));

/** @param listId of an authority and partition */
export const crlUrlOf = (ctx: Context, listId: string): string => `${ctx.crlBaseUrl}/crl/${listId}.crl`;
export const deltaCrlUrlOf = (ctx: Context, listId: string): string => `${ctx.crlBaseUrl}/delta/${listId}.crl`;
/** Where everybody may ask for the status of one certificate (RFC 6960). */
export const ocspUrlOf = (ctx: Context): string => `${ctx.crlBaseUrl}/ocsp`;

/** Signs what has this use, and nothing else. @throws NusecError CA_NOT_ACTIVE; when it signs, as the keystore */
export async function signerFor(ctx: Context, authorities: Authorities, use: SigningUse): Promise<Signer> {
  const { keyId, publicKey } = requireSigningKey(authorities, use);
  return coseSignerOf(ctx.keystore, keyId, nameOfKey(publicKey));
}

/** One key signs many messages. */
const nameOfKey = remembered(maxParsedAuthorities, publicKey => keyNameOf(fromBase64url(publicKey)));

/** Our own keys of this use by kid, for what we signed ourselves: older ones too, and those that are compromised by now. */
export function ownKeysFor({ packageKeys }: Authorities, use: SigningUse): KeyResolver {
  const keys = packageKeys.filter(({ uses }) => uses.includes(use)).map(({ publicKey }) => fromBase64url(publicKey));
  return kid => keys.find(key => equalBytes(keyIdOf(key), kid));
}

/** Issuing CA certificates that may be between a machine's certificate and a root: compromised ones may not. */
function trustedIssuers({ issuingCas }: Authorities): readonly Uint8Array[] {
  return issuingCas.filter(ca => ca.status !== 'COMPROMISED').map(ca => fromBase64url(ca.certificate));
}

type RecordedIssuer = Pick<KnownIssuingCa, 'icaId' | 'use' | 'line'> & { readonly certificate: Certificate };

/** The same with what the log records of them. */
export function recordedIssuers({ issuingCas }: Authorities): readonly RecordedIssuer[] {
  return issuingCas.flatMap(({ icaId, use, line, status, certificate }) =>
    status === 'COMPROMISED' ? [] : [{ icaId, use, ...(line !== undefined && { line }), certificate: parsedAuthority(certificate) }],
  );
}

/** Roots in which a chain may end: all that are not retired. */
export function trustedRoots({ roots }: Authorities): readonly Uint8Array[] {
  return roots.filter(({ retired }) => !retired).map(({ certificate }) => fromBase64url(certificate));
}

/** Certificates by which the roots that are trusted vouch for each other, DER. */
export function crossCertificates({ roots }: Authorities): readonly Uint8Array[] {
  const isTrusted = (rootId: string | undefined) => roots.some(root => root.rootId === rootId && !root.retired);
  return roots
    .filter(({ retired, previousRootId }) => !retired && isTrusted(previousRootId))
    .flatMap(({ crossCertificate, backCertificate }) => [crossCertificate, backCertificate])
    .filter(certificate => certificate !== undefined)
    .map(fromBase64url);
}

/** Every authority's certificate that is trusted: roots, the certificates between them, issuing CAs. */
export function trustedAuthorities(authorities: Authorities): readonly Uint8Array[] {
  return [...trustedRoots(authorities), ...crossCertificates(authorities), ...trustedIssuers(authorities)];
}

/** Hash under which a public key is reserved permanently (I4). */
export const publicKeySha256 = (spki: Uint8Array): string => sha256Hex(spki);
