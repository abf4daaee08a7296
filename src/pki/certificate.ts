import { toHex } from '../bytes.ts';
import { type Curve, curveOf } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import { bitString, context, integer, integerOf, sequence, time } from './derWriter.ts';
import { authorityKeyIdentifier, subjectKeyIdentifier } from './extensions.ts';
import { keyIdentifier, signatureAlgorithms } from './keys.ts';
import { endOfLife, type Lifetime } from './lifetimes.ts';
import { encodeName } from './names.ts';
import { type Issuer, type Profile, type ProfileFields, type ProfileName, profiles } from './profiles.ts';
import { remembered } from './remembered.ts';

/** Certificates (RFC 5280 §4.1), built from a profile and nothing else, signed through a passed-in signer. */

/** Largest certificate that is issued: it must fit beside its chain into a device's certificate slot (I15). */
export const maxCertificateBytes = 2000;
const serialBytes = 16;
/** SEQUENCE and BIT STRING heads, algorithm, and the largest P-384 signature. */
const maxEnvelopeBytes = 4 + 12 + 3 + 104;
const version3 = context(0, integerOf(2));
const maxKnownTimes = 256;

/** The issuing key, wherever it lives. `sign` gives the DER {r, s} over SHA-256 (P-256) or SHA-384 (P-384) of its argument. */
export type Signer = { readonly algorithm: Curve; sign(tbs: Uint8Array): Promise<Uint8Array> };

/** `serialHex` is always 32 lower-case hex digits, times are ISO. */
export type IssuedCertificate = {
  readonly der: Uint8Array;
  readonly serialHex: string;
  readonly notBefore: string;
  readonly notAfter: string;
};

/** Issues a certificate of this profile (R1–R2, R15–R17, R78).
 *  @throws NusecError KEY_REFUSED (not P-256, or P-384 for an authority or device), CERTIFICATE_TOO_LARGE (over 2000 bytes, before anything is signed),
 *  CERTIFICATE_EXPIRED (the issuer's notAfter is not after notBefore), BAD_REQUEST (a name, UID, URL or serial of the wrong form) */
export async function issueCertificate<Name extends ProfileName>(
  profile: Name,
  fields: ProfileFields[Name],
  signer: Signer,
): Promise<IssuedCertificate> {
  const { tbs, ...issued } = buildTbs(profile, fields, signer.algorithm);
  const signature = await signer.sign(tbs);
  return { der: sequence(tbs, signatureAlgorithms[signer.algorithm], bitString(signature)), ...issued };
}

function buildTbs<Name extends ProfileName>(name: Name, fields: ProfileFields[Name], algorithm: Curve) {
  const profile: Profile<ProfileFields[Name]> = profiles[name];
  checkKey(profile.isCa || name === 'device', fields.publicKey);
  const serial = positiveSerial(fields.serial);
  const validity = validityOf(fields, profile.lifetime(fields));
  const subject = encodeName(profile.subject(fields));
  const keyId = keyIdentifier(fields.publicKey);
  const issuer: Issuer | undefined = fields.issuer;
  const tbs = sequence(
    version3,
    integer(serial),
    signatureAlgorithms[algorithm],
    issuer?.subjectDer ?? subject,
    sequence(time(validity.notBefore), time(validity.notAfter)),
    subject,
    fields.publicKey,
    context(3, sequence(subjectKeyIdentifier(keyId), ...authority(issuer), ...profile.extensions(fields))),
  );
  if (tbs.length + maxEnvelopeBytes > maxCertificateBytes)
    throw new NusecError('CERTIFICATE_TOO_LARGE', `over ${maxCertificateBytes} bytes`);
  return { tbs, serialHex: toHex(serial), ...validity };
}

function authority(issuer: Issuer | undefined): readonly Uint8Array[] {
  return issuer?.ski ? [authorityKeyIdentifier(issuer.ski)] : [];
}

function checkKey(mayBeP384: boolean, publicKey: Uint8Array): void {
  const curve = curveOf(publicKey);
  if (curve !== 'P-256' && !(mayBeP384 && curve === 'P-384'))
    throw new NusecError('KEY_REFUSED', 'not a P-256 key (authorities and devices: or P-384)');
}

/** Positive and exactly 16 octets: first bit 0, second 1; 126 bits stay random (RFC 5280 §4.1.2.2). */
function positiveSerial(random: Uint8Array): Uint8Array {
  if (random.length !== serialBytes) throw new NusecError('BAD_REQUEST', 'a serial number is made from 16 random bytes');
  const serial = random.slice();
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial;
}

/** Within the validity of the issuer (I15). */
function validityOf(
  fields: { readonly notBefore: string; readonly notAfter?: string; readonly issuer?: Issuer | undefined },
  lifetime: Lifetime,
) {
  const { issuer } = fields;
  const wishedStart = secondOf(fields.notBefore);
  const earliest = issuer?.notBefore === undefined ? wishedStart : secondOf(issuer.notBefore);
  const start = earliest.ms > wishedStart.ms ? earliest : wishedStart;
  const wantedMs = fields.notAfter === undefined ? endOfLife(start.ms, lifetime) : secondOf(fields.notAfter).ms;
  const limit = issuer && secondOf(issuer.notAfter);
  const end = limit && limit.ms <= wantedMs ? limit : { ms: wantedMs, iso: new Date(wantedMs).toISOString() };
  if (end.ms <= start.ms) throw new NusecError('CERTIFICATE_EXPIRED', 'nothing of the issuer’s validity is left');
  return { notBefore: start.iso, notAfter: end.iso };
}

/** The whole second of an ISO time. */
const secondOf = remembered(maxKnownTimes, text => {
  const ms = Math.floor(Date.parse(text) / 1000) * 1000;
  if (Number.isNaN(ms)) throw new NusecError('BAD_REQUEST', 'validity is not given in ISO times');
  return { ms, iso: new Date(ms).toISOString() };
});
