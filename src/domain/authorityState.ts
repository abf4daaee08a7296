import type { Curve } from '../ecKey.ts';
import {
  type AuthorityEvent,
  type CaFacts,
  type CaUse,
  type Crl,
  firstRootId,
  type IssuingCa,
  type IssuingCaStatus,
  type OcspSigner,
  type RolledRoot,
  type RootCa,
  type ServerCertificate,
  type SigningKey,
  type TrustBundleFacts,
} from './authorityEvents.ts';
import { listIdOf } from './crlList.ts';
import { refuse } from './rules.ts';
import { type SigningUse, signingUses } from './signingUse.ts';

/** The fold of an authority's events. */

/** Of authorities that do not say otherwise. */
const defaultCurve: Curve = 'P-256';

export type KnownRoot = Required<RootCa> &
  Partial<Pick<RolledRoot, 'previousRootId' | 'crossCertificate' | 'backCertificate'>> & {
    readonly rootId: string;
    readonly retired: boolean;
  };
export type KnownIssuingCa = IssuingCa & Required<CaFacts> & { readonly status: IssuingCaStatus };
export type KnownSigningKey = Required<SigningKey> & { readonly compromised: boolean };

export type CreatedAuthority = {
  readonly status: 'CREATED';
  readonly project: string;
  /** The newest root: it issues. */
  readonly root?: KnownRoot;
  /** All roots, oldest first; those not retired are trusted. */
  readonly roots: readonly KnownRoot[];
  readonly issuingCas: readonly KnownIssuingCa[];
  /** The signing keys of all uses, newest last: older ones still verify. */
  readonly packageKeys: readonly KnownSigningKey[];
  readonly trustBundle: TrustBundleFacts;
  /** By root: the newest bundle it signed, also when it is retired by now. */
  readonly newestBundles: { readonly [rootId: string]: { readonly version: number; readonly sha256: string } };
  /** Newest CRL of each issuing CA and root. */
  readonly crls: readonly Crl[];
  /** Newest server certificate. */
  readonly serverCertificate?: ServerCertificate;
  /** Newest OCSP signer of each issuing CA. */
  readonly ocspSigners: readonly OcspSigner[];
};

export type AuthorityState = { readonly status: 'NONE' } | CreatedAuthority;

/** The CA that signs new certificates of this use, and of this line for devices (I10).
 *  @throws NusecError CA_NOT_ACTIVE */
export function requireActiveCa(state: AuthorityState, use: CaUse, line?: string): KnownIssuingCa {
  const cas = state.status === 'NONE' ? [] : state.issuingCas;
  const ca = cas.find(candidate => candidate.status === 'ACTIVE' && candidate.use === use && candidate.line === line);
  return ca ?? refuse('CA_NOT_ACTIVE', `no active ${use} CA${line === undefined ? '' : ` for line ${line}`}`);
}

/** The key that signs what is new of this use (I10): the newest one made for it.
 *  @throws NusecError CA_NOT_ACTIVE */
export function requireSigningKey(state: AuthorityState, use: SigningUse): KnownSigningKey {
  const keys = state.status === 'NONE' ? [] : state.packageKeys;
  const key = keys.findLast(({ uses }) => uses.includes(use));
  if (key === undefined || key.compromised) refuse('CA_NOT_ACTIVE', `there is no good signing key for the use ${use}`);
  return key;
}

export function evolveAuthority(state: AuthorityState, event: AuthorityEvent): AuthorityState {
  if (event.type === 'ProjectCreated') return created(event.data.project);
  if (state.status === 'NONE') return state;
  switch (event.type) {
    case 'RootCaEstablished': {
      const { approvers: _, ...root } = event.data;
      return withRoot(state, { ...root, rootId: firstRootId });
    }
    case 'RootCaRolled': {
      const { approvers: _, ...root } = event.data;
      return withRoot(state, root);
    }
    case 'RootCaRetired':
      return { ...state, roots: state.roots.map(root => (root.rootId === event.data.rootId ? { ...root, retired: true } : root)) };
    case 'IssuingCaEstablished':
      return { ...state, issuingCas: [...state.issuingCas, { curve: defaultCurve, ...event.data, status: 'ESTABLISHED' }] };
    case 'IssuingCaActivated':
      return withCaStatus(state, event.data.icaId, 'ACTIVE');
    case 'IssuingCaRetired':
      return withCaStatus(state, event.data.icaId, 'RETIRED');
    case 'IssuingCaCompromised':
      return withCaStatus(state, event.data.icaId, 'COMPROMISED');
    case 'PackageKeyEstablished':
      return { ...state, packageKeys: [...state.packageKeys, { uses: signingUses, ...event.data, compromised: false }] };
    case 'PackageKeyCompromised':
      return withCompromisedKey(state, event.data.keyId);
    case 'TrustBundlePublished':
      return { ...state, trustBundle: event.data, newestBundles: { ...state.newestBundles, ...signedBy(state, event.data) } };
    case 'CrlIssued':
      return { ...state, crls: [...state.crls.filter(crl => listIdOf(crl) !== listIdOf(event.data)), event.data] };
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
  const none = { roots: [], issuingCas: [], packageKeys: [], newestBundles: {}, crls: [], ocspSigners: [] };
  return { status: 'CREATED', project, trustBundle, ...none };
}

function signedBy({ root }: CreatedAuthority, { version, sha256, byRoot }: TrustBundleFacts): CreatedAuthority['newestBundles'] {
  const blobs = byRoot ?? { [root?.rootId ?? firstRootId]: sha256 };
  return Object.fromEntries(Object.entries(blobs).map(([rootId, blob]) => [rootId, { version, sha256: blob }]));
}

function withRoot(state: CreatedAuthority, facts: RootCa & Pick<KnownRoot, 'rootId'>): CreatedAuthority {
  const curve = facts.curve ?? defaultCurve;
  const root: KnownRoot = { ...facts, curve, icaCurve: facts.icaCurve ?? curve, retired: false };
  return { ...state, root, roots: [...state.roots, root] };
}

function withCaStatus(state: CreatedAuthority, icaId: string, status: IssuingCaStatus): CreatedAuthority {
  return { ...state, issuingCas: state.issuingCas.map(ca => (ca.icaId === icaId ? { ...ca, status } : ca)) };
}

function withCompromisedKey(state: CreatedAuthority, keyId: string): CreatedAuthority {
  return { ...state, packageKeys: state.packageKeys.map(key => (key.keyId === keyId ? { ...key, compromised: true } : key)) };
}
