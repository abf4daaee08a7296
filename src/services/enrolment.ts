import { toBase64url, toHex } from '../bytes.ts';
import { device, deviceStream } from '../domain/device.ts';
import type { IssuedCertificate as CertificateFacts } from '../domain/deviceEvents.ts';
import { currentCertificate, type LivingDevice } from '../domain/deviceState.ts';
import { gateway, gatewayStream } from '../domain/gateway.ts';
import { programmer, programmerStream } from '../domain/programmer.ts';
import { type KeyHolder, publicKey, publicKeyStream } from '../domain/publicKey.ts';
import { NusecError } from '../errors.ts';
import { issueCertificate } from '../pki/certificate.ts';
import { judgeCsr } from '../pki/csr.ts';
import { activeCa, caById, ocspUrlOf, rootDer, sha256Hex } from './authority.ts';
import { type Context, execute, nowIso, stateOf } from './context.ts';

/** From a certification request to a certificate: the request proves possession, the key is reserved for ever (I4), the certificate comes
 *  from the profile alone (T32). The same request gives the same certificate; another key is refused (RULE-10, I6). */

/** A certificate and the chain it hangs on, DER. */
export type Enrolment = { readonly certificate: Uint8Array; readonly ica: Uint8Array; readonly root: Uint8Array };

/** Reserves a public key for its holder. @throws NusecError WEAK_OR_CLONED_KEY (T26) */
export async function reserveKey(ctx: Context, publicKeySha256: string, holder: KeyHolder, by: string): Promise<void> {
  await execute(ctx, publicKey, publicKeyStream(publicKeySha256), { type: 'ReservePublicKey', ...holder }, by);
}

/** @param csr PKCS#10 DER of the programmer (R11–R16)
 *  @throws NusecError NOT_FOUND, CONFLICT (another key), and what judgeCsr and the key reservation refuse */
export async function certifyProgrammer(ctx: Context, uid: string, csr: Uint8Array, by: string): Promise<Enrolment> {
  const stream = programmerStream(uid);
  const state = await stateOf(ctx, programmer, stream);
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no programmer ${uid}`);
  const request = judgeCsr(csr, { serialNumber: uid });
  const publicKeySha256 = sha256Hex(request.publicKey);
  await reserveKey(ctx, publicKeySha256, { kind: 'programmer', uid }, by);
  const enrolled = { type: 'EnrolProgrammerKey', publicKey: toBase64url(request.publicKey), publicKeySha256 } as const;
  await execute(ctx, programmer, stream, enrolled, by);
  const known = state.certificates.at(-1);
  if (known !== undefined) return withChain(ctx, await ctx.blobs.get(known.certificateSha256), known.icaId);
  const ca = await activeCa(ctx, 'programmer');
  const issued = await issueCertificate('programmer', { ...(await leafFields(ctx, ca, request.publicKey)), uid }, ca.signer);
  const certificateSha256 = await ctx.blobs.put(issued.der);
  const facts = { serial: issued.serialHex, certificateSha256, icaId: ca.icaId, notAfter: issued.notAfter };
  await execute(ctx, programmer, stream, { type: 'CertifyProgrammer', ...facts }, by);
  return withChain(ctx, issued.der, ca.icaId);
}

/** First certificate of a gateway. @throws as certifyProgrammer */
export async function certifyGateway(ctx: Context, gatewayId: string, csr: Uint8Array, by: string): Promise<Enrolment> {
  const stream = gatewayStream(gatewayId);
  const state = await stateOf(ctx, gateway, stream);
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no gateway ${gatewayId}`);
  const request = judgeCsr(csr, { commonName: gatewayId });
  const publicKeySha256 = sha256Hex(request.publicKey);
  await reserveKey(ctx, publicKeySha256, { kind: 'gateway', uid: gatewayId }, by);
  const known = state.certificates.find(certificate => certificate.publicKeySha256 === publicKeySha256);
  if (known !== undefined) return withChain(ctx, await ctx.blobs.get(known.certificateSha256), known.icaId);
  const ca = await activeCa(ctx, 'gateway');
  const issued = await issueCertificate('gateway', { ...(await leafFields(ctx, ca, request.publicKey)), id: gatewayId }, ca.signer);
  const certificateSha256 = await ctx.blobs.put(issued.der);
  const facts = { serial: issued.serialHex, certificateSha256, publicKeySha256, icaId: ca.icaId, notAfter: issued.notAfter };
  await execute(ctx, gateway, stream, { type: 'CertifyGateway', ...facts }, by);
  return withChain(ctx, issued.der, ca.icaId);
}

/** Certificate of a minted device (R78): the intent is recorded, then signed, then the result recorded, so that a crash between any two
 *  ends in the same certificate.
 *  @throws NusecError CSR_SUBJECT (another UID or registration id), CONFLICT (this unit asked with another key), and as certifyProgrammer */
export async function certifyDevice(ctx: Context, uid: string, csr: Uint8Array, by: string): Promise<Enrolment> {
  const state = await livingDevice(ctx, uid);
  const request = judgeCsr(csr, { commonName: state.objId, serialNumber: uid });
  const publicKeySha256 = sha256Hex(request.publicKey);
  const known = currentCertificate(state);
  if (known?.publicKeySha256 === publicKeySha256) return withChain(ctx, await ctx.blobs.get(known.certificateSha256), known.icaId);
  await reserveKey(ctx, publicKeySha256, { kind: 'device', uid, objId: state.objId }, by);
  const intent = await recordIntent(ctx, state, csr, publicKeySha256, by);
  const ca = await caById(ctx, intent.icaId);
  const { subject } = ca.certificate;
  const { der } = await issueCertificate(
    'device',
    {
      publicKey: request.publicKey,
      serial: new Uint8Array(Buffer.from(intent.serial, 'hex')),
      notBefore: intent.notBefore,
      notAfter: intent.notAfter,
      issuer: ca.certificate,
      crlUrl: ca.crlUrl,
      ocspUrl: ocspUrlOf(ctx),
      organization: subject.organization ?? ctx.project,
      uid,
      objId: state.objId,
    },
    ca.signer,
  );
  const certificateSha256 = await ctx.blobs.put(der);
  const { serial, icaId, notAfter } = intent;
  const facts: CertificateFacts = { serial, certificateSha256, publicKeySha256, icaId, notAfter };
  await execute(ctx, device, deviceStream(uid), { type: 'CertifyDevice', ...facts }, by);
  const after = currentCertificate(await stateOf(ctx, device, deviceStream(uid)));
  return withChain(ctx, await ctx.blobs.get(after?.certificateSha256 ?? certificateSha256), icaId);
}

export async function livingDevice(ctx: Context, uid: string): Promise<LivingDevice> {
  const state = await stateOf(ctx, device, deviceStream(uid));
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no device ${uid}`);
  return state;
}

const deviceLifetimeDays = 7305;

async function recordIntent(ctx: Context, state: LivingDevice, csr: Uint8Array, publicKeySha256: string, by: string) {
  const ca = await activeCa(ctx, 'device', state.line);
  const serial = ctx.randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const wanted = new Date(ctx.clock().getTime() + deviceLifetimeDays * 86_400_000).toISOString();
  const notAfter = wanted < ca.certificate.notAfter ? wanted : ca.certificate.notAfter;
  const { uid, objId } = state;
  const intent = { serial: toHex(serial), csrSha256: sha256Hex(csr), publicKeySha256, icaId: ca.icaId, notBefore: nowIso(ctx), notAfter };
  const facts = { ...intent, csr: { signatureVerified: true, uid, objId } };
  const { state: after } = await execute(ctx, device, deviceStream(uid), { type: 'RequestCertification', ...facts }, by);
  if (after.status === 'NONE' || after.certification === undefined) throw new NusecError('DEVICE_STATE', 'the intent was not recorded');
  return after.certification;
}

async function leafFields(ctx: Context, ca: Awaited<ReturnType<typeof activeCa>>, spki: Uint8Array) {
  const organization = ca.certificate.subject.organization ?? ctx.project;
  return { publicKey: spki, serial: ctx.randomBytes(16), notBefore: nowIso(ctx), issuer: ca.certificate, crlUrl: ca.crlUrl, organization };
}

async function withChain(ctx: Context, certificate: Uint8Array, icaId: string): Promise<Enrolment> {
  return { certificate, ica: (await caById(ctx, icaId)).certificate.der, root: await rootDer(ctx) };
}
