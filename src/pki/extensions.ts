import { NusecError } from '../errors.ts';
import { contextPrimitive, tags } from './der.ts';
import { boolean, context, integerOf, octetString, oid, sequence, tlv } from './derWriter.ts';
import { oids } from './oids.ts';
import { remembered } from './remembered.ts';

/** Certificate and CRL extensions (RFC 5280 §4.2, §5.2) as the profiles write them. Each function gives one complete Extension. */

/** GeneralName alternatives (RFC 5280 §4.2.1.6). */
export const generalNames = { otherName: 0, dnsName: 2, uri: 6, ipAddress: 7 } as const;

const maxUrlBytes = 256;
/** Addresses of authorities in use: their extensions are encoded once. */
const maxKnownUrls = 256;

const encoded = Object.fromEntries(Object.entries(oids).map(([name, dotted]) => [name, oid(dotted)])) as Record<
  keyof typeof oids,
  Uint8Array
>;

export function extension(name: keyof typeof oids, critical: boolean, value: Uint8Array): Uint8Array {
  return critical ? sequence(encoded[name], boolean(true), octetString(value)) : sequence(encoded[name], octetString(value));
}

/** @param pathLength undefined = no limit (§4.2.1.9) */
export const caConstraints = (pathLength?: number): Uint8Array =>
  extension('basicConstraints', true, pathLength === undefined ? sequence(boolean(true)) : sequence(boolean(true), integerOf(pathLength)));
export const leafConstraints = extension('basicConstraints', true, sequence());

/** Named bit lists, trailing zeros dropped (§4.2.1.3): digitalSignature is bit 0, keyCertSign 5, cRLSign 6. */
export const keyUsageOfCa = extension('keyUsage', true, tlv(tags.bitString, [Uint8Array.of(1, 0b0000_0110)]));
export const keyUsageOfLeaf = extension('keyUsage', true, tlv(tags.bitString, [Uint8Array.of(7, 0b1000_0000)]));

/** What a CA may issue for. Critical: who does not know it must not trust the CA at all. */
export const extKeyUsageOfCa = (...usages: readonly (keyof typeof oids)[]): Uint8Array =>
  extension('extKeyUsage', true, sequence(...usages.map(usage => encoded[usage])));

/** @param policies dotted (§4.2.1.4), without qualifiers */
export const certificatePolicies = (policies: readonly string[]): Uint8Array =>
  extension('certificatePolicies', false, sequence(...policies.map(policy => sequence(oid(policy)))));

/** Version of the newest trust bundle when an issuing CA was made: a machine with that bundle or an older one knows that the CA is younger. */
export const bundleBefore = (version: number): Uint8Array => extension('bundleBefore', false, integerOf(version));

export const extKeyUsage = (...usages: readonly (keyof typeof oids)[]): Uint8Array =>
  extension('extKeyUsage', false, sequence(...usages.map(usage => encoded[usage])));

/** @param keyId 20 bytes, see `keyIdentifier` */
export const subjectKeyIdentifier = endingIn(20, keyId => extension('subjectKeyIdentifier', false, octetString(keyId)));
export const authorityKeyIdentifier = (keyId: Uint8Array): Uint8Array =>
  extension('authorityKeyIdentifier', false, sequence(tlv(contextPrimitive(0), [keyId])));

/** @param url http, at most 256 characters: a CRL is signed, and fetching it must not need a certificate (§8) */
export const crlDistributionPoint = remembered(maxKnownUrls, url =>
  extension('crlDistributionPoints', false, sequence(sequence(context(0, context(0, uri(url)))))),
);

/** Where the delta list to a full list is (§5.2.6). @param url as for crlDistributionPoint */
export const freshestCrl = remembered(maxKnownUrls, url =>
  extension('freshestCrl', false, sequence(sequence(context(0, context(0, uri(url)))))),
);

/** Makes a list that of some of its issuer's certificates: of those whose distribution point has one of these names (§5.2.5). Critical: who does not
 *  know it must not take the list for that of all certificates. @param urls as for crlDistributionPoint */
export const issuingDistributionPoint = (urls: readonly string[]): Uint8Array =>
  extension('issuingDistributionPoint', true, sequence(context(0, context(0, ...urls.map(uri)))));

export const ocspAccess = remembered(maxKnownUrls, url =>
  extension('authorityInfoAccess', false, sequence(sequence(encoded.ocsp, uri(url)))),
);

/** The chip itself as the subject: kind of hardware and its serial number, the 16-byte UID (RFC 4108 §5). */
export const hardwareModuleName = endingIn(16, uid => {
  const name = sequence(encoded.hardwareType, octetString(uid));
  return extension('subjectAltName', false, sequence(context(generalNames.otherName, encoded.hardwareModuleName, context(0, name))));
});

/** @param ipAddresses 4 or 16 bytes each */
export function serverNames(dnsNames: readonly string[], ipAddresses: readonly Uint8Array[]): Uint8Array {
  const dns = dnsNames.map(name => tlv(contextPrimitive(generalNames.dnsName), [Buffer.from(name, 'latin1')]));
  const ips = ipAddresses.map(address => tlv(contextPrimitive(generalNames.ipAddress), [address]));
  return extension('subjectAltName', false, sequence(...dns, ...ips));
}

/** SPDM: this certificate is bound to the hardware, not to its firmware (DSP0274, id-DMTF-SPDM-extension). */
export const spdmHardwareIdentity = extension('spdmExtension', false, sequence(sequence(encoded.spdmHardwareIdentity)));

/** The OCSP responder's own certificate is not asked for at OCSP (RFC 6960 §4.2.2.2.1). */
export const ocspNoCheck = extension('ocspNoCheck', false, tlv(tags.null, []));

/** Encodes once what differs from certificate to certificate only in its last bytes. */
function endingIn(tailBytes: number, make: (tail: Uint8Array) => Uint8Array): (tail: Uint8Array) => Uint8Array {
  const template = make(new Uint8Array(tailBytes));
  return tail => {
    const out = template.slice();
    out.set(tail, out.length - tailBytes);
    return out;
  };
}

function uri(url: string): Uint8Array {
  if (!/^http:\/\/[\x21-\x7e]+$/.test(url) || url.length > maxUrlBytes)
    throw new NusecError('BAD_REQUEST', 'not an http URL of at most 256 characters');
  return tlv(contextPrimitive(generalNames.uri), [Buffer.from(url, 'latin1')]);
}
