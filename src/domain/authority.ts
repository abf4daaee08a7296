/** The certification authority of a project: root, issuing CAs, package key, trust bundle, CRLs. Stream `authority-{project}`.
 *  NONE → CREATED; an issuing CA: ESTABLISHED → ACTIVE → RETIRED, any → COMPROMISED. Generations overlap: a retired CA stays
 *  trusted and keeps signing its CRL, but issues nothing new. */

import { type Decider, requireStatus } from './decider.ts';
import { refuse, requireTwoPeople } from './rules.ts';

export type CaUse = 'device' | 'programmer' | 'gateway' | 'server';

export type RootCa = {
  /** DER, base64url. */
  readonly certificate: string;
  readonly sha256: string;
  readonly keyId: string;
};

/** Id of the first root; those that follow are `root-2`, `root-3` … */
export const firstRootId = 'root';

/** A root that followed another. Certified by each other, so that whoever trusts one believes what the other issued. */
export type RolledRoot = RootCa & {
  readonly rootId: string;
  readonly previousRootId: string;
  /** The new root's name and key, signed by the previous root; DER, base64url. */
  readonly crossCertificate: string;
  /** The previous root's name and key, signed by the new root. */
  readonly backCertificate: string;
};

export type IssuingCa = RootCa & {
  readonly icaId: string;
  /** The root that issued it; the first one unless told. */
  readonly rootId?: string;
  readonly use: CaUse;
  /** Only a device CA belongs to one product line. */
  readonly line?: string;
  /** 1, 2, 3 … per use and line. */
  readonly generation: number;
};

export type IssuingCaStatus = 'ESTABLISHED' | 'ACTIVE' | 'RETIRED' | 'COMPROMISED';

export type PackageKey = { readonly keyId: string; readonly publicKey: string };

export type Crl = {
  readonly icaId: string;
  readonly number: number;
  /** SHA-256 of the DER; the list is a blob. */
  readonly sha256: string;
  readonly thisUpdate: string;
  readonly nextUpdate: string;
  /** Everything up to this position of the event store is in it. */
  readonly position?: number;
  /** The delta list of the same number, and the full list it completes. */
  readonly delta?: { readonly sha256: string; readonly baseNumber: number; readonly basePosition: number };
};

export type ServerCertificate = {
  readonly icaId: string;
  readonly serial: string;
  readonly sha256: string;
  readonly names: readonly string[];
  readonly notAfter: string;
};

export type OcspSigner = RootCa & { readonly icaId: string; readonly serial: string; readonly notAfter: string };

/** `sha256` is the bundle signed by the newest root; `byRoot` has it signed by every root that is trusted. Bundles are blobs. */
type TrustBundleFacts = { readonly version: number; readonly sha256: string; readonly byRoot?: { readonly [rootId: string]: string } };

export type AuthorityEvent =
  | { readonly type: 'ProjectCreated'; readonly data: { readonly project: string; readonly name: string; readonly by: string } }
  | { readonly type: 'RootCaEstablished'; readonly data: RootCa & { readonly approvers: readonly string[] } }
  | { readonly type: 'RootCaRolled'; readonly data: RolledRoot & { readonly approvers: readonly string[] } }
  | { readonly type: 'RootCaRetired'; readonly data: { readonly rootId: string } }
  | { readonly type: 'IssuingCaEstablished'; readonly data: IssuingCa }
  | { readonly type: 'IssuingCaActivated'; readonly data: { readonly icaId: string } }
  | { readonly type: 'IssuingCaRetired'; readonly data: { readonly icaId: string } }
  | { readonly type: 'IssuingCaCompromised'; readonly data: { readonly icaId: string; readonly reason: string; readonly by: string } }
  | { readonly type: 'PackageKeyEstablished'; readonly data: PackageKey }
  | { readonly type: 'PackageKeyCompromised'; readonly data: { readonly keyId: string; readonly reason: string; readonly by: string } }
  | { readonly type: 'TrustBundlePublished'; readonly data: TrustBundleFacts }
  | { readonly type: 'CrlIssued'; readonly data: Crl }
  | { readonly type: 'ServerCertificateIssued'; readonly data: ServerCertificate }
  | { readonly type: 'OcspSignerEstablished'; readonly data: OcspSigner };

export type AuthorityCommand =
  | { readonly type: 'CreateProject'; readonly project: string; readonly name: string; readonly by: string }
  | ({ readonly type: 'EstablishRootCa'; readonly approvers: readonly string[] } & RootCa)
  | ({ readonly type: 'RollRootCa'; readonly approvers: readonly string[] } & RolledRoot)
  | { readonly type: 'RetireRootCa'; readonly rootId: string }
  | ({ readonly type: 'EstablishIssuingCa' } & IssuingCa)
  | { readonly type: 'ActivateIssuingCa'; readonly icaId: string }
  | { readonly type: 'RetireIssuingCa'; readonly icaId: string }
  | { readonly type: 'CompromiseIssuingCa'; readonly icaId: string; readonly reason: string; readonly by: string }
  | ({ readonly type: 'EstablishPackageKey' } & PackageKey)
  | { readonly type: 'CompromisePackageKey'; readonly keyId: string; readonly reason: string; readonly by: string }
  | ({ readonly type: 'PublishTrustBundle' } & TrustBundleFacts)
  | ({ readonly type: 'IssueCrl' } & Crl)
  | ({ readonly type: 'IssueServerCertificate' } & ServerCertificate)
  | ({ readonly type: 'EstablishOcspSigner' } & OcspSigner);

export type KnownRoot = RootCa &
  Partial<Pick<RolledRoot, 'previousRootId' | 'crossCertificate' | 'backCertificate'>> & {
    readonly rootId: string;
    readonly retired: boolean;
  };
export type KnownIssuingCa = IssuingCa & { readonly status: IssuingCaStatus };
export type KnownPackageKey = PackageKey & { readonly compromised: boolean };

export type CreatedAuthority = {
  readonly status: 'CREATED';
  readonly project: string;
  /** The newest root: it issues. */
  readonly root?: KnownRoot;
  /** All roots, oldest first; those not retired are trusted. */
  readonly roots: readonly KnownRoot[];
  readonly issuingCas: readonly KnownIssuingCa[];
  /** All package keys, newest last: older ones still verify. */
  readonly packageKeys: readonly KnownPackageKey[];
  readonly trustBundle: TrustBundleFacts;
  /** Newest CRL of each issuing CA and root. */
  readonly crls: readonly Crl[];
  /** Newest server certificate. */
  readonly serverCertificate?: ServerCertificate;
  /** Newest OCSP signer of each issuing CA. */
  readonly ocspSigners: readonly OcspSigner[];
};

export type AuthorityState = { readonly status: 'NONE' } | CreatedAuthority;

export const authorityStream = (project: string): string => `authority-${project}`;

/** The CA that signs new certificates of this use, and of this line for devices (I10).
 *  @throws NusecError CA_NOT_ACTIVE */
export function requireActiveCa(state: AuthorityState, use: CaUse, line?: string): KnownIssuingCa {
  const cas = state.status === 'NONE' ? [] : state.issuingCas;
  const ca = cas.find(candidate => candidate.status === 'ACTIVE' && candidate.use === use && candidate.line === line);
  return ca ?? refuse('CA_NOT_ACTIVE', `no active ${use} CA${line === undefined ? '' : ` for line ${line}`}`);
}

/** The key that signs new packages, grants and orders (I10).
 *  @throws NusecError CA_NOT_ACTIVE */
export function requirePackageKey(state: AuthorityState): KnownPackageKey {
  const key = state.status === 'NONE' ? undefined : state.packageKeys.at(-1);
  if (key === undefined || key.compromised) refuse('CA_NOT_ACTIVE', 'there is no good package-signing key');
  return key;
}

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
    case 'EstablishPackageKey': {
      const { keyId, publicKey } = command;
      if (state.packageKeys.some(key => key.keyId === keyId)) return [];
      return [{ type: 'PackageKeyEstablished', data: { keyId, publicKey } }];
    }
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

type Of<Type extends AuthorityCommand['type']> = Extract<AuthorityCommand, { readonly type: Type }>;

function createProject({ project, name, by }: Of<'CreateProject'>, state: AuthorityState): readonly AuthorityEvent[] {
  return state.status === 'NONE' ? [{ type: 'ProjectCreated', data: { project, name, by } }] : [];
}

function establishRoot({ type: _, ...data }: Of<'EstablishRootCa'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  if (state.root?.sha256 === data.sha256) return [];
  if (state.root !== undefined) refuse('CONFLICT', 'this project has another root');
  requireTwoPeople(data.approvers, 'creating the root');
  return [{ type: 'RootCaEstablished', data }];
}

/** The next root, while the one before it stays trusted. */
function rollRoot({ type: _, ...data }: Of<'RollRootCa'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  const known = state.roots.find(({ rootId }) => rootId === data.rootId);
  if (known !== undefined) return known.sha256 === data.sha256 ? [] : refuse('CONFLICT', 'this root has another certificate');
  requireTwoPeople(data.approvers, 'a new root');
  if (state.root?.rootId !== data.previousRootId) refuse('CONFLICT', 'a new root follows the newest one');
  return [{ type: 'RootCaRolled', data }];
}

/** Ends the overlap: what this root issued is not believed any more. */
function retireRoot({ rootId }: Of<'RetireRootCa'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  const known = state.roots.find(root => root.rootId === rootId) ?? refuse('NOT_FOUND', 'there is no such root');
  if (known.retired) return [];
  if (known === state.root) refuse('STATE', 'the newest root cannot be retired');
  const inUse = state.issuingCas.some(ca => ca.status === 'ACTIVE' && (ca.rootId ?? firstRootId) === rootId);
  if (inUse) refuse('STATE', 'an active issuing CA hangs on this root');
  return [{ type: 'RootCaRetired', data: { rootId } }];
}

function establishIssuingCa({ type: _, ...data }: Of<'EstablishIssuingCa'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  const known = state.issuingCas.find(ca => ca.icaId === data.icaId);
  if (known !== undefined) return known.sha256 === data.sha256 ? [] : refuse('CONFLICT', 'this issuing CA has another certificate');
  if (state.root === undefined) refuse('STATE', 'an issuing CA needs the root');
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
function activate({ icaId }: Of<'ActivateIssuingCa'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  const ca = caOf(state, icaId);
  if (ca.status === 'ACTIVE') return [];
  if (ca.status !== 'ESTABLISHED') refuse('CA_NOT_ACTIVE', `the issuing CA is ${ca.status}`);
  const old = state.issuingCas.filter(other => other.status === 'ACTIVE' && sameRole(other, ca));
  const retired = old.map(other => ({ type: 'IssuingCaRetired', data: { icaId: other.icaId } }) as const);
  return [...retired, { type: 'IssuingCaActivated', data: { icaId } }];
}

function retire({ icaId }: Of<'RetireIssuingCa'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  const { status } = caOf(state, icaId);
  if (status === 'RETIRED') return [];
  if (status === 'COMPROMISED') refuse('CA_NOT_ACTIVE', 'the issuing CA is compromised');
  return [{ type: 'IssuingCaRetired', data: { icaId } }];
}

function compromisePackageKey({ keyId, reason, by }: Of<'CompromisePackageKey'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  const key = state.packageKeys.find(candidate => candidate.keyId === keyId);
  if (key === undefined) refuse('NOT_FOUND', 'there is no such package key');
  return key.compromised ? [] : [{ type: 'PackageKeyCompromised', data: { keyId, reason, by } }];
}

function publishBundle({ type: _, ...data }: Of<'PublishTrustBundle'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  const { version, sha256 } = data;
  if (version === state.trustBundle.version && sha256 === state.trustBundle.sha256) return [];
  if (version !== state.trustBundle.version + 1) refuse('CONFLICT', `the next trust bundle is version ${state.trustBundle.version + 1}`);
  if (state.root === undefined) refuse('STATE', 'a trust bundle needs the root');
  return [{ type: 'TrustBundlePublished', data }];
}

/** Numbers rise, so an old list is known as old; a compromised key signs nothing any more (I10). */
function issueCrl({ type: _, ...data }: Of<'IssueCrl'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  requireSigning(state, data.icaId);
  const newest = state.crls.find(crl => crl.icaId === data.icaId);
  if (newest?.number === data.number && newest.sha256 === data.sha256) return [];
  if (data.number <= (newest?.number ?? 0)) refuse('CONFLICT', 'the CRL number must rise');
  return [{ type: 'CrlIssued', data }];
}

function issueServerCertificate({ type: _, ...data }: Of<'IssueServerCertificate'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  if (state.serverCertificate?.serial === data.serial) return [];
  const ca = caOf(state, data.icaId);
  if (ca.status !== 'ACTIVE' || ca.use !== 'server') refuse('CA_NOT_ACTIVE', 'this is not the active server CA');
  return [{ type: 'ServerCertificateIssued', data }];
}

function establishOcspSigner({ type: _, ...data }: Of<'EstablishOcspSigner'>, state: CreatedAuthority): readonly AuthorityEvent[] {
  if (state.ocspSigners.some(signer => signer.serial === data.serial)) return [];
  requireSigning(state, data.icaId);
  return [{ type: 'OcspSignerEstablished', data }];
}

function requireSigning(state: CreatedAuthority, icaId: string): void {
  if (state.roots.some(root => root.rootId === icaId)) return;
  const { status } = caOf(state, icaId);
  if (status !== 'ACTIVE' && status !== 'RETIRED') refuse('CA_NOT_ACTIVE', `the issuing CA is ${status}`);
}

function evolve(state: AuthorityState, event: AuthorityEvent): AuthorityState {
  if (event.type === 'ProjectCreated') return created(event.data.project);
  if (state.status === 'NONE') return state;
  switch (event.type) {
    case 'RootCaEstablished': {
      const { certificate, sha256, keyId } = event.data;
      return withRoot(state, { certificate, sha256, keyId, rootId: firstRootId, retired: false });
    }
    case 'RootCaRolled': {
      const { approvers: _, ...root } = event.data;
      return withRoot(state, { ...root, retired: false });
    }
    case 'RootCaRetired':
      return { ...state, roots: state.roots.map(root => (root.rootId === event.data.rootId ? { ...root, retired: true } : root)) };
    case 'IssuingCaEstablished':
      return { ...state, issuingCas: [...state.issuingCas, { ...event.data, status: 'ESTABLISHED' }] };
    case 'IssuingCaActivated':
      return withCaStatus(state, event.data.icaId, 'ACTIVE');
    case 'IssuingCaRetired':
      return withCaStatus(state, event.data.icaId, 'RETIRED');
    case 'IssuingCaCompromised':
      return withCaStatus(state, event.data.icaId, 'COMPROMISED');
    case 'PackageKeyEstablished':
      return { ...state, packageKeys: [...state.packageKeys, { ...event.data, compromised: false }] };
    case 'PackageKeyCompromised':
      return withCompromisedKey(state, event.data.keyId);
    case 'TrustBundlePublished':
      return { ...state, trustBundle: event.data };
    case 'CrlIssued':
      return { ...state, crls: [...state.crls.filter(crl => crl.icaId !== event.data.icaId), event.data] };
    case 'ServerCertificateIssued':
      return { ...state, serverCertificate: event.data };
    case 'OcspSignerEstablished':
      return { ...state, ocspSigners: [...state.ocspSigners.filter(signer => signer.icaId !== event.data.icaId), event.data] };
    default:
      return state;
  }
}

function created(project: string): CreatedAuthority {
  const trustBundle = { version: 0, sha256: '' };
  return { status: 'CREATED', project, roots: [], issuingCas: [], packageKeys: [], trustBundle, crls: [], ocspSigners: [] };
}

function withRoot(state: CreatedAuthority, root: KnownRoot): CreatedAuthority {
  return { ...state, root, roots: [...state.roots, root] };
}

function withCaStatus(state: CreatedAuthority, icaId: string, status: IssuingCaStatus): CreatedAuthority {
  return { ...state, issuingCas: state.issuingCas.map(ca => (ca.icaId === icaId ? { ...ca, status } : ca)) };
}

function withCompromisedKey(state: CreatedAuthority, keyId: string): CreatedAuthority {
  return { ...state, packageKeys: state.packageKeys.map(key => (key.keyId === keyId ? { ...key, compromised: true } : key)) };
}

export const authority: Decider<AuthorityCommand, AuthorityState, AuthorityEvent> = { initialState: { status: 'NONE' }, decide, evolve };
