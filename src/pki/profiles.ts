import { fromHex } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import {
  bundleBefore,
  caConstraints,
  certificatePolicies,
  crlDistributionPoint,
  extKeyUsage,
  extKeyUsageOfCa,
  hardwareModuleName,
  keyUsageOfCa,
  keyUsageOfLeaf,
  leafConstraints,
  ocspAccess,
  ocspNoCheck,
  serverNames,
  spdmHardwareIdentity,
} from './extensions.ts';
import { hostBytes } from './hosts.ts';
import { type IssuerScope, policiesOf } from './issuerScope.ts';
import { icaLifetime, type Lifetime, leafLifetimes } from './lifetimes.ts';
import type { NameFields } from './names.ts';

/** What a certificate of each kind contains (docs/identity.md has the table). Key identifiers are added by `certificate.ts`. */

/** What issuing needs to know of the issuer; a parsed certificate has it. */
export type Issuer = { readonly subjectDer: Uint8Array; readonly ski?: Uint8Array; readonly notBefore?: string; readonly notAfter: string };

type Common = {
  /** SubjectPublicKeyInfo: 91 bytes, or 120 for a P-384 authority. */
  readonly publicKey: Uint8Array;
  /** 16 random bytes. */
  readonly serial: Uint8Array;
  /** ISO; parts of a second are dropped. Never before the issuer's. */
  readonly notBefore: string;
  /** ISO; default is the profile's lifetime. Never later than the issuer's (I15). */
  readonly notAfter?: string;
};
type Issued = Common & { readonly issuer: Issuer };
type Listed = Issued & { readonly crlUrl: string };

/** `uid` 32 lower-case hex, `objId` the registration id, `line` the product line, URLs http. */
export type ProfileFields = {
  rootCa: Common & { readonly issuer?: undefined; readonly organization: string; readonly commonName: string };
  crossRoot: Listed & { readonly organization: string; readonly commonName: string };
  ica: Listed & {
    readonly organization: string;
    /** organizationalUnit; the line of a device CA, or its use. */
    readonly line: string;
    readonly commonName: string;
    /** Absent in issuing CAs from before they stated it. */
    readonly scope?: IssuerScope;
    /** Version of the newest trust bundle; absent before the first. */
    readonly bundleBefore?: number;
  };
  device: Listed & { readonly organization: string; readonly uid: string; readonly objId: string; readonly ocspUrl?: string };
  ldevid: Listed & { readonly organization: string; readonly uid: string; readonly objId: string; readonly ocspUrl?: string };
  programmer: Listed & { readonly organization: string; readonly uid: string };
  gateway: Listed & { readonly organization: string; readonly id: string };
  server: Listed & { readonly commonName: string; readonly dnsNames: readonly string[]; readonly ipAddresses: readonly string[] };
  ocspResponder: Issued & { readonly organization: string; readonly commonName: string };
  log: Listed & { readonly organization: string; readonly commonName: string };
};
export type ProfileName = keyof ProfileFields;

export type Profile<Fields> = {
  readonly isCa: boolean;
  lifetime(fields: Fields): Lifetime;
  subject(fields: Fields): NameFields;
  extensions(fields: Fields): readonly Uint8Array[];
};

/** organizationalUnit that distinguishes an operational certificate from an IDevID. */
export const ldevidUnit = 'LDevID';

/** Authorities below a certificate between roots: an issuing CA, and other certificates between roots, so that a path may lead over several. */
const maxRootsBetween = 3;

const leaf = [leafConstraints, keyUsageOfLeaf] as const;
const usages = {
  device: extKeyUsage('clientAuth', 'spdmResponderAuth'),
  programmer: extKeyUsage('clientAuth', 'spdmRequesterAuth', 'programmerAuth'),
  gateway: extKeyUsage('clientAuth', 'spdmRequesterAuth', 'gatewayAuth'),
  server: extKeyUsage('serverAuth'),
  ocspResponder: extKeyUsage('ocspSigning'),
  log: extKeyUsage('logSigning'),
};
/** Extended key usage of an issuing CA: those of its leaves and no other. Without ocspSigning, by which it would speak for its root. */
const usagesOfCa: Readonly<Record<IssuerScope['use'], Uint8Array>> = {
  device: extKeyUsageOfCa('clientAuth', 'spdmResponderAuth'),
  programmer: extKeyUsageOfCa('clientAuth', 'spdmRequesterAuth', 'programmerAuth'),
  gateway: extKeyUsageOfCa('clientAuth', 'spdmRequesterAuth', 'gatewayAuth'),
  server: extKeyUsageOfCa('serverAuth'),
};

export const profiles: { readonly [Name in ProfileName]: Profile<ProfileFields[Name]> } = {
  rootCa: {
    isCa: true,
    lifetime: () => 'endless',
    subject: ({ organization, commonName }) => ({ organization, commonName }),
    extensions: () => [caConstraints(), keyUsageOfCa],
  },
  /** One root's name and key, certified by another root (RFC 5280 §3.2: cross-certificate). */
  crossRoot: {
    isCa: true,
    lifetime: () => 'endless',
    subject: ({ organization, commonName }) => ({ organization, commonName }),
    extensions: ({ crlUrl }) => [caConstraints(maxRootsBetween), keyUsageOfCa, crlDistributionPoint(crlUrl)],
  },
  ica: {
    isCa: true,
    lifetime: ({ scope }) => (scope === undefined ? 'endless' : icaLifetime(scope.use)),
    subject: ({ organization, line, commonName }) => ({ organization, organizationalUnit: line, commonName }),
    extensions: ({ crlUrl, scope, bundleBefore: version }) => [
      caConstraints(0),
      keyUsageOfCa,
      ...(scope === undefined ? [] : [usagesOfCa[scope.use], certificatePolicies(policiesOf(scope))]),
      crlDistributionPoint(crlUrl),
      ...(version === undefined ? [] : [bundleBefore(version)]),
    ],
  },
  device: {
    isCa: false,
    lifetime: () => leafLifetimes.device,
    subject: ({ organization, uid, objId }) => ({ organization, commonName: objId, serialNumber: uid }),
    extensions: ({ uid, crlUrl, ocspUrl }) => [
      ...leaf,
      usages.device,
      hardwareModuleName(uidBytes(uid)),
      spdmHardwareIdentity,
      crlDistributionPoint(crlUrl),
      ...(ocspUrl === undefined ? [] : [ocspAccess(ocspUrl)]),
    ],
  },
  /** Operational certificate of a device in the field (IEEE 802.1AR LDevID): short-lived, beside the IDevID, not bound to the hardware. */
  ldevid: {
    isCa: false,
    lifetime: () => leafLifetimes.ldevid,
    subject: ({ organization, uid, objId }) => {
      uidBytes(uid);
      return { organization, organizationalUnit: ldevidUnit, commonName: objId, serialNumber: uid };
    },
    extensions: ({ crlUrl, ocspUrl }) => [
      ...leaf,
      usages.device,
      crlDistributionPoint(crlUrl),
      ...(ocspUrl === undefined ? [] : [ocspAccess(ocspUrl)]),
    ],
  },
  programmer: {
    isCa: false,
    lifetime: () => leafLifetimes.programmer,
    subject: ({ organization, uid }) => {
      uidBytes(uid);
      return { organization, organizationalUnit: 'programmer', serialNumber: uid };
    },
    extensions: ({ crlUrl }) => [...leaf, usages.programmer, crlDistributionPoint(crlUrl)],
  },
  gateway: {
    isCa: false,
    lifetime: () => leafLifetimes.gateway,
    subject: ({ organization, id }) => ({ organization, organizationalUnit: 'gateway', commonName: id }),
    extensions: ({ crlUrl }) => [...leaf, usages.gateway, crlDistributionPoint(crlUrl)],
  },
  server: {
    isCa: false,
    lifetime: () => leafLifetimes.server,
    subject: ({ commonName }) => ({ commonName }),
    extensions: ({ dnsNames, ipAddresses, crlUrl }) => [
      ...leaf,
      usages.server,
      serverNames(dnsNames.map(dnsName), ipAddresses.map(ipAddress)),
      crlDistributionPoint(crlUrl),
    ],
  },
  ocspResponder: {
    isCa: false,
    lifetime: () => leafLifetimes.ocspResponder,
    subject: ({ organization, commonName }) => ({ organization, commonName }),
    extensions: () => [...leaf, usages.ocspResponder, ocspNoCheck],
  },
  /** The key that signs checkpoints of the event log, certified by each root. */
  log: {
    isCa: false,
    lifetime: () => leafLifetimes.log,
    subject: ({ organization, commonName }) => ({ organization, organizationalUnit: 'log', commonName }),
    extensions: ({ crlUrl }) => [...leaf, usages.log, crlDistributionPoint(crlUrl)],
  },
};

function uidBytes(uid: string): Uint8Array {
  if (!/^[0-9a-f]{32}$/.test(uid)) throw new NusecError('BAD_REQUEST', 'a UID is 32 lower-case hex digits');
  return fromHex(uid);
}

function dnsName(name: string): string {
  if (!/^(?!-)[a-z0-9-]{1,63}(\.(?!-)[a-z0-9-]{1,63})*$/.test(name) || name.length > 253)
    throw new NusecError('BAD_REQUEST', 'not a DNS name in lower case');
  return name;
}

function ipAddress(address: string): Uint8Array {
  const bytes = hostBytes(address);
  if (!bytes) throw new NusecError('BAD_REQUEST', 'not an IP address');
  return bytes;
}
