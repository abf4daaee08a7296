import { generateKeyPairSync } from 'node:crypto';
import { isIP } from 'node:net';
import { authority, authorityStream } from '../domain/authority.ts';
import { issueCertificate } from '../pki/certificate.ts';
import { toPem } from '../pki/pem.ts';
import { activeCa, rootDer, sha256Hex } from './authority.ts';
import { type Context, execute, nowIso } from './context.ts';

/** The TLS identity of this server process: a key that lives only in its memory and a certificate made at every start (and renewed by itself). */
export type TlsIdentity = { readonly key: string; readonly cert: string; readonly rootPem: string; readonly notAfter: string };

/** @param names DNS names and IP addresses by which machines call the server; localhost is always among them */
export async function issueServerIdentity(ctx: Context, names: readonly string[]): Promise<TlsIdentity> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ca = await activeCa(ctx, 'server');
  const all = [...new Set([...names, 'localhost', '127.0.0.1', '::1'])];
  const issued = await issueCertificate(
    'server',
    {
      publicKey: new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })),
      serial: ctx.randomBytes(16),
      notBefore: nowIso(ctx),
      issuer: ca.certificate,
      crlUrl: ca.crlUrl,
      commonName: all[0] ?? 'localhost',
      dnsNames: all.filter(name => isIP(name) === 0),
      ipAddresses: all.filter(name => isIP(name) !== 0),
    },
    ca.signer,
  );
  const facts = { icaId: ca.icaId, serial: issued.serialHex, sha256: sha256Hex(issued.der), names: all, notAfter: issued.notAfter };
  await execute(ctx, authority, authorityStream(ctx.project), { type: 'IssueServerCertificate', ...facts }, 'system:tls');
  return {
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
    cert: toPem('CERTIFICATE', issued.der) + toPem('CERTIFICATE', ca.certificate.der),
    rootPem: toPem('CERTIFICATE', await rootDer(ctx)),
    notAfter: issued.notAfter,
  };
}
