import { fromBase64url, toBase64url } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import { logKey, logKeyStream } from '../../domain/logKey.ts';
import { signer } from '../../keystore/signer.ts';
import { ecdsaNoteKey, ecdsaVerifierKey, type NoteKey } from '../../merkle/note.ts';
import { issueCertificate } from '../../pki/certificate.ts';
import { authorityOf, crlUrlOf, parsedAuthority } from '../authority/authority.ts';
import { ensureSigningKey } from '../authority/issuingCa.ts';
import { backdatedIso, type Context, execute, stateOf } from '../base/context.ts';

/** The key of the log in the keystore, and what its roots say of it. */

export const logKeyId = 'log/1';

/** The log is named by its key, so that no two logs have one name. */
const originOf = (spki: Uint8Array): string => `nusec/log/${sha256Hex(spki).slice(0, 32)}`;

export async function logNoteKey(ctx: Context): Promise<NoteKey> {
  const spki = await ensureSigningKey(ctx, logKeyId);
  return ecdsaNoteKey(originOf(spki), spki);
}

/** Name and key as a witness is configured with them. */
export async function logVerifierKey(ctx: Context): Promise<{ readonly origin: string; readonly verifierKey: string }> {
  const spki = await ensureSigningKey(ctx, logKeyId);
  const origin = originOf(spki);
  return { origin, verifierKey: ecdsaVerifierKey(origin, spki) };
}

/** Certificates of the log's key, DER: one by each root that is trusted. What is missing is made. */
export async function logCertificates(ctx: Context): Promise<readonly Uint8Array[]> {
  const { roots } = await authorityOf(ctx);
  const trusted = roots.filter(({ retired }) => !retired);
  const known = await stateOf(ctx, logKey, logKeyStream);
  for (const root of trusted)
    if (!known.certificates.some(({ rootId, keyId }) => rootId === root.rootId && keyId === logKeyId)) await certify(ctx, root);
  const { certificates } = await stateOf(ctx, logKey, logKeyStream);
  return certificates.filter(({ keyId }) => keyId === logKeyId).map(({ certificate }) => fromBase64url(certificate));
}

async function certify(
  ctx: Context,
  root: { readonly rootId: string; readonly keyId: string; readonly certificate: string },
): Promise<void> {
  const publicKey = await ensureSigningKey(ctx, logKeyId);
  const issuer = parsedAuthority(root.certificate);
  const {
    der,
    serialHex: serial,
    notAfter,
  } = await issueCertificate(
    'log',
    {
      publicKey,
      serial: ctx.randomBytes(16),
      notBefore: backdatedIso(ctx),
      issuer,
      crlUrl: crlUrlOf(ctx, root.rootId),
      organization: issuer.subject.organization ?? ctx.project,
      commonName: originOf(publicKey),
    },
    await signer(ctx.keystore, root.keyId),
  );
  const facts = { rootId: root.rootId, keyId: logKeyId, certificate: toBase64url(der), serial, sha256: sha256Hex(der), notAfter };
  await execute(ctx, logKey, logKeyStream, { type: 'CertifyLogKey', ...facts }, 'system:log');
}
