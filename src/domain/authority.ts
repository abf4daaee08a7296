import {
  type AuthorityEvent,
  type Crl,
  firstRootId,
  type IssuingCa,
  type OcspSigner,
  type RolledRoot,
  type RootCa,
  type ServerCertificate,
  type SigningKey,
  type TrustBundleFacts,
} from './authorityEvents.ts';
import { type AuthorityState, type CreatedAuthority, evolveAuthority, type KnownIssuingCa } from './authorityState.ts';
import { listIdOf } from './crlList.ts';
import { type Decider, type Of, requireStatus } from './decider.ts';
import { refuse, requireTwoPeople } from './rules.ts';

/** The certification authority of a project: root, issuing CAs, signing keys, trust bundle, CRLs. Stream `authority-{project}`.
 *  NONE → CREATED; an issuing CA: ESTABLISHED → ACTIVE → RETIRED, any → COMPROMISED. Generations overlap: a retired CA stays
 *  trusted and keeps signing its CRL, but issues nothing new.
 *  Events: authorityEvents.ts; state: authorityState.ts. */

export type AuthorityCommand =
  | { readonly type: 'CreateProject'; readonly project: string; readonly name: string; readonly by: string }
  | ({ readonly type: 'EstablishRootCa'; readonly approvers: readonly string[] } & RootCa)
  | ({ readonly type: 'RollRootCa'; readonly approvers: readonly string[] } & RolledRoot)
  | { readonly type: 'RetireRootCa'; readonly rootId: string }
  /** `bundleBefore`: version of the newest trust bundle when its certificate was made, which states it. */
  | ({ readonly type: 'EstablishIssuingCa'; readonly bundleBefore?: number } & IssuingCa)
  | { readonly type: 'ActivateIssuingCa'; readonly icaId: string }
  | { readonly type: 'RetireIssuingCa'; readonly icaId: string }
  | { readonly type: 'CompromiseIssuingCa'; readonly icaId: string; readonly reason: string; readonly by: string }
  | ({ readonly type: 'EstablishPackageKey' } & SigningKey)
  | { readonly type: 'CompromisePackageKey'; readonly keyId: string; readonly reason: string; readonly by: string }
  /** `after`: number of the newest one when it was made. If another has come since, it may lack what that one says. */
  | ({ readonly type: 'PublishTrustBundle'; readonly after: number } & TrustBundleFacts)
  | ({ readonly type: 'IssueCrl'; readonly after: number } & Crl)
  | ({ readonly type: 'IssueServerCertificate' } & ServerCertificate)
  | ({ readonly type: 'EstablishOcspSigner' } & OcspSigner);

export const authorityStream = (project: string): string => `authority-${project}`;

function decide(command: AuthorityCommand, state: AuthorityState): readonly AuthorityEvent[] {
  if (command.type === 'CreateProject') return createProject(command, state);
  requireStatus(state, ['CREATED'], 'this command');
  switch (command.type) {
    case 'EstablishRootCa':
      return establishRoot(command, state);
    case 'RollRootCa':
      return rollRoot(command, state);
    case 'RetireRootCa':
      return retireRoot(command, state);
    case 'EstablishIssuingCa':
      return establishIssuingCa(command, state);
    case 'ActivateIssuingCa':
      return activate(command, state);
    case 'RetireIssuingCa':
      return retire(command, state);
    case 'CompromiseIssuingCa': {
      const { icaId, reason, by } = command;
      return caOf(state, icaId).status === 'COMPROMISED' ? [] : [{ type: 'IssuingCaCompromised', data: { icaId, reason, by } }];
    }
    case 'EstablishPackageKey':
      return establishSigningKey(command, state);
    case 'CompromisePackageKey':
      return compromisePackageKey(command, state);
    case 'PublishTrustBundle':
      return publishBundle(command, state);
    case 'IssueCrl':
      return issueCrl(command, state);
    case 'IssueServerCertificate':
      return issueServerCertificate(command, state);
    case 'EstablishOcspSigner':
      return establishOcspSigner(command, state);
  }
}

function createProject({ project, name, by }: Of<AuthorityCommand, 'CreateProject'>, state: AuthorityState): readonly AuthorityEvent[] {
  return state.status === 'NONE' ? [{ type: 'ProjectCreated', data: { project, name, by } }] : [];
}

function establishRoot({ type: _, ...data }: Of<AuthorityCommand, 'EstablishRootCa'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  if (state.root?.sha256 === data.sha256) return [];
  if (state.root !== undefined) refuse('CONFLICT', 'this project has another root');
  requireTwoPeople(data.approvers, 'creating the root');
  return [{ type: 'RootCaEstablished', data }];
}

/** The next root, while the one before it stays trusted. */
function rollRoot({ type: _, ...data }: Of<AuthorityCommand, 'RollRootCa'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  const known = state.roots.find(({ rootId }) => rootId === data.rootId);
  if (known !== undefined) return known.sha256 === data.sha256 ? [] : refuse('CONFLICT', 'this root has another certificate');
  requireTwoPeople(data.approvers, 'a new root');
  if (state.root?.rootId !== data.previousRootId) refuse('CONFLICT', 'a new root follows the newest one');
  return [{ type: 'RootCaRolled', data }];
}

/** Ends the overlap: what this root issued is not trusted any more. */
function retireRoot({ rootId }: Of<AuthorityCommand, 'RetireRootCa'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  const known = state.roots.find(root => root.rootId === rootId) ?? refuse('NOT_FOUND', 'there is no such root');
  if (known.retired) return [];
  if (known === state.root) refuse('STATE', 'the newest root cannot be retired');
  const inUse = state.issuingCas.some(ca => ca.status === 'ACTIVE' && (ca.rootId ?? firstRootId) === rootId);
  if (inUse) refuse('STATE', 'an active issuing CA hangs on this root');
  return [{ type: 'RootCaRetired', data: { rootId } }];
}

function establishIssuingCa(
  { type: _, bundleBefore, ...data }: Of<AuthorityCommand, 'EstablishIssuingCa'>,
  state: CreatedAuthority,
): readonly AuthorityEvent[] {
  const known = state.issuingCas.find(ca => ca.icaId === data.icaId);
  if (known !== undefined) return known.sha256 === data.sha256 ? [] : refuse('CONFLICT', 'this issuing CA has another certificate');
  if (state.root === undefined) refuse('STATE', 'an issuing CA needs the root');
  // A bundle in between does not contain it, and a machine with that bundle would treat it as removed.
  if (bundleBefore !== undefined && bundleBefore !== state.trustBundle.version) refuse('REVISION_CONFLICT', 'the trust bundle has changed');
  const generations = state.issuingCas.filter(ca => sameRole(ca, data)).map(ca => ca.generation);
  if (data.generation <= Math.max(0, ...generations)) refuse('CONFLICT', 'the generation must rise');
  return [{ type: 'IssuingCaEstablished', data }];
}

function sameRole(a: IssuingCa, b: IssuingCa): boolean {
  return a.use === b.use && a.line === b.line;
}

function caOf(state: CreatedAuthority, icaId: string): KnownIssuingCa {
  return state.issuingCas.find(ca => ca.icaId === icaId) ?? refuse('NOT_FOUND', 'there is no such issuing CA');
}

/** One active CA per use and line: the new generation retires the old one. */
function activate({ icaId }: Of<AuthorityCommand, 'ActivateIssuingCa'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  const ca = caOf(state, icaId);
  if (ca.status === 'ACTIVE') return [];
  if (ca.status !== 'ESTABLISHED') refuse('CA_NOT_ACTIVE', `the issuing CA is ${ca.status}`);
  const old = state.issuingCas.filter(other => other.status === 'ACTIVE' && sameRole(other, ca));
  const retired = old.map(other => ({ type: 'IssuingCaRetired', data: { icaId: other.icaId } }) as const);
  return [...retired, { type: 'IssuingCaActivated', data: { icaId } }];
}

function retire({ icaId }: Of<AuthorityCommand, 'RetireIssuingCa'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  const { status } = caOf(state, icaId);
  if (status === 'RETIRED') return [];
  if (status === 'COMPROMISED') refuse('CA_NOT_ACTIVE', 'the issuing CA is compromised');
  return [{ type: 'IssuingCaRetired', data: { icaId } }];
}

/** A key has one record: the same public key under another id would serve a second use. */
function establishSigningKey(
  { type: _, ...data }: Of<AuthorityCommand, 'EstablishPackageKey'>,
  state: CreatedAuthority,
): readonly AuthorityEvent[] {
  const { keyId, publicKey, uses } = data;
  if (state.packageKeys.some(key => key.keyId === keyId)) return [];
  if (uses?.length === 0) refuse('BAD_REQUEST', 'a signing key has a use');
  if (state.packageKeys.some(key => key.publicKey === publicKey)) refuse('CONFLICT', 'this key serves another use already');
  return [{ type: 'PackageKeyEstablished', data }];
}

function compromisePackageKey(
  { keyId, reason, by }: Of<AuthorityCommand, 'CompromisePackageKey'>,
  state: CreatedAuthority,
): readonly AuthorityEvent[] {
  const key = state.packageKeys.find(candidate => candidate.keyId === keyId);
  if (key === undefined) refuse('NOT_FOUND', 'there is no such signing key');
  return key.compromised ? [] : [{ type: 'PackageKeyCompromised', data: { keyId, reason, by } }];
}

function publishBundle(
  { type: _, after, ...data }: Of<AuthorityCommand, 'PublishTrustBundle'>,
  state: CreatedAuthority,
): readonly AuthorityEvent[] {
  const { version, sha256 } = data;
  if (version === state.trustBundle.version && sha256 === state.trustBundle.sha256) return [];
  if (version <= state.trustBundle.version || after !== state.trustBundle.version)
    refuse('CONFLICT', `the newest trust bundle has version ${state.trustBundle.version}`);
  if (state.root === undefined) refuse('STATE', 'a trust bundle needs the root');
  return [{ type: 'TrustBundlePublished', data }];
}

/** Numbers rise, so an old list is known as old; a compromised key signs nothing any more (I10). */
function issueCrl({ type: _, after, ...data }: Of<AuthorityCommand, 'IssueCrl'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  requireSigning(state, data.icaId);
  const newest = state.crls.find(crl => listIdOf(crl) === listIdOf(data));
  if (newest?.number === data.number && newest.sha256 === data.sha256) return [];
  const newestNumber = newest?.number ?? 0;
  if (data.number <= newestNumber || after !== newestNumber) refuse('CONFLICT', `the newest list has number ${newestNumber}`);
  return [{ type: 'CrlIssued', data }];
}

function issueServerCertificate(
  { type: _, ...data }: Of<AuthorityCommand, 'IssueServerCertificate'>,
  state: CreatedAuthority,
): readonly AuthorityEvent[] {
  if (state.serverCertificate?.serial === data.serial) return [];
  const ca = caOf(state, data.icaId);
  if (ca.status !== 'ACTIVE' || ca.use !== 'server') refuse('CA_NOT_ACTIVE', 'this is not the active server CA');
  return [{ type: 'ServerCertificateIssued', data }];
}

function establishOcspSigner(
  { type: _, ...data }: Of<AuthorityCommand, 'EstablishOcspSigner'>,
  state: CreatedAuthority,
): readonly AuthorityEvent[] {
  if (state.ocspSigners.some(signer => signer.serial === data.serial)) return [];
  requireSigning(state, data.icaId);
  return [{ type: 'OcspSignerEstablished', data }];
}

function requireSigning(state: CreatedAuthority, icaId: string): void {
  if (state.roots.some(root => root.rootId === icaId)) return;
  const { status } = caOf(state, icaId);
  if (status !== 'ACTIVE' && status !== 'RETIRED') refuse('CA_NOT_ACTIVE', `the issuing CA is ${status}`);
}

export const authority: Decider<AuthorityCommand, AuthorityState, AuthorityEvent> = {
  initialState: { status: 'NONE' },
  decide,
  evolve: evolveAuthority,
};
