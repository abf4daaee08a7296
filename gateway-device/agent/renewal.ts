import { createPrivateKey } from 'node:crypto';
import { equalBytes, utf8 } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { checkChainAsync } from '../../src/pki/chain.ts';
import { type Certificate, parseCertificate } from '../../src/pki/parse.ts';
import { fromPem, toPem } from '../../src/pki/pem.ts';
import { readCertsOnly } from '../../src/pki/pkcs7.ts';
import { isInLastThird } from '../../src/times.ts';
import { createHttpClient } from '../link/httpClient.ts';
import { recordedIn } from '../link/knownIssuers.ts';
import type { AgentClock } from './clock.ts';
import { type AgentIdentity, identityOf, requestOf } from './identity.ts';
import type { AgentTrust } from './trust.ts';

/** A gateway renews its certificate itself, in the last third of its life, by EST with the present one (RFC 7030 §4.2.2) and for the same key. */

export type RenewalParts = {
  readonly identity: AgentIdentity;
  readonly trust: AgentTrust;
  readonly clock: AgentClock;
  readonly server: string;
};

const estPath = '/.well-known/est/gateway/simplereenroll';

/** @returns the identity with the next certificate; undefined while the present one is young, or when the server has no newer one
 *  @throws NusecError CHAIN_REFUSED (not for this key and gateway, or not from an authority of the trust bundle), CERTIFICATE_EXPIRED (too late:
 *          a person enrols it again), SERVER_UNREACHABLE, and what the server refuses */
export async function renewedIdentity(parts: RenewalParts): Promise<AgentIdentity | undefined> {
  const { identity, trust, clock } = parts;
  const present = leafOf(identity);
  if (!isInLastThird(present, clock.nowMs())) return undefined;
  const der = await askForNext(parts);
  const next = parseCertificate(der);
  if (next.serialHex === present.serialHex) return undefined;
  if (!equalBytes(next.spki, present.spki) || next.subject.commonName !== identity.gatewayId)
    throw new NusecError('CHAIN_REFUSED', 'the next certificate is not for this gateway and its key');
  await trust.refresh();
  const { roots, issuers } = trust.bundle();
  const ica = issuers.find(({ use, certificate }) => use === 'gateway' && hasIssued(certificate, next))?.certificate;
  const root = ica && roots.find(candidate => hasIssued(candidate, parseCertificate(ica)));
  if (ica === undefined || root === undefined)
    throw new NusecError('CHAIN_REFUSED', 'the next certificate is not from an authority of the trust bundle');
  await checkChainAsync([der, ica], { roots: [root], now: clock.nowMs(), purpose: 'gateway', recorded: recordedIn(trust.bundle()) });
  const cert = toPem('CERTIFICATE', der) + toPem('CERTIFICATE', ica);
  return identityOf(identity.gatewayId, { key: identity.tls.key, cert, ca: toPem('CERTIFICATE', root) });
}

const leafOf = ({ tls }: AgentIdentity): Certificate => parseCertificate(fromPem('CERTIFICATE', tls.cert)[0] ?? new Uint8Array());

async function askForNext({ identity: { tls, gatewayId }, trust, clock, server }: RenewalParts): Promise<Uint8Array> {
  const csr = Buffer.from(requestOf(createPrivateKey(tls.key), gatewayId)).toString('base64');
  const http = createHttpClient({ baseUrl: server, ...tls, bundle: trust.bundle(), serverTime: clock.serverTime() });
  try {
    const answer = await http.bytes('POST', estPath, utf8(csr), 'application/pkcs10');
    const [certificate] = readCertsOnly(new Uint8Array(Buffer.from(new TextDecoder().decode(answer), 'base64')));
    return certificate ?? new Uint8Array();
  } finally {
    http.close();
  }
}

/** By key identifiers; the signature is checked with the chain. */
function hasIssued(issuer: Uint8Array, { aki }: Certificate): boolean {
  const { ski } = parseCertificate(issuer);
  return aki !== undefined && ski !== undefined && equalBytes(ski, aki);
}
