import { NusecError } from '../../errors.ts';
import { readCsr } from '../../pki/csr.ts';
import { buildCertsOnly } from '../../pki/pkcs7.ts';
import { authorityOf, trustedAuthorities } from '../authority/authority.ts';
import type { Condition, Context } from '../base/context.ts';
import { certifyGateway, certifyProgrammer } from './enrolment.ts';
import type { Machine } from './machines.ts';
import { certifyOperational } from './operational.ts';
import { storedCertificate } from './storedCertificate.ts';

/** Enrolment over secure transport (EST, RFC 7030). Labels: `gateway` and `programmer` for their own certificates, `ldevid` for a device's
 *  operational certificate, which it gets with its IDevID and renews with either. Without a label (RFC 7030 §3.2.2) it is that of the asking machine. */

export const estLabels = ['gateway', 'programmer', 'ldevid'] as const;
export type EstLabel = (typeof estLabels)[number];

const kindOfLabel = { gateway: 'gateway', programmer: 'programmer', ldevid: 'device' } as const satisfies Record<EstLabel, Machine['kind']>;

/** What everybody may have: roots, cross-certificates and issuing CAs that are trusted (RFC 7030 §4.1). @returns PKCS#7 certs-only */
export async function caCertificates(ctx: Context): Promise<Uint8Array> {
  return buildCertsOnly(trustedAuthorities(await authorityOf(ctx)));
}

/** First enrolment (RFC 7030 §4.2.1): of a device's operational certificate with its IDevID, of a gateway by the person who installs it;
 *  a machine that has a certificate of the label already may use that as well.
 *  @param csr PKCS#10, DER @param secondPerson as certifyGateway @returns the certificate, DER
 *  @throws NusecError CLIENT_CERTIFICATE_REFUSED (certificate of another kind, or a person where a machine is meant), and as certifyGateway */
export async function enrol(
  ctx: Context,
  label: EstLabel | undefined,
  csr: Uint8Array,
  caller: Machine | { readonly person: string },
  secondPerson?: (gatewayId: string) => (proposalId: string) => Condition,
): Promise<Uint8Array> {
  if (!('person' in caller)) return reenrol(ctx, label, csr, caller);
  const id = readCsr(csr).subject.commonName;
  if (label !== undefined && label !== 'gateway')
    throw new NusecError('CLIENT_CERTIFICATE_REQUIRED', `a ${label} certificate is asked for with a certificate`);
  if (id === undefined) throw new NusecError('CSR_SUBJECT', 'the request names no gateway (commonName)');
  return (await certifyGateway(ctx, id, csr, `operator:${caller.person}`, undefined, secondPerson?.(id))).certificate;
}

/** Renewal with the present certificate (RFC 7030 §4.2.2). The same key gets its present certificate again until the last third of its life,
 *  then a new one; a new key gets one immediately. The subject of the request is that of the certificate, or empty. */
export async function reenrol(ctx: Context, label: EstLabel | undefined, csr: Uint8Array, machine: Machine): Promise<Uint8Array> {
  if (label !== undefined && machine.kind !== kindOfLabel[label])
    throw new NusecError('CLIENT_CERTIFICATE_REFUSED', `label ${label} is for a ${kindOfLabel[label]}, not for a ${machine.kind}`);
  const { certificateSha256 } = machine;
  if (machine.kind === 'device') return (await certifyOperational(ctx, { uid: machine.id, certificateSha256 }, csr)).certificate;
  const by = `${machine.kind}:${machine.id}`;
  const expected = (await storedCertificate(ctx, certificateSha256)).subject;
  const certify = machine.kind === 'gateway' ? certifyGateway : certifyProgrammer;
  return (await certify(ctx, machine.id, csr, by, expected)).certificate;
}
