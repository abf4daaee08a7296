import { generateKeyPairSync } from 'node:crypto';
import { isIP } from 'node:net';
import { sha256Hex } from '../../digest.ts';
import type { IsoTime } from '../../domain/actor.ts';
import { authority, authorityStream } from '../../domain/authority.ts';
import { issueCertificate } from '../../pki/certificate.ts';
import { toPem } from '../../pki/pem.ts';
import { dayMs } from '../../times.ts';
import { trustedRoots } from '../authority/authority.ts';
import { activeCa } from '../authority/issuingCa.ts';
import { certificatesBetweenRoots, retiredRoots } from '../authority/olderRoots.ts';
import type { Alarms } from '../base/alarms.ts';
import { backdatedIso, type Context, execute } from '../base/context.ts';
import type { ClientTrust } from './clientTrust.ts';

/** Replaced long before the year of a TLS certificate is over. */
const renewEveryMs = 15 * dayMs;

/** The TLS identity of this server process: a key that lives only in its memory and a certificate made at every start (and renewed by itself).
 *  `clientRootsPem`: what the certificate of a client may end in; who it is and whether that counts is judged after the handshake (machines.ts). */
export type TlsIdentity = { readonly key: string; readonly cert: string; readonly clientRootsPem: string; readonly notAfter: IsoTime };

const pemOf = (certificates: readonly Uint8Array[]): string => certificates.map(der => toPem('CERTIFICATE', der)).join('');

/** The chain goes with the certificates between roots, for clients that know only an older one.
 *  @param names DNS names and IP addresses by which machines call the server; localhost is always among them */
export async function issueServerIdentity(ctx: Context, names: readonly string[]): Promise<TlsIdentity> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ca = await activeCa(ctx, 'server');
  const all = [...new Set([...names, 'localhost', '127.0.0.1', '::1'])];
  const issued = await issueCertificate(
    'server',
    {
      publicKey: new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })),
      serial: ctx.randomBytes(16),
      notBefore: backdatedIso(ctx),
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
    cert: pemOf([issued.der, ca.certificate.der, ...(await certificatesBetweenRoots(ctx))]),
    clientRootsPem: pemOf([...(await trustedRoots(ctx)), ...(await retiredRoots(ctx))]),
    notAfter: issued.notAfter,
  };
}

/** Renews the identity from time to time, and when issuing CAs or roots change; trouble is an alarm and leaves the present one in place. */
export function startTlsRenewal(
  parts: { readonly ctx: Context; readonly alarms: Alarms; readonly trust: ClientTrust },
  names: readonly string[],
  apply: (identity: TlsIdentity) => void,
): { close(): Promise<void> } {
  let running: Promise<void> = Promise.resolve();
  let isOpen = true;
  let hungOn = '';
  /** @param always also when the server CA and the roots are those of the last time */
  const renew = (always: boolean): void => {
    running = running.then(async () => {
      const chain = `${(await activeCa(parts.ctx, 'server')).icaId} ${(await trustedRoots(parts.ctx)).map(sha256Hex).join(' ')}`;
      if (isOpen && (always || chain !== hungOn)) apply(await issueServerIdentity(parts.ctx, names));
      hungOn = chain;
    });
    running = running.catch(error =>
      parts.alarms.raise({ code: 'TLS_NOT_RENEWED', subject: 'server', detail: error instanceof Error ? error.message : 'unknown' }),
    );
  };
  const timer = setInterval(() => renew(true), renewEveryMs);
  timer.unref();
  const stopListening = parts.trust.onChange(() => renew(false));
  return {
    close() {
      isOpen = false;
      stopListening();
      clearInterval(timer);
      return running;
    },
  };
}
