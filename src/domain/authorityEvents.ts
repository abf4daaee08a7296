import type { Curve } from '../ecKey.ts';
import type { Actor, IsoTime } from './actor.ts';
import type { InList } from './crlList.ts';
import type { SigningUse } from './signingUse.ts';

/** What happens to the authorities of a project. */

export type CaUse = 'device' | 'programmer' | 'gateway' | 'server';

type Certified = {
  /** DER, base64url. */
  readonly certificate: string;
  readonly sha256: string;
  readonly keyId: string;
};

/** `curve` of its key: P-256 in events from before it could be chosen. */
export type CaFacts = Certified & { readonly curve?: Curve };

/** `icaCurve` of the issuing CAs that it makes when a ceremony says nothing else; as its own when left out. */
export type RootCa = CaFacts & { readonly icaCurve?: Curve };

/** Id of the first root; those that follow are `root-2`, `root-3` … */
export const firstRootId = 'root';

/** A root that succeeds another. They certify each other, so that trust in one extends to certificates of the other. */
export type RolledRoot = RootCa & {
  readonly rootId: string;
  readonly previousRootId: string;
  /** The new root's name and key, signed by the previous root; DER, base64url. */
  readonly crossCertificate: string;
  /** The previous root's name and key, signed by the new root. */
  readonly backCertificate: string;
};

export type IssuingCa = CaFacts & {
  readonly icaId: string;
  /** The root that issued it; default: the first one. */
  readonly rootId?: string;
  readonly use: CaUse;
  /** Only a device CA belongs to one product line. */
  readonly line?: string;
  /** 1, 2, 3 … per use and line. */
  readonly generation: number;
};

export const issuingCaStatuses = ['ESTABLISHED', 'ACTIVE', 'RETIRED', 'COMPROMISED'] as const;
export type IssuingCaStatus = (typeof issuingCaStatuses)[number];

/** `uses`: what it signs; all of them when left out, as keys did before each use had its own. */
export type SigningKey = { readonly keyId: string; readonly publicKey: string; readonly uses?: readonly SigningUse[] };

export type Crl = InList & {
  /** Names of its distribution point (RFC 5280 §5.2.5): it is the list of one partition. Without them, of all certificates. */
  readonly urls?: readonly string[];
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
  readonly notAfter: IsoTime;
};

export type OcspSigner = Certified & { readonly icaId: string; readonly serial: string; readonly notAfter: IsoTime };

/** `sha256` is the bundle signed by the newest root; `byRoot` has it signed by every root that is trusted. Bundles are blobs. */
export type TrustBundleFacts = {
  readonly version: number;
  readonly sha256: string;
  readonly byRoot?: { readonly [rootId: string]: string };
};

export type AuthorityEvent =
  | { readonly type: 'ProjectCreated'; readonly data: { readonly project: string; readonly name: string; readonly by: Actor } }
  | { readonly type: 'RootCaEstablished'; readonly data: RootCa & { readonly approvers: readonly string[] } }
  | { readonly type: 'RootCaRolled'; readonly data: RolledRoot & { readonly approvers: readonly string[] } }
  | { readonly type: 'RootCaRetired'; readonly data: { readonly rootId: string } }
  | { readonly type: 'IssuingCaEstablished'; readonly data: IssuingCa }
  | { readonly type: 'IssuingCaActivated'; readonly data: { readonly icaId: string } }
  | { readonly type: 'IssuingCaRetired'; readonly data: { readonly icaId: string } }
  | { readonly type: 'IssuingCaCompromised'; readonly data: { readonly icaId: string; readonly reason: string; readonly by: Actor } }
  | { readonly type: 'PackageKeyEstablished'; readonly data: SigningKey }
  | { readonly type: 'PackageKeyCompromised'; readonly data: { readonly keyId: string; readonly reason: string; readonly by: Actor } }
  | { readonly type: 'TrustBundlePublished'; readonly data: TrustBundleFacts }
  | { readonly type: 'CrlIssued'; readonly data: Crl }
  | { readonly type: 'ServerCertificateIssued'; readonly data: ServerCertificate }
  | { readonly type: 'OcspSignerEstablished'; readonly data: OcspSigner };
