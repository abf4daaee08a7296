import { device, deviceStream } from '../domain/device.ts';
import { NusecError } from '../errors.ts';
import { judgeCsr } from '../pki/csr.ts';
import type { NameFields } from '../pki/names.ts';
import { parseCertificate } from '../pki/parse.ts';
import { buildCertsOnly } from '../pki/pkcs7.ts';
import { ldevidUnit } from '../pki/profiles.ts';
import { ocspUrlOf, sha256Hex, trustedAuthorities } from './authority.ts';
import { type Context, execute, stateOf } from './context.ts';
import { certificatesOf, certifyGateway, certifyProgrammer, currentOf, livingDevice, reserveKey } from './enrolment.ts';
import { issueLeaf } from './issuance.ts';
import type { Machine } from './machines.ts';

/** Enrolment over secure transport (EST, RFC 7030). Labels: `gateway` and `programmer` for their own certificates, `ldevid` for a device's
 *  operational certificate, which it gets with its IDevID and renews with either. */

export const estLabels = ['gateway', 'programmer', 'ldevid'] as const;
export type EstLabel = (typeof estLabels)[number];

const kindOfLabel = { gateway: 'gateway', programmer: 'programmer', ldevid: 'device' } as const satisfies Record<EstLabel, Machine['kind']>;

/** What everybody may have: roots, cross-certificates and issuing CAs that are trusted (RFC 7030 §4.1). @returns PKCS#7 certs-only */
export async function caCertificates(ctx: Context): Promise<Uint8Array> {
  return buildCertsOnly(await trustedAuthorities(ctx));
}

/** First enrolment (RFC 7030 §4.2.1): of a device's operational certificate with its IDevID, of a gateway by the person who installs it;
 *  whoever has a certificate of the label already may use that as well.
 *  @param csr PKCS#10, DER @returns the certificate, DER
 *  @throws NusecError CLIENT_CERTIFICATE_REFUSED (certificate of another kind, or a person where a machine is meant), and as certifyGateway */
export async function enrol(
  ctx: Context,
  label: EstLabel,
  csr: Uint8Array,
  caller: Machine | { readonly person: string },
): Promise<Uint8Array> {
  if (!('person' in caller)) return reenrol(ctx, label, csr, caller);
  const id = judgeCsr(csr).subject.commonName;
  if (label !== 'gateway') throw new NusecError('CLIENT_CERTIFICATE_REQUIRED', `a ${label} certificate is asked for with a certificate`);
  if (id === undefined) throw new NusecError('CSR_SUBJECT', 'the request names no gateway (commonName)');
  return (await certifyGateway(ctx, id, csr, `operator:${caller.person}`)).certificate;
}

/** Renewal with the present certificate (RFC 7030 §4.2.2). The same key gets its present certificate again until the last third of its life,
 *  then a new one; a new key gets one at once. The subject of the request is that of the certificate, or empty. */
export async function reenrol(ctx: Context, label: EstLabel, csr: Uint8Array, machine: Machine): Promise<Uint8Array> {
  if (machine.kind !== kindOfLabel[label])
    throw new NusecError('CLIENT_CERTIFICATE_REFUSED', `label ${label} is for a ${kindOfLabel[label]}, not for a ${machine.kind}`);
  const by = `${machine.kind}:${machine.id}`;
  const expected = parseCertificate(await ctx.blobs.get(machine.certificateSha256)).subject;
  if (label === 'ldevid') return certifyOperational(ctx, machine.id, csr, by, expected);
  const certify = label === 'gateway' ? certifyGateway : certifyProgrammer;
  return (await certify(ctx, machine.id, csr, by, expected)).certificate;
}

/** @throws NusecError DEVICE_STATE (not in use), CSR_SUBJECT, WEAK_OR_CLONED_KEY */
async function certifyOperational(ctx: Context, uid: string, csr: Uint8Array, by: string, present: NameFields): Promise<Uint8Array> {
  const state = await livingDevice(ctx, uid);
  const request = judgeCsr(csr, { ...present, organizationalUnit: ldevidUnit, commonName: state.objId, serialNumber: uid });
  const publicKeySha256 = sha256Hex(request.publicKey);
  await reserveKey(ctx, publicKeySha256, { kind: 'device', uid, objId: state.objId }, by);
  // The IDevID is not replaced by this, even if the device shows its key again.
  const certificates = async () =>
    certificatesOf(await stateOf(ctx, device, deviceStream(uid))).filter(({ serial }) => serial !== state.serial);
  const issued = await issueLeaf(ctx, {
    profile: 'ldevid',
    subject: uid,
    use: 'device',
    line: state.line,
    csr,
    request,
    by,
    fields: { uid, objId: state.objId, ocspUrl: ocspUrlOf(ctx) },
    current: () => currentOf(ctx, certificates, publicKeySha256),
    isRecorded: async serial => (await certificates()).some(each => each.serial === serial),
    async record(facts) {
      const { state: after } = await execute(ctx, device, deviceStream(uid), { type: 'IssueOperationalCertificate', ...facts }, by);
      return certificatesOf(after).find(({ serial }) => serial === facts.serial) ?? facts;
    },
  });
  return ctx.blobs.get(issued.certificateSha256);
}
