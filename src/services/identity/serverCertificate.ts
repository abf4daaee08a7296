import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { isIP } from 'node:net';
import { equalBytes, toHex } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { IsoTime } from '../../domain/actor.ts';
import { authority, authorityStream } from '../../domain/authority.ts';
import { NusecError } from '../../errors.ts';
import { issueCertificate } from '../../pki/certificate.ts';
import { checkChain } from '../../pki/chain.ts';
import { hostBytes } from '../../pki/hosts.ts';
import { parseCertificate } from '../../pki/parse.ts';
import { toPem } from '../../pki/pem.ts';
import { hourMs, isInLastThird } from '../../times.ts';
import { type Authorities, authorityOf, trustedRoots } from '../authority/authority.ts';
import { activeCa } from '../authority/issuingCa.ts';
import { certificatesBetweenRoots, retiredRoots } from '../authority/olderRoots.ts';
import type { Alarms } from '../base/alarms.ts';
import { backdatedIso, type Context, execute, nowIso } from '../base/context.ts';
import type { ClientTrust } from './clientTrust.ts';
import type { TlsFile, TlsMaterial } from './tlsFile.ts';

/** The certificate of the server's TLS listeners: issued when there is none that fits, kept over restarts, renewed by itself. */

/** How often a process looks whether its identity is still the one to serve with. */
const checkEveryMs = hourMs;
const notRenewed = { code: 'TLS_NOT_RENEWED', subject: 'server' } as const;

/** The TLS identity of the server. `key` and `cert` are empty when there is none to serve with.
 *  `clientRootsPem`: what the certificate of a client may end in; who it is and whether that counts is judged after the handshake (machines.ts). */
export type TlsIdentity = { readonly key: string; readonly cert: string; readonly clientRootsPem: string; readonly notAfter: IsoTime };

export type ServerIdentityParts = { readonly ctx: Context; readonly alarms: Alarms; readonly file: TlsFile };

const pemOf = (certificates: readonly Uint8Array[]): string => certificates.map(der => toPem('CERTIFICATE', der)).join('');

/** The identity in the file while it fits, else a new one, which is then in the file. When none can be issued: an alarm, and the one in the file
 *  whatever has become of it, or none, so that the server still starts and its authorities can be rolled.
 *  @param names DNS names and IP addresses by which machines call the server; localhost is always among them */
export async function serverIdentity({ ctx, alarms, file }: ServerIdentityParts, names: readonly string[]): Promise<TlsIdentity> {
  const [stored, authorities] = await Promise.all([file.load(), authorityOf(ctx)]);
  const isFine = (): void => alarms.ended(notRenewed, 'the server has a certificate that fits');
  if (stored && (await fits(ctx, authorities, stored, allNames(names)))) {
    isFine();
    return identityOf(authorities, stored);
  }
  try {
    const made = await issue(ctx, authorities, allNames(names));
    await file.save(made);
    isFine();
    return identityOf(authorities, made);
  } catch (error) {
    const detail = error instanceof Error ? error.message : 'unknown';
    await alarms.raise({ ...notRenewed, detail });
    return stored ? identityOf(authorities, stored) : { key: '', cert: '', ...clientRoots(authorities), notAfter: nowIso(ctx) };
  }
}

const allNames = (names: readonly string[]): readonly string[] => [...new Set([...names, 'localhost', '127.0.0.1', '::1'])];

async function issue(ctx: Context, authorities: Authorities, names: readonly string[]): Promise<TlsMaterial> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ca = await activeCa(ctx, authorities, 'server');
  const issued = await issueCertificate(
    'server',
    {
      publicKey: new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })),
      serial: ctx.randomBytes(16),
      notBefore: backdatedIso(ctx),
      issuer: ca.certificate,
      crlUrl: ca.crlUrl,
      commonName: names[0] ?? 'localhost',
      ...addressesIn(names),
    },
    ca.signer,
  );
  if (issued.notAfter <= nowIso(ctx)) throw new NusecError('CERTIFICATE_EXPIRED', `${ca.icaId} was valid until ${issued.notAfter}`);
  const facts = { icaId: ca.icaId, serial: issued.serialHex, sha256: sha256Hex(issued.der), names, notAfter: issued.notAfter };
  await execute(ctx, authority, authorityStream(ctx.project), { type: 'IssueServerCertificate', ...facts }, 'system:tls');
  return { key: privateKey, certificate: issued.der, ica: ca.certificate.der };
}

const addressesIn = (names: readonly string[]) => ({
  dnsNames: names.filter(name => isIP(name) === 0),
  ipAddresses: names.filter(name => isIP(name) !== 0),
});

/** Whether it is for these names, from the active issuing CA of servers, valid, and not yet to be renewed. */
async function fits(
  ctx: Context,
  authorities: Authorities,
  { key, certificate, ica }: TlsMaterial,
  names: readonly string[],
): Promise<boolean> {
  try {
    const active = await activeCa(ctx, authorities, 'server');
    const leaf = checkChain([certificate, ica], {
      roots: trustedRoots(authorities),
      now: nowIso(ctx),
      purpose: 'server',
      recorded: () => [{ use: 'server' }],
    });
    const own = new Uint8Array(createPublicKey(key.export({ format: 'pem', type: 'pkcs8' })).export({ format: 'der', type: 'spki' }));
    const wanted = parsedServerNames(names);
    const isSame = leaf.dnsNames.join() === wanted.dnsNames && leaf.ipAddresses.map(toHex).join() === wanted.ipAddresses;
    return isSame && equalBytes(active.certificate.der, ica) && equalBytes(own, leaf.spki) && !isInLastThird(leaf, ctx.clock().getTime());
  } catch {
    return false;
  }
}

function parsedServerNames(names: readonly string[]) {
  const { dnsNames, ipAddresses } = addressesIn(names);
  return { dnsNames: dnsNames.join(), ipAddresses: ipAddresses.map(address => toHex(hostBytes(address) ?? none)).join() };
}

const none = new Uint8Array();

/** The chain goes with the certificates between roots, for clients that know only an older one. */
function identityOf(authorities: Authorities, { key, certificate, ica }: TlsMaterial): TlsIdentity {
  return {
    key: key.export({ format: 'pem', type: 'pkcs8' }) as string,
    cert: pemOf([certificate, ica, ...certificatesBetweenRoots(authorities)]),
    ...clientRoots(authorities),
    notAfter: parseCertificate(certificate).notAfter,
  };
}

const clientRoots = (authorities: Authorities): Pick<TlsIdentity, 'clientRootsPem'> => ({
  clientRootsPem: pemOf([...trustedRoots(authorities), ...retiredRoots(authorities)]),
});

/** Looks each hour, and when issuing CAs or roots change, whether the identity is still the one to serve with. Trouble is an alarm and leaves the
 *  present one in place. @param present what the process serves with now */
export function startTlsRenewal(
  parts: ServerIdentityParts & { readonly trust: Pick<ClientTrust, 'onChange'> },
  names: readonly string[],
  present: TlsIdentity,
  apply: (identity: TlsIdentity) => void,
): { close(): Promise<void> } {
  let running: Promise<void> = Promise.resolve();
  let isOpen = true;
  let { cert, clientRootsPem } = present;
  const look = async (): Promise<void> => {
    const next = await serverIdentity(parts, names);
    if (!isOpen || next.cert === '' || (next.cert === cert && next.clientRootsPem === clientRootsPem)) return;
    ({ cert, clientRootsPem } = next);
    apply(next);
  };
  const renew = (): void => {
    running = running
      .then(() => (isOpen ? look() : undefined))
      .catch(error => parts.alarms.raise({ ...notRenewed, detail: (error as Error).message }));
  };
  const timer = setInterval(renew, checkEveryMs);
  timer.unref();
  const stopListening = parts.trust.onChange(renew);
  return {
    close() {
      isOpen = false;
      stopListening();
      clearInterval(timer);
      return running;
    },
  };
}
